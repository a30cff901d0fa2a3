//! `registry`: reviews the content of the database.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::{Options, RegistryCommand};
use super::backend::{OpenDatabase, records};
use super::output::{Output, Style};
use crate::admin::{Administration, By, Records};
use crate::server::Surroundings;

pub(super) async fn run(
    options: &Options,
    command: &RegistryCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    match command {
        RegistryCommand::Export => export(&records(options, surroundings, out).await?, out).await,
        RegistryCommand::Accept { dry_run } => {
            let database = OpenDatabase::of(options, surroundings, out).await?;
            accept(&database.administration, *dry_run, out).await
        }
    }
}

async fn export(records: &Records, out: &mut Output) -> Result<ExitCode, CliError> {
    let exported = records.export().await?;
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
