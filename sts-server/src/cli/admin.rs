//! `admin token`: makes the credential of an operator.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::AdminCommand;
use super::output::{Output, Style};
use crate::admin::NewToken;
use crate::config::check_name;
use crate::server::Surroundings;

pub(super) fn run(command: &AdminCommand, surroundings: &Surroundings, out: &mut Output) -> Result<ExitCode, CliError> {
    let AdminCommand::Token { name, role } = command;
    check_name(name).map_err(|reason| CliError::Argument(format!("--name: {reason}")))?;
    let made = NewToken::make(name, &*surroundings.entropy)?;
    if out.is_json() {
        out.json(&json!({ "name": name, "role": role, "token": made.expose(), "hash": made.hash }))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(&out.styled(Style::Heading, "the token, shown only this once:"))?;
    out.line(made.expose())?;
    out.line("")?;
    out.line(&out.styled(Style::Heading, "for the configuration of every server:"))?;
    out.block(&made.configuration(name, *role))?;
    Ok(ExitCode::SUCCESS)
}
