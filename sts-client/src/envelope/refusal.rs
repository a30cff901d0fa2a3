//! Why an envelope is not opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sts_jose::KeyLookupError;

use super::approvals::ApprovalsUnavailable;
use crate::dedup::DedupError;
use crate::events::{Boundary, BoundaryOutcome};

/// Why an envelope was refused, in the order of the checks but for `bad_signature`, which is the first, and `undecryptable`, the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It is for another service.
    WrongAudience,
    /// It claims a scope that the delegated token lacks, or lacks one that this service asks of every message.
    MissingScope,
    /// It has expired, or would live too long.
    ExpiredMessage,
    /// It comes from the future.
    NotYetValid,
    /// Its tenant is not that of the delegated token.
    WrongTenant,
    /// Its caller is not that of the delegated token, or it was not made for that token.
    CallerMismatch,
    /// It lacks a trace id, a message id or an idempotency key.
    MissingTraceOrIdempotency,
    /// It was seen before, its idempotency key stands for another payload, or it answers another message.
    Replay,
    /// This service does not know the capability, or its scopes were not delegated.
    CapabilityNotDelegated,
    /// Somebody must approve the operation first.
    ApprovalRequired,
    /// No envelope, or not signed by a key of the service that it names.
    BadSignature,
    /// Its payload is not one that this service can decrypt, or not the one that belongs to it.
    Undecryptable,
}

impl Reason {
    /// All of them.
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

    /// The stable name, for answers, logs, metrics and events.
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

    /// The boundary that the message did not cross.
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

/// A refused envelope. The fault of whoever sent it; the same envelope is refused again.
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

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What exactly, in a fixed text for logs.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.detail
    }
}

/// Why an envelope was not opened. A refusal is never taken for an outage, nor the reverse.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// It was refused.
    #[error("the envelope was refused")]
    Refused(#[from] Refusal),
    /// The keys of the service that it names are out of reach. One may try the same envelope again.
    #[error("the keys of the sender are out of reach")]
    KeysUnavailable(#[source] KeyLookupError),
    /// The store of what counts once is out of reach. Another envelope for the same operation may be tried.
    #[error("what was seen before cannot be told")]
    OnceUnavailable(#[source] Arc<DedupError>),
    /// The approvals are out of reach. Another envelope for the same operation may be tried.
    #[error("what was approved cannot be told")]
    ApprovalsUnavailable(#[source] Arc<ApprovalsUnavailable>),
    /// The operation is being done. Another envelope for it is told what came of it, later.
    #[error("the operation is being done")]
    InFlight {
        /// When to come back.
        retry_after: Duration,
    },
}

impl OpenError {
    /// The reason, if it was a refusal.
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

    /// The stable name of the outcome: that of the reason, `keys_unavailable`, `once_unavailable`, `approvals_unavailable` or
    /// `in_flight`.
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

    /// Where the message stands.
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
