//! How a server refuses: what every refusal bears, and that a request is refused for one reason.

use sts_server::error_kind::ErrorKind;
use sts_server::record::EventKind;

use super::Harness;
use crate::{Answer, FormRequest};

impl Harness {
    /// Sends a request that a known agent is refused: the status of the kind, code and text, the common headers, no token recorded,
    /// and exactly one event with this reason.
    ///
    /// # Panics
    /// When anything of that is otherwise.
    pub async fn assert_refused(&self, label: &str, request: FormRequest, kind: ErrorKind, reason: &str) -> Answer {
        let correlation_id = request.correlation_id();
        let answer = self.assert_refused_with(label, request, kind).await;
        let events = self.events(&correlation_id).await;
        let reasons: Vec<_> = events.iter().map(|event| event.reason.as_deref().unwrap_or_default()).collect();
        assert_eq!(reasons, [reason], "{label}: {events:?}");
        let kind = events[0].event;
        assert!(matches!(kind, EventKind::TokenRefused | EventKind::RevocationRefused), "{label}: {kind:?}");
        assert_eq!((&events[0].jti, events[0].exp), (&None, None), "{label}");
        answer
    }

    /// As [`Self::assert_refused`], of a request whose agent is not known, or of another endpoint than that for tokens: there is
    /// no event.
    ///
    /// # Panics
    /// When anything is otherwise.
    pub async fn assert_refused_unrecorded(&self, label: &str, request: FormRequest, kind: ErrorKind) -> Answer {
        let before = self.audit_count().await;
        let answer = self.assert_refused_with(label, request, kind).await;
        assert_eq!(self.audit_count().await, before, "{label}: something was recorded");
        answer
    }

    /// Checks each of these requests as [`Self::assert_refused`] does, and that `twin`, which is valid, succeeds before and after.
    ///
    /// # Panics
    /// When anything is otherwise.
    pub async fn assert_each_refused(
        &self,
        twin: impl Fn() -> FormRequest,
        cases: impl IntoIterator<Item = (impl AsRef<str>, FormRequest, ErrorKind, &str)>,
    ) {
        twin().send().await.token();
        for (label, request, kind, reason) in cases {
            self.assert_refused(label.as_ref(), request, kind, reason).await;
        }
        twin().send().await.token();
    }

    /// As [`Self::assert_each_refused`], of requests whose agent is not known.
    ///
    /// # Panics
    /// When anything is otherwise.
    pub async fn assert_each_refused_unrecorded(
        &self,
        twin: impl Fn() -> FormRequest,
        cases: impl IntoIterator<Item = (impl AsRef<str>, FormRequest, ErrorKind)>,
    ) {
        twin().send().await.token();
        for (label, request, kind) in cases {
            self.assert_refused_unrecorded(label.as_ref(), request, kind).await;
        }
        twin().send().await.token();
    }

    /// As [`Self::assert_refused_unrecorded`], where the line of the log names this reason.
    ///
    /// # Panics
    /// When anything is otherwise.
    pub async fn assert_refused_and_logged(&self, label: &str, request: FormRequest, kind: ErrorKind, reason: &str) {
        let correlation_id = request.correlation_id();
        self.assert_refused_unrecorded(label, request, kind).await;
        let line = self.log_line(&correlation_id);
        assert!(line.contains(&format!("reason=\"{reason}\"")), "{label}: {line}");
    }

    /// The one line of the log with this correlation id.
    ///
    /// # Panics
    /// When there is none, or another beside it.
    #[must_use]
    pub fn log_line(&self, correlation_id: &str) -> String {
        let log = self.log();
        let found: Vec<&str> = log.lines().filter(|line| line.contains(&format!("\"{correlation_id}\""))).collect();
        assert_eq!(found.len(), 1, "{correlation_id}: {log}");
        found[0].to_owned()
    }

    async fn assert_refused_with(&self, label: &str, request: FormRequest, kind: ErrorKind) -> Answer {
        let correlation_id = request.correlation_id();
        let before = self.token_count().await;
        let answer = request.send().await;
        refuses(label, &answer, kind);
        if !correlation_id.is_empty() {
            assert_eq!(answer.header("x-correlation-id"), correlation_id, "{label}");
        }
        assert_eq!(self.token_count().await, before, "{label}: a token was recorded");
        answer
    }
}

/// The text that answers with this kind of error carry.
fn text(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Request => {
            "The request is malformed, or lacks or repeats a parameter, or asks for what is not served."
        }
        ErrorKind::Token => "The subject token or the actor token is not acceptable.",
        ErrorKind::Target => "The target is missing, unknown, not allowed or not exactly one.",
        ErrorKind::Scope => "The scope is malformed, or beyond what is allowed.",
        ErrorKind::Details => "The authorization details are malformed, or beyond what is allowed.",
        ErrorKind::Interaction => "A person must approve the request first.",
        ErrorKind::Pending => "A person has not decided yet.",
        ErrorKind::PollRate => "The deferral code is polled too often: add 5 seconds to the interval.",
        ErrorKind::Deferral => "The deferral code is not acceptable.",
        ErrorKind::Denied => "The request was denied.",
        ErrorKind::Grant => "The client may not do this.",
        ErrorKind::UnsupportedGrant => "The grant type is not supported.",
        ErrorKind::Client => "Client authentication failed.",
        ErrorKind::Proof => "The DPoP proof is not acceptable.",
        ErrorKind::ProofNonce => "The DPoP proof needs the nonce in the DPoP-Nonce header of this answer.",
        ErrorKind::Binding => "The token must be bound to a key of the client, which the request does not prove.",
        ErrorKind::TokenSize => "The token would be too large.",
        ErrorKind::TooMany => "Too many requests or failed attempts: come back later.",
        ErrorKind::Unavailable => "The service cannot answer now.",
    }
}

/// Checks the answer to a request that was refused: status, code, fixed text, the headers that all answers bear.
///
/// # Panics
/// When anything is otherwise.
pub fn refuses(label: &str, answer: &Answer, kind: ErrorKind) {
    let (status, code) = match kind {
        ErrorKind::Request | ErrorKind::Token | ErrorKind::Binding | ErrorKind::TokenSize => (400, "invalid_request"),
        ErrorKind::Proof => (400, "invalid_dpop_proof"),
        ErrorKind::ProofNonce => (400, "use_dpop_nonce"),
        ErrorKind::Target => (400, "invalid_target"),
        ErrorKind::Scope => (400, "invalid_scope"),
        ErrorKind::Details => (400, "invalid_authorization_details"),
        ErrorKind::Interaction => (400, "interaction_required"),
        ErrorKind::Pending => (400, "authorization_pending"),
        ErrorKind::PollRate => (400, "slow_down"),
        ErrorKind::Deferral => (400, "invalid_grant"),
        ErrorKind::Denied => (400, "access_denied"),
        ErrorKind::Grant => (400, "unauthorized_client"),
        ErrorKind::UnsupportedGrant => (400, "unsupported_grant_type"),
        ErrorKind::Client => (401, "invalid_client"),
        ErrorKind::TooMany => (429, "slow_down"),
        ErrorKind::Unavailable => (503, "temporarily_unavailable"),
    };
    assert_eq!((answer.status, answer.error()), (status, code), "{label}: {}", answer.text());
    let description = answer.json["error_description"].as_str().unwrap_or_default();
    let fixed = text(kind);
    if kind == ErrorKind::Request {
        // After a colon the text may go on with what is malformed.
        let told = description.strip_prefix(fixed.trim_end_matches('.')).and_then(|rest| rest.strip_suffix('.'));
        let told = told.unwrap_or_else(|| panic!("{label}: {description}"));
        assert!(
            told.is_empty() || told.strip_prefix(": ").is_some_and(|told| !told.is_empty()),
            "{label}: {description}"
        );
        let allowed = |char: char| matches!(char, ' '..='!' | '#'..='[' | ']'..='~');
        assert!(told.chars().all(allowed), "{label}: {description}");
    } else {
        assert_eq!(description, fixed, "{label}");
    }
    assert_eq!(answer.json.as_object().map(serde_json::Map::len), Some(2), "{label}: {}", answer.text());
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("pragma", "no-cache"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), value, "{label}: {name}");
    }
    assert!(!answer.header("x-correlation-id").is_empty(), "{label}");
    assert_eq!(answer.headers.contains_key("retry-after"), status == 429 || status == 503, "{label}: retry-after");
}
