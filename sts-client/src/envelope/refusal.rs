//! The reasons why an envelope is not opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sts_jose::KeyLookupError;

use super::approvals::ApprovalsUnavailable;
use crate::dedup::DedupError;
use crate::events::{Boundary, BoundaryOutcome};

/// The reason why an envelope was refused. The order is that of the checks, except that
/// `bad_signature` is checked first and `undecryptable` last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The envelope is addressed to another service.
    WrongAudience,
    /// The envelope claims a scope that the delegated token lacks, or lacks a scope that this
    /// service requires of every message.
    MissingScope,
    /// The envelope has expired, or its lifetime is too long.
    ExpiredMessage,
    /// The envelope was issued in the future.
    NotYetValid,
    /// The tenant differs from that of the delegated token.
    WrongTenant,
    /// The caller differs from that of the delegated token, or the envelope was made for another
    /// token.
    CallerMismatch,
    /// The envelope lacks a trace id, a message id or an idempotency key.
    MissingTraceOrIdempotency,
    /// The message was seen before, its idempotency key belongs to another payload, or it answers
    /// another message.
    Replay,
    /// This service does not serve the capability, or its scopes were not delegated.
    CapabilityNotDelegated,
    /// The operation needs an approval first.
    ApprovalRequired,
    /// The text is not an envelope, or no key of the service that it names signed it.
    BadSignature,
    /// This service cannot decrypt the payload, or the payload belongs to another envelope.
    Undecryptable,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::WrongAudience,
        Self::MissingScope,
        Self::ExpiredMessage,
        Self::NotYetValid,
        Self::WrongTenant,
        Self::CallerMismatch,
        Self::MissingTraceOrIdempotency,
        Self::Replay,
        Self::CapabilityNotDelegated,
        Self::ApprovalRequired,
        Self::BadSignature,
        Self::Undecryptable,
    ];

    /// Returns the stable name, for answers, logs, metrics and events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongAudience => "wrong_audience",
            Self::MissingScope => "missing_scope",
            Self::ExpiredMessage => "expired_message",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongTenant => "wrong_tenant",
            Self::CallerMismatch => "caller_mismatch",
            Self::MissingTraceOrIdempotency => "missing_trace_or_idempotency",
            Self::Replay => "replay",
            Self::CapabilityNotDelegated => "capability_not_delegated",
            Self::ApprovalRequired => "approval_required",
            Self::BadSignature => "bad_signature",
            Self::Undecryptable => "undecryptable",
        }
    }

    /// Returns the boundary that the message did not cross.
    #[must_use]
    pub fn boundary(self) -> Boundary {
        match self {
            Self::BadSignature | Self::CallerMismatch | Self::WrongTenant => Boundary::Identity,
            Self::WrongAudience
            | Self::MissingScope
            | Self::ExpiredMessage
            | Self::NotYetValid
            | Self::MissingTraceOrIdempotency
            | Self::CapabilityNotDelegated => Boundary::Authorization,
            Self::Replay => Boundary::Replay,
            Self::ApprovalRequired => Boundary::Approval,
            Self::Undecryptable => Boundary::Decrypted,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refused envelope. Its sender is at fault; the same envelope is refused again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    reason: Reason,
    detail: &'static str,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail }
    }

    /// Returns the reason: the check that failed.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the detail: a fixed text for logs.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.detail
    }
}

/// The reason why an envelope was not opened: a refusal or an outage. The two are never confused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The envelope was refused.
    #[error("the envelope was refused")]
    Refused(#[from] Refusal),
    /// The keys of the sending service are unreachable. The caller may retry with the same
    /// envelope.
    #[error("the keys of the sender cannot be fetched")]
    KeysUnavailable(#[source] KeyLookupError),
    /// The deduplication store is unreachable. The caller may retry with another envelope for the
    /// same operation.
    #[error("the store of seen messages cannot be read")]
    OnceUnavailable(#[source] Arc<DedupError>),
    /// The approvals are unreachable. The caller may retry with another envelope for the same
    /// operation.
    #[error("the approvals cannot be read")]
    ApprovalsUnavailable(#[source] Arc<ApprovalsUnavailable>),
    /// The operation is in progress. Another envelope for it returns its answer later.
    #[error("the operation is being done")]
    InFlight {
        /// The time to wait before a retry.
        retry_after: Duration,
    },
}

impl OpenError {
    /// Returns the reason, if it was a refusal.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(refusal) => Some(refusal.reason),
            Self::KeysUnavailable(_)
            | Self::OnceUnavailable(_)
            | Self::ApprovalsUnavailable(_)
            | Self::InFlight { .. } => None,
        }
    }

    /// Returns the stable name of the outcome: the name of the reason, `keys_unavailable`,
    /// `once_unavailable`, `approvals_unavailable` or `in_flight`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason.as_str(),
            Self::KeysUnavailable(_) => "keys_unavailable",
            Self::OnceUnavailable(_) => "once_unavailable",
            Self::ApprovalsUnavailable(_) => "approvals_unavailable",
            Self::InFlight { .. } => "in_flight",
        }
    }

    /// Returns the boundary and the outcome of the message.
    pub(super) fn at(&self) -> (Boundary, BoundaryOutcome) {
        match self {
            Self::Refused(refusal) => (refusal.reason.boundary(), BoundaryOutcome::Refused(self.as_str())),
            Self::KeysUnavailable(_) => (Boundary::Identity, BoundaryOutcome::Unavailable(self.as_str())),
            Self::OnceUnavailable(_) | Self::InFlight { .. } => {
                (Boundary::Replay, BoundaryOutcome::Unavailable(self.as_str()))
            }
            Self::ApprovalsUnavailable(_) => (Boundary::Approval, BoundaryOutcome::Unavailable(self.as_str())),
        }
    }
}

impl From<DedupError> for OpenError {
    fn from(error: DedupError) -> Self {
        Self::OnceUnavailable(Arc::new(error))
    }
}

impl From<ApprovalsUnavailable> for OpenError {
    fn from(error: ApprovalsUnavailable) -> Self {
        Self::ApprovalsUnavailable(Arc::new(error))
    }
}
