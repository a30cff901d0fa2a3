//! `token decode`: what a token says.

use std::io::Read as _;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::UnverifiedToken;
use sts_protocol::Act;

use super::CliError;
use super::arguments::TokenCommand;
use super::output::{Output, Style, text_or_file};
use crate::server::Surroundings;

/// What is read of standard input at most, in bytes.
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
    let parsed = UnverifiedToken::parse(&text);
    let token = parsed.map_err(|error| CliError::Argument(format!("this is no token that is read here: {error}")))?;
    let header = token.header();
    if out.is_json() {
        let header = json!({ "alg": header.algorithm, "typ": header.typ, "kid": header.kid });
        out.json(&json!({ "header": header, "claims": token.claims().as_map(), "verified": false }))?;
        return Ok(ExitCode::SUCCESS);
    }
    out.line(&out.styled(Style::Quiet, "not verified"))?;
    let typ = header.typ.as_deref().unwrap_or("no typ");
    let kid = header.kid.as_deref().unwrap_or("no kid");
    out.line(&format!("{:<10} {}, {typ}, {kid}", "signed", header.algorithm))?;
    for (name, value) in token.claims().as_map() {
        out.line(&format!("{name:<10} {}", readable(name, value, surroundings.clock.now())))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A claim as a person reads it.
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

/// A distance in time in words.
pub(super) fn relative(seconds: i64) -> String {
    let distance = seconds.unsigned_abs();
    let (minutes, rest) = (distance / 60, distance % 60);
    let words = if minutes == 0 { format!("{rest} s") } else { format!("{minutes} min {rest} s") };
    if seconds < 0 { format!("{words} ago") } else { format!("in {words}") }
}
