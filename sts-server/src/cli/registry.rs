//! `registry`: reviews the content of the database.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::{Options, RegistryCommand};
use super::output::{Output, Style, configuration};
use crate::admin::By;
use crate::server::{Foundation, Surroundings};

pub(super) async fn run(
    options: &Options,
    command: &RegistryCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let RegistryCommand::Accept { dry_run } = command;
    let config = configuration(options, out)?;
    let foundation = Foundation::lay(&config, surroundings).await?;
    let administration = foundation.administration(&config);
    let faults = if *dry_run {
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
