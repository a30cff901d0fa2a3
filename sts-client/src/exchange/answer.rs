//! The answers of the STS: a readable success, a refusal, or an answer that counts as neither.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::header::RETRY_AFTER;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use secrecy::SecretString;
use serde_json::{Map, Value};
use sts_jose::{JsonError, json};
use sts_protocol::{ErrorCode, Scope, TokenType};

use super::error::{ExchangeError, Outage};
use super::flaw::Flaw;
use super::issued::IssuedToken;
use crate::call::{RefusalCode, RequiredApproval, single};
use crate::net::TransportError;
use crate::possession::{DPOP_SCHEME, USE_DPOP_NONCE};

/// The maximum `Retry-After`; a longer one is shortened to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The members of a token answer (RFC 8693 §2.2.1). It has no Debug, because it holds the token.
pub(super) struct TokenAnswer {
    pub(super) access_token: SecretString,
    /// True if `token_type` is `DPoP`: a proof accompanies each use of the token.
    pub(super) is_bound: bool,
    pub(super) expires_in: Duration,
    pub(super) scope: Option<Scope>,
}

/// An answer that is neither a refusal nor an outage.
pub(super) enum Reply<T> {
    /// The STS has decided.
    Done(T),
    /// The STS has not decided yet. These are the members of the answer.
    Pending(Map<String, Value>),
    /// The same, and the STS asks for slower polls.
    SlowDown,
}

/// The result of a request that got an answer, as metrics name it.
pub(super) trait Answered {
    fn outcome(&self) -> &'static str {
        "ok"
    }
}

impl Answered for IssuedToken {}

impl Answered for bool {}

impl<T> Answered for Reply<T> {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Done(_) => "ok",
            Self::Pending(_) => "pending",
            Self::SlowDown => "slow_down",
        }
    }
}

impl<T> Reply<T> {
    /// Returns the decision. Without one, the answer to a request that allows no deferred answer is a
    /// refusal.
    pub(super) fn settled(self) -> Result<T, ExchangeError> {
        let code = match self {
            Self::Done(done) => return Ok(done),
            Self::Pending(_) => ErrorCode::AuthorizationPending,
            Self::SlowDown => ErrorCode::SlowDown,
        };
        Err(ExchangeError::Refused { code: RefusalCode::from_answer(code.as_str()) })
    }
}

/// Returns the body of an answer, or the error. Only status 200 is a success.
pub(super) fn read(
    outcome: Result<Response<Vec<u8>>, TransportError>,
    now: Timestamp,
) -> Result<Reply<Map<String, Value>>, ExchangeError> {
    let response = match outcome {
        Ok(response) => response,
        Err(TransportError::TooLarge) => return Err(refused(&Flaw::TooLarge)),
        Err(error) => return Err(Outage::Transport(error).into()),
    };
    match response.status().as_u16() {
        200 => json::parse_object(response.body()).map(Reply::Done).map_err(|error| refused(&Flaw::Json(error))),
        429 | 500..=599 => Err(unavailable(&response, now)),
        400..=499 => undone(response.status().as_u16(), response.body()),
        status => Err(refused(&Flaw::Status(status))),
    }
}

/// Reads an answer of status 4xx. Only one of status 400 leaves the decision open.
fn undone(status: u16, body: &[u8]) -> Result<Reply<Map<String, Value>>, ExchangeError> {
    let code = code(body);
    let is_named = |named: ErrorCode| status == 400 && code.as_str() == named.as_str();
    if is_named(ErrorCode::SlowDown) {
        return Ok(Reply::SlowDown);
    }
    let object: Option<Map<String, Value>> = json::parse_object(body).ok();
    match object {
        Some(object) if is_named(ErrorCode::AuthorizationPending) => Ok(Reply::Pending(object)),
        Some(object) if is_named(ErrorCode::InteractionRequired) => match RequiredApproval::from_answer(&object) {
            Some(required) => Err(ExchangeError::ApprovalRequired(Arc::new(required))),
            None => Err(ExchangeError::Refused { code }),
        },
        _ => Err(ExchangeError::Refused { code }),
    }
}

/// Returns the error for a status of 429 or 5xx. A 429 is load, a 5xx is an outage, and neither is
/// a refusal. Callers treat the three differently.
pub(super) fn unavailable(response: &Response<Vec<u8>>, now: Timestamp) -> ExchangeError {
    let retry_after = retry_after(response, now);
    match response.status().as_u16() {
        429 => ExchangeError::Overloaded { retry_after },
        503 if code(response.body()).as_str() == ErrorCode::TemporarilyUnavailable.as_str() => {
            ExchangeError::outage(Outage::Reported { retry_after })
        }
        status => ExchangeError::outage(Outage::Status { status, retry_after }),
    }
}

/// Returns the error for a successful answer that does not match the request. Only the log names
/// the failed check.
pub(super) fn refused(flaw: &Flaw) -> ExchangeError {
    tracing::warn!(check = %flaw, "the answer of the sts is refused");
    if let Flaw::Audience(issued) = flaw {
        return ExchangeError::WrongAudience { issued: Arc::clone(issued) };
    }
    ExchangeError::Refused { code: RefusalCode::INVALID_RESPONSE }
}

/// Returns true if the STS refuses a proof because of its nonce (RFC 9449 §8).
pub(super) fn wants_nonce(response: &Response<Vec<u8>>) -> bool {
    response.status().is_client_error() && code(response.body()).as_str() == USE_DPOP_NONCE
}

/// Returns true if a token is active (RFC 7662 §2.2).
pub(super) fn active(body: &Map<String, Value>) -> Result<bool, Flaw> {
    body.get("active").and_then(Value::as_bool).ok_or(Flaw::Member("active"))
}

impl TokenAnswer {
    /// Reads the answer to an exchange. The answer names the type of the issued token (RFC 8693
    /// §2.2.1).
    pub(super) fn of_exchange(body: &Map<String, Value>) -> Result<Self, Flaw> {
        if !body.contains_key("issued_token_type") {
            return Err(Flaw::Member("issued_token_type"));
        }
        Self::of_client_credentials(body)
    }

    /// Reads the answer to any other grant. The answer may omit the type of the token (RFC 6749
    /// §5.1).
    pub(super) fn of_client_credentials(body: &Map<String, Value>) -> Result<Self, Flaw> {
        let issued = body.get("issued_token_type");
        if issued.is_some_and(|issued| issued.as_str() != Some(TokenType::AccessToken.as_str())) {
            return Err(Flaw::Member("issued_token_type"));
        }
        let is_bound = match body.get("token_type").and_then(Value::as_str) {
            Some(bearer) if bearer.eq_ignore_ascii_case("Bearer") => false,
            Some(dpop) if dpop.eq_ignore_ascii_case(DPOP_SCHEME) => true,
            Some(_) | None => return Err(Flaw::Member("token_type")),
        };
        let access_token = body.get("access_token").and_then(Value::as_str).ok_or(Flaw::Member("access_token"))?;
        let expires_in = body.get("expires_in").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
        let scope = match body.get("scope") {
            None => None,
            Some(scope) => Some(scope.as_str().and_then(|text| text.parse().ok()).ok_or(Flaw::Member("scope"))?),
        };
        Ok(Self {
            access_token: access_token.into(),
            is_bound,
            expires_in: Duration::from_secs(expires_in.ok_or(Flaw::Member("expires_in"))?),
            scope,
        })
    }
}

/// Returns the `error` of a refusal (RFC 6749 §5.2).
fn code(body: &[u8]) -> RefusalCode {
    let object: Result<Map<String, Value>, JsonError> = json::parse_object(body);
    let code = object.ok().and_then(|object| object.get("error").and_then(Value::as_str).map(RefusalCode::from_answer));
    code.unwrap_or(RefusalCode::INVALID_RESPONSE)
}

/// Returns `Retry-After` (RFC 9110 §10.2.3), given in seconds or as a date, up to the maximum.
fn retry_after(response: &Response<Vec<u8>>, now: Timestamp) -> Option<Duration> {
    let value = single(response.headers(), &RETRY_AFTER)?;
    let text = value.to_str().ok()?.trim();
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().ok()?)
    } else {
        let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(now.duration_until(date)).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}
