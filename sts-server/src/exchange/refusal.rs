//! The reasons why a request was not served, from all steps.

use std::time::Duration;

use sts_jose::error_chain;
use sts_protocol::FormError;
use thiserror::Error;

use super::RequestError;
use crate::client_auth::{AuthenticationError, ClientError, ProofFailure, WorkloadError};
use crate::error_kind::ErrorKind;
use crate::mint::MintError;
use crate::policy::PolicyError;
use crate::rate_limits::RateLimited;
use crate::record::{RecordError, SingleUseKind, cut_detail};
use crate::registry::Decider;
use crate::service::{SnapshotError, Unconfirmed};
use crate::storage::{RevocationKind, StorageError};
use crate::verify::SubjectError;

/// The pause before a retry after an outage.
pub const OUTAGE_RETRY: Duration = Duration::from_secs(1);

/// A request is refused, or cannot be served now. [`Refusal::kind`] determines the party at fault
/// and the response.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Step 1: the body is not a form.
    #[error("the body is malformed")]
    Form(#[from] FormError),
    /// Step 2: the agent is not authenticated.
    #[error(transparent)]
    Client(#[from] AuthenticationError),
    /// Step 2: the proof of possession is not accepted.
    #[error("the proof of possession is not accepted")]
    Proof(#[from] ProofFailure),
    /// At any step: a rate limit is exceeded.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// Step 3: the request is invalid.
    #[error("the request is malformed")]
    Request(#[from] RequestError),
    /// Step 4: the subject token is not accepted.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// Step 5: the actor token is not accepted.
    #[error("the actor token is not accepted")]
    ActorToken(#[source] WorkloadError),
    /// Step 5: the actor token belongs to another agent.
    #[error("the actor token belongs to another agent than the one that authenticated")]
    ActorTokenMismatch,
    /// Steps 5 and 6: a rule refuses.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Step 6: a person must approve the token first.
    #[error("the {} must approve the token: {}", .0.by.as_str(), .0.id)]
    ApprovalRequired(AwaitedApproval),
    /// Step 6: the request waits for a person, and the client polls.
    #[error("the request waits for the decision of a person")]
    Deferred(DeferredAnswer),
    /// Step 6: a poll, whose request still waits.
    #[error("a person has not decided yet")]
    StillPending,
    /// Step 3: a code is polled faster than the interval allows.
    #[error("the deferral code is polled too often")]
    PolledTooFast,
    /// Step 3: the deferral code of a poll is not acceptable.
    #[error("the deferral code is unknown, expired, of another client, or bound to another key")]
    DeferralCode,
    /// Step 6: no deferral code could be made.
    #[error("a deferral code cannot be sealed")]
    Unsealed,
    /// Step 7: no token was made.
    #[error("no token was made")]
    Mint(#[from] MintError),
    /// Step 8: a single-use value of the request was used before.
    #[error("{}", .0.replayed().1)]
    Replayed(SingleUseKind),
    /// Step 7: a revocation would cover the new token. It may be older than the subject token,
    /// because it allows for the skew of clocks.
    #[error("the new token would be covered by the revocation of {}", .0.of_a_token())]
    WouldBeRevoked(RevocationKind),
    /// Step 8: a revocation that was made during the request covers a credential of it.
    #[error("revoked during the request, by the revocation of {}", .0.of_a_token())]
    RevokedMeanwhile(RevocationKind),
    /// The token to revoke was issued to another agent (RFC 7009 §2.1).
    #[error("the token was issued to another agent")]
    NotTheClients,
    /// The database cannot be read, and an old snapshot is not sufficient.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
    /// The revocation is not in force yet.
    #[error("the revocation is not in force yet")]
    Revoke(#[from] RevokeError),
    /// Before a token is issued or reported as active: the snapshot is too old.
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    /// Step 8: registry or keys changed at every attempt to commit the decision.
    #[error("the registry or the keys changed during every attempt")]
    Outdated,
    /// Step 8: the commit failed or is uncertain.
    #[error("the decision was not committed")]
    Record(#[from] RecordError),
}

/// An approval that a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitedApproval {
    /// The name of the approval.
    pub id: String,
    /// The page where the person decides.
    pub uri: String,
    /// The person who decides.
    pub by: Decider,
}

/// The deferred answer of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct DeferredAnswer {
    /// The code to poll with.
    pub code: String,
    /// The life of the code, in seconds.
    pub expires_in: i64,
    /// The time between two polls, in seconds.
    pub interval: i64,
}

/// A revocation is not in force yet. An outage: the same request may succeed later.
#[derive(Debug, Error)]
pub enum RevokeError {
    /// The database failed.
    #[error("the revocation was not committed")]
    Storage(#[from] StorageError),
    /// The task of the commit ended early.
    #[error("the task that commits the revocation ended early")]
    Ended,
    /// The revocation is committed, but this server could not read it back.
    #[error("the revocation is committed but not yet in force on this server")]
    Snapshot(#[from] SnapshotError),
}

impl Refusal {
    /// Returns the kind of error that the token endpoint answers with.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Form(_) => ErrorKind::Request,
            Self::Client(error) => error.kind(),
            Self::Proof(failure) => failure.kind(),
            Self::Limited(_) => ErrorKind::TooMany,
            Self::Request(error) => error.kind(),
            Self::Subject(error) => error.kind(),
            Self::ActorToken(error) => error.kind(),
            Self::ActorTokenMismatch | Self::WouldBeRevoked(_) | Self::RevokedMeanwhile(_) => ErrorKind::Token,
            Self::Policy(error) => error.kind(),
            Self::ApprovalRequired(_) => ErrorKind::Interaction,
            Self::Deferred(_) | Self::StillPending => ErrorKind::Pending,
            Self::PolledTooFast => ErrorKind::PollRate,
            Self::DeferralCode | Self::Replayed(SingleUseKind::DeferralCode) => ErrorKind::Deferral,
            Self::Mint(error) => error.kind(),
            Self::Replayed(SingleUseKind::ClientAssertion) => ErrorKind::Client,
            Self::Replayed(SingleUseKind::DpopProof) => ErrorKind::Proof,
            Self::NotTheClients => ErrorKind::Grant,
            Self::Record(error) => error.kind(),
            Self::Revoke(_) | Self::Snapshot(_) | Self::Outdated | Self::Unconfirmed(_) | Self::Unsealed => {
                ErrorKind::Unavailable
            }
        }
    }

    /// Returns the stable name of the reason, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Form(_) => "form_malformed",
            Self::Client(error) => error.reason(),
            Self::Proof(failure) => failure.reason(),
            Self::Limited(error) => error.limit.reason(),
            Self::Request(error) => error.reason(),
            Self::Subject(error) => error.reason(),
            Self::ActorToken(error) => error.reason(),
            Self::ActorTokenMismatch => "actor_token_mismatch",
            Self::Policy(error) => error.reason(),
            Self::ApprovalRequired(_) => "approval_required",
            Self::Deferred(_) | Self::StillPending => "approval_pending",
            Self::PolledTooFast => "deferral_code_polled_too_often",
            Self::DeferralCode => "deferral_code_invalid",
            Self::Unsealed => "deferral_code_unsealed",
            Self::Mint(error) => error.reason(),
            Self::Replayed(kind) => kind.replayed().0,
            Self::WouldBeRevoked(kind) | Self::RevokedMeanwhile(kind) => crate::record::revoked_reason(*kind),
            Self::NotTheClients => "not_the_clients_token",
            Self::Record(error) => error.reason(),
            Self::Revoke(_) => "not_revoked",
            Self::Unconfirmed(_) => "view_unconfirmed",
            Self::Snapshot(_) => "database_unavailable",
            Self::Outdated => "registry_changing",
        }
    }

    /// Returns the refusal and its causes as text for audit, at most 1024 characters. It never
    /// contains a token or a secret.
    #[must_use]
    pub fn detail(&self) -> String {
        cut_detail(error_chain(self))
    }

    /// Returns the detail that is added to the fixed text of the kind: the fault of a malformed
    /// request. It is a fixed text too, and contains nothing from the client.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        if self.kind() != ErrorKind::Request {
            return None;
        }
        match self {
            Self::Client(error) => Some(error.to_string()),
            Self::Subject(error) => Some(error.to_string()),
            Self::Policy(error) => Some(error.to_string()),
            // The refusal's own message only names the step.
            _ => std::error::Error::source(self).map(ToString::to_string),
        }
    }

    /// Returns the time to wait before the same request may succeed, or `None` if a retry cannot
    /// help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match (self, self.kind()) {
            (Self::Limited(limited), _) => Some(limited.retry_after),
            (_, ErrorKind::Unavailable | ErrorKind::TooMany) => Some(OUTAGE_RETRY),
            (
                _,
                ErrorKind::Request
                | ErrorKind::Token
                | ErrorKind::Target
                | ErrorKind::Scope
                | ErrorKind::Details
                | ErrorKind::Interaction
                | ErrorKind::Pending
                | ErrorKind::PollRate
                | ErrorKind::Deferral
                | ErrorKind::Denied
                | ErrorKind::Grant
                | ErrorKind::UnsupportedGrant
                | ErrorKind::Client
                | ErrorKind::Proof
                | ErrorKind::ProofNonce
                | ErrorKind::Binding
                | ErrorKind::TokenSize,
            ) => None,
        }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Limited(error) => error.into(),
            ClientError::Credentials(error) => error.into(),
        }
    }
}

impl std::fmt::Debug for DeferredAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeferredAnswer").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}
