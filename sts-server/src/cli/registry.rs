//! `registry`: reviews the content of the database.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::{Options, RegistryCommand};
use super::backend::{OpenDatabase, ReadBackend};
use super::output::{Output, Style, counted, to_the_second};
use crate::admin::{Administration, By};
use crate::server::Surroundings;

pub(super) async fn run(
    options: &Options,
    command: &RegistryCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    match command {
        RegistryCommand::Export => export(&ReadBackend::of(options, surroundings, out).await?, out).await,
        RegistryCommand::Accept { dry_run } => {
            let database = OpenDatabase::of(options, surroundings, out).await?;
            accept(&database.administration, *dry_run, out).await
        }
        RegistryCommand::Unused { days } => {
            unused(&ReadBackend::of(options, surroundings, out).await?, *days, out).await
        }
    }
}

async fn unused(backend: &ReadBackend, days: u16, out: &mut Output) -> Result<ExitCode, CliError> {
    let unused = backend.unused(days).await?;
    if out.is_json() {
        out.json(&unused)?;
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &unused.entries {
        let last =
            entry.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {}", to_the_second(at)));
        let owner = entry.owner.as_ref().map(|owner| format!(", owner {owner}")).unwrap_or_default();
        let disabled = if entry.disabled { ", disabled" } else { "" };
        out.line(&format!("{} {}: {last}{owner}{disabled}", entry.kind, entry.id))?;
    }
    let summary =
        format!("{} without a use since {}", counted(unused.entries.len(), "entry"), to_the_second(unused.since));
    out.line(&summary)?;
    Ok(ExitCode::SUCCESS)
}

async fn export(backend: &ReadBackend, out: &mut Output) -> Result<ExitCode, CliError> {
    let exported = backend.export().await?;
    if out.is_json() {
        out.json(&exported)?;
    } else {
        out.block(toml::to_string(&exported)?.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn accept(administration: &Administration, dry_run: bool, out: &mut Output) -> Result<ExitCode, CliError> {
    let faults = if dry_run {
        administration.table_faults().await?
    } else {
        administration.accept_tables(&By::this_user()).await?
    };
    if out.is_json() {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        out.json(&json!({ "accepted": !dry_run, "faults": faults }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for fault in &faults {
        out.line(&fault.to_string())?;
    }
    let summary = match (faults.len(), dry_run) {
        (0, _) => "no row was changed outside the servers",
        (_, true) => "not accepted",
        (_, false) => "accepted: every row is trusted as it is",
    };
    out.line(&out.styled(Style::Good, summary))?;
    Ok(ExitCode::SUCCESS)
}
