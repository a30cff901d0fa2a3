//! A token request to the server that this process runs.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use sts_protocol::{TokenResponse, parameter};

use super::super::{CliError, loopback};

/// A token request of an agent.
pub(super) struct TokenRequest<'a> {
    pub(super) agent: &'a str,
    pub(super) secret: &'a SecretString,
    pub(super) parameters: &'a [(&'a str, &'a str)],
    /// The id that links the hops in the audit log.
    pub(super) correlation_id: &'a str,
}

/// The answer to a token request.
pub(super) enum Answer {
    Issued(TokenResponse),
    /// The `error` of a refusal.
    Refused {
        error: String,
    },
}

/// Sends the request and returns the answer.
pub(super) async fn token(server: SocketAddr, request: &TokenRequest<'_>) -> Result<Answer, CliError> {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let body: Vec<String> =
        request.parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let credentials = format!("{}:{}", encode(request.agent), encode(request.secret.expose_secret()));
    let http = http::Request::post("/oauth2/token")
        .header(HOST, server.to_string())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(credentials)))
        .header(parameter::X_CORRELATION_ID, request.correlation_id)
        .body(Full::new(Bytes::from(body.join("&"))))
        .map_err(failed)?;
    let (status, body) = loopback::send(server, http).await.map_err(failed)?;
    if status.is_success() {
        return Ok(Answer::Issued(serde_json::from_slice(&body)?));
    }
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    let error = answer.get("error").and_then(serde_json::Value::as_str).unwrap_or(status.as_str());
    Ok(Answer::Refused { error: error.to_owned() })
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Demonstration(error.to_string())
}
