//! Conversion of an answer to an outcome. An answer that is not understood is a failed dependency,
//! never a success.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sts_jose::json;

use super::members::Unreadable;
use super::{Halted, Outcome, wire};

/// The maximum size of an outcome body. The value of a successful call may be longer.
pub const MAX_OUTCOME_BYTES: usize = 64 << 10;

/// The maximum `Retry-After` that is taken from an answer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The answer of a successful call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// The status: 200 to 299, except 202.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The body of the answer.
    pub body: Vec<u8>,
}

impl Outcome<Success> {
    /// Reads the answer of an HTTP call. Total: an answer that is not an outcome is
    /// [`Halted::FailedDependency`] with the code `UNREADABLE_ANSWER`. Without a media type of
    /// outcomes, 403 is [`Halted::Forbidden`], 409 is [`Halted::Conflict`], and every other status
    /// outside 2xx is [`Halted::FailedDependency`].
    ///
    /// 401 is always [`Halted::FailedDependency`] with the code `UPSTREAM_REFUSED_CREDENTIAL`: the
    /// target refused the credential of this agent, which is not the fault of this agent's caller.
    ///
    /// The caller bounds the length of `body`.
    ///
    /// ```
    /// use sts_client::http::{HeaderMap, StatusCode};
    /// use sts_client::outcome::{Halted, Outcome};
    ///
    /// let Outcome::Halted(halted) = Outcome::read(StatusCode::UNAUTHORIZED, HeaderMap::new(), Vec::new()) else { panic!() };
    /// assert!(matches!(halted, Halted::FailedDependency(_)));
    /// assert_eq!(halted.detail().code, "UPSTREAM_REFUSED_CREDENTIAL");
    /// ```
    pub fn read(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Self {
        let media_type = media_type(&headers);
        let is_outcome = media_type.as_bytes().get(..wire::VENDOR.len());
        let is_outcome = is_outcome.is_some_and(|start| start.eq_ignore_ascii_case(wire::VENDOR.as_bytes()));
        if is_outcome && status != StatusCode::UNAUTHORIZED {
            return Self::Halted(read_halted(status, &media_type, &headers, &body));
        }
        if status == StatusCode::ACCEPTED {
            return Self::Halted(unreadable(Unreadable("202 without an operation")));
        }
        if status.is_success() {
            return Self::Done(Success { status, headers, body });
        }
        Self::Halted(by_status(status, &headers))
    }

    /// Parses the body of a success as JSON. Another body is [`Halted::FailedDependency`], as in
    /// [`Outcome::read`].
    pub fn json<T: DeserializeOwned>(self) -> Outcome<T> {
        match self {
            Self::Done(success) => match serde_json::from_slice(&success.body) {
                Ok(value) => Outcome::Done(value),
                // The cause is dropped, because it would repeat parts of the body.
                Err(_cause) => Outcome::Halted(unreadable(Unreadable("the body is not the JSON that was expected"))),
            },
            Self::Halted(halted) => Outcome::Halted(halted),
        }
    }
}

impl Halted {
    /// Reads the body of an outcome that did not arrive by HTTP, for example the structured content
    /// of an MCP tool. Total, like [`Outcome::read`].
    ///
    /// ```
    /// use serde_json::json;
    /// use sts_client::outcome::Halted;
    ///
    /// // The structured content that an MCP tool returned.
    /// let halted = Halted::from_value(&json!({
    ///     "type": "forbidden", "code": "NO_STOCK_SCOPE", "message": "the token lacks stock:read",
    ///     "trace": { "correlationId": "order-7", "requestId": "order-7" },
    /// }));
    /// assert_eq!(halted.detail().code, "NO_STOCK_SCOPE");
    /// ```
    pub fn from_value(body: &Value) -> Self {
        let read = body.as_object().ok_or(Unreadable("not an object")).and_then(|body| wire::read(body, None));
        read.unwrap_or_else(unreadable)
    }
}

fn read_halted(status: StatusCode, media_type: &str, headers: &HeaderMap, body: &[u8]) -> Halted {
    if body.len() > MAX_OUTCOME_BYTES {
        return unreadable(Unreadable("the body is too long"));
    }
    // The cause is dropped: the caller does not need to know which rule the body broke.
    let Ok(object) = json::parse_object(body) else {
        return unreadable(Unreadable("the body is not one JSON object without repeated members"));
    };
    match wire::read(&object, Some((status, media_type))) {
        Ok(Halted::FailedDependency(mut failure)) => {
            failure.retry_after = retry_after(headers);
            Halted::FailedDependency(failure)
        }
        Ok(Halted::Conflict(mut conflict)) => {
            conflict.retry_after = retry_after(headers);
            Halted::Conflict(conflict)
        }
        Ok(halted) => halted,
        Err(error) => unreadable(error),
    }
}

fn unreadable(error: Unreadable) -> Halted {
    Halted::failed_dependency("UNREADABLE_ANSWER", &error.to_string(), None)
}

fn by_status(status: StatusCode, headers: &HeaderMap) -> Halted {
    let message = format!("the answer had status {}", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED => {
            Halted::failed_dependency("UPSTREAM_REFUSED_CREDENTIAL", &message, retry_after(headers))
        }
        StatusCode::FORBIDDEN => Halted::forbidden("UPSTREAM_REFUSED", &message),
        StatusCode::CONFLICT => Halted::conflict("UPSTREAM_CONFLICT", &message, retry_after(headers)),
        _ => Halted::failed_dependency("UPSTREAM_STATUS", &message, retry_after(headers)),
    }
}

/// Returns the media type without its parameters; empty if there is none, or more than one.
fn media_type(headers: &HeaderMap) -> String {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return String::new() };
    let text = value.to_str().unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

/// Returns `Retry-After` in seconds. A date is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}
