//! `token decode`: shows the content of a token.

use std::io::Read as _;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::ReadableToken;
use sts_protocol::Act;

use super::CliError;
use super::arguments::TokenCommand;
use super::output::{Output, Style, text_or_file};
use crate::exchange::{protection, relative};
use crate::server::Surroundings;

/// The maximum length of standard input, in bytes.
const MAX_INPUT_BYTES: u64 = 64 * 1024;

pub(super) fn run(command: &TokenCommand, surroundings: &Surroundings, out: &mut Output) -> Result<ExitCode, CliError> {
    let TokenCommand::Decode { token } = command;
    let text = match token {
        Some(argument) => text_or_file(argument)?,
        None => {
            let mut text = String::new();
            std::io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut text)?;
            text.trim().to_owned()
        }
    };
    let token = ReadableToken::read(&text).ok_or_else(|| {
        let message = "this is an opaque token, or none: it has no JOSE header, and only its issuer can read it";
        CliError::Argument(message.to_owned())
    })?;
    if out.is_json() {
        let protection = protection(&token);
        let (header, claims) = (token.header(), token.claims());
        out.json(&json!({ "header": header, "claims": claims, "protection": protection, "verified": false }))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(&out.styled(Style::Quiet, "not verified: this command only reads"))?;
    let member = |name: &str| match token.header().get(name) {
        Some(Value::String(text)) => format!("{name} {text}"),
        Some(other) => format!("{name} {other}"),
        None => format!("no {name}"),
    };
    let members = ["alg", "typ", "kid"].map(member).join("  ");
    out.line(&format!("{:<10} {members}", "header"))?;
    out.line(&format!("{:<10} {}", "protection", protection(&token)))?;
    for (name, value) in token.claims().into_iter().flatten() {
        out.line(&format!("{name:<10} {}", readable(name, value, surroundings.clock.now())))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a claim in readable form.
fn readable(name: &str, value: &Value, now: Timestamp) -> String {
    match (name, value) {
        ("act", value) => match Act::from_value(value) {
            Ok(act) => act.actors().map(|actor| actor.sub).collect::<Vec<_>>().join(", before it "),
            Err(error) => format!("{value} ({error})"),
        },
        ("exp" | "iat" | "nbf" | "auth_time", value) => match value.as_i64().map(Timestamp::from_second) {
            Some(Ok(at)) => format!("{at} ({})", relative(at.as_second() - now.as_second())),
            Some(Err(_)) | None => value.to_string(),
        },
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}
