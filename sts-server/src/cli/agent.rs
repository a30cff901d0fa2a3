//! `agent secret`: makes the credential of an agent.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::AgentCommand;
use super::output::{Output, Style};
use crate::client_auth::NewSecret;
use crate::server::Surroundings;

pub(super) fn run(command: &AgentCommand, surroundings: &Surroundings, out: &mut Output) -> Result<ExitCode, CliError> {
    let AgentCommand::Secret { id } = command;
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CliError::Argument("an agent's id is printable ASCII without space".to_owned()));
    }
    let made = NewSecret::make(&*surroundings.entropy);
    if out.is_json() {
        out.json(&json!({ "id": id, "client_secret": made.expose(), "client_secret_sha256": made.sha256 }))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(&out.styled(Style::Heading, "the secret, shown only this once:"))?;
    out.line(made.expose())?;
    out.line("")?;
    out.line(&out.styled(Style::Heading, "for the registry:"))?;
    let id = serde_json::Value::from(id.as_str());
    out.block(&format!("[[agents]]\nid = {id}\n[agents.auth]\nclient_secret_sha256 = \"{}\"", made.sha256))?;
    out.line("")?;
    out.line(&out.styled(Style::Heading, "while the former secret is still in use:"))?;
    out.line(&format!("client_secret_sha256 = [\"{}\", \"<the former one>\"]", made.sha256))?;
    Ok(ExitCode::SUCCESS)
}
