//! `apply` and `migrate`: bring the registry and the schema of the database up to date.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::{ApplyArguments, Options};
use super::backend::{OpenDatabase, records};
use super::output::{Output, Style, configuration, counted};
use crate::admin::By;
use crate::keys::MasterKey;
use crate::registry::{ApplyError, Plan, RegistryFile};
use crate::server::{self, StartError, Surroundings};
use crate::storage;

pub(super) async fn run(
    options: &Options,
    arguments: &ApplyArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let file = RegistryFile::read(&arguments.file);
    let outcome = if arguments.dry_run {
        records(options, surroundings, out).await?.plan(&file).await
    } else {
        let OpenDatabase { config, foundation, administration } = OpenDatabase::of(options, surroundings, out).await?;
        foundation.prepare_schema(&config).await?;
        administration.apply(&file, &By::this_user()).await
    };
    match outcome {
        Ok(plan) => {
            show(&plan, arguments, out)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ApplyError::Faults(faults)) => {
            out.faults(&faults)?;
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

fn show(plan: &Plan, arguments: &ApplyArguments, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() {
        return out.json(&json!({
            "applied": !arguments.dry_run,
            "changes": plan.lines,
            "warnings": plan.warnings,
        }));
    }
    out.faults(&plan.warnings)?;
    for line in &plan.lines {
        out.line(&line.to_string())?;
    }
    let summary = match (plan.lines.len(), arguments.dry_run) {
        (0, _) => "no changes".to_owned(),
        (changes, true) => format!("{}, not applied", counted(changes, "change")),
        (changes, false) => format!("{}, applied", counted(changes, "change")),
    };
    out.line(&out.styled(Style::Good, &summary))
}

pub(super) async fn migrate(
    options: &Options,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let location = server::location(&config.database).map_err(StartError::from)?;
    let codes = MasterKey::read(&config.keys.master_key_file)?.row_codes(&surroundings.entropy);
    let store = storage::open_at(&location, codes).await?;
    store.migrate().await?;
    if out.is_json() {
        out.json(&json!({ "migrated": true }))?;
    } else {
        out.line("the schema is up to date")?;
    }
    Ok(ExitCode::SUCCESS)
}
