//! Why a request was not answered with what it asked for, whichever step said so.

use std::time::Duration;

use sts_jose::error_chain;
use sts_protocol::FormError;
use thiserror::Error;

use super::{RequestError, RevokeError, SnapshotError};
use crate::client_auth::{AuthenticationError, WorkloadError};
use crate::mint::MintError;
use crate::policy::{PolicyError, Row};
use crate::record::{RecordError, Verdict, cut_detail};
use crate::storage::RevocationKind;
use crate::verify::SubjectError;

/// When a requester should come back after an outage.
const OUTAGE_RETRY: Duration = Duration::from_secs(1);

/// A request is refused, or cannot be served now. [`Refusal::row`] says whose fault it is and what the requester is told.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Step 1: the body is no form.
    #[error("the body is malformed")]
    Form(#[from] FormError),
    /// Step 2: the agent is not authenticated.
    #[error("the client is not authenticated")]
    Client(#[from] AuthenticationError),
    /// Step 2: the agent is not authenticated, and too many attempts failed before.
    #[error("too many attempts have failed")]
    TooManyAttempts {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Before step 1: its source has asked too often.
    #[error("its source has asked too often")]
    SourceRate {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Before step 1: other requests hold the memory that its body needs.
    #[error("other requests hold the memory for its body")]
    RequestMemory,
    /// Step 2: the agent has asked too often.
    #[error("the client has asked too often")]
    ClientRate {
        /// How long to wait.
        retry_after: Duration,
    },
    /// At any step: refused, and so were too many requests of the agent before.
    #[error("too many requests of the client were refused")]
    TooManyRefusals {
        /// The time to wait.
        retry_after: Duration,
    },
    /// At any step: the request took too long. Its decision may have been committed, and is not acted on.
    #[error("the request took too long")]
    TooSlow,
    /// Step 3: the request cannot be understood.
    #[error("the request is malformed")]
    Request(#[from] RequestError),
    /// Step 4: the subject token is not accepted.
    #[error("the subject token is not accepted")]
    Subject(#[from] SubjectError),
    /// Step 5: the actor token is bad.
    #[error("the actor token is not accepted")]
    ActorToken(#[source] WorkloadError),
    /// Step 5: the actor token is of another agent.
    #[error("the actor token is not of the agent that authenticated")]
    ActorTokenMismatch,
    /// Steps 5 and 6: a rule refuses.
    #[error("a rule refuses")]
    Policy(#[from] PolicyError),
    /// Step 7: no token was made.
    #[error("no token was made")]
    Mint(#[from] MintError),
    /// Step 8: the client assertion had been used before.
    #[error("the client assertion was used before")]
    Replayed,
    /// Step 8: something in the chain was revoked while the request was under way.
    #[error("revoked while the request was under way, by {0:?}")]
    RevokedMeanwhile(RevocationKind),
    /// The token to revoke was issued to another agent (RFC 7009 §2.1).
    #[error("the token was issued to another agent")]
    NotTheClients,
    /// The database cannot be read where an old view of it will not do.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
    /// A revocation does not hold yet.
    #[error("the revocation does not hold yet")]
    Revoke(#[from] RevokeError),
    /// Before anything is issued or said to be active: the view of the database is too old.
    #[error("the view of registry, keys and revocations has not been confirmed for {seconds} s")]
    Unconfirmed {
        /// The age of the view.
        seconds: i64,
    },
    /// Step 8: registry or keys changed again and again before the decision was committed.
    #[error("registry or keys changed again and again while the request was under way")]
    Outdated,
    /// Step 8: nothing is known to be committed.
    #[error("the decision is not committed")]
    Record(#[from] RecordError),
}

impl Refusal {
    /// The row of the error table.
    #[must_use]
    pub fn row(&self) -> Row {
        match self {
            Self::Form(_) => Row::Request,
            Self::Client(error) => client_row(error),
            Self::TooManyAttempts { .. }
            | Self::SourceRate { .. }
            | Self::ClientRate { .. }
            | Self::RequestMemory
            | Self::TooManyRefusals { .. } => Row::TooMany,
            Self::Request(error) => error.row(),
            Self::Subject(error) => error.row(),
            Self::ActorToken(WorkloadError::Trust(trust)) if trust.is_outage() => Row::Unavailable,
            Self::ActorToken(_) | Self::ActorTokenMismatch | Self::RevokedMeanwhile(_) => Row::Token,
            Self::Policy(error) => error.row(),
            Self::Mint(error) => error.row(),
            Self::Replayed => Row::Client,
            Self::NotTheClients => Row::Grant,
            Self::Record(error) if error.is_overload() => Row::TooMany,
            Self::TooSlow
            | Self::Record(_)
            | Self::Revoke(_)
            | Self::Snapshot(_)
            | Self::Outdated
            | Self::Unconfirmed { .. } => Row::Unavailable,
        }
    }

    /// The stable name, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Form(_) => "form_malformed",
            Self::Client(error) => error.reason(),
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::SourceRate { .. } => "source_rate",
            Self::RequestMemory => "request_memory",
            Self::ClientRate { .. } => "client_rate",
            Self::TooManyRefusals { .. } => "too_many_refusals",
            Self::TooSlow => "too_slow",
            Self::Request(error) => error.reason(),
            Self::Subject(error) => error.reason(),
            Self::ActorToken(error) => error.reason(),
            Self::ActorTokenMismatch => "actor_token_mismatch",
            Self::Policy(error) => error.reason(),
            Self::Mint(error) => error.reason(),
            Self::Replayed => Verdict::Replayed.reason().map_or("", |(reason, _)| reason),
            Self::RevokedMeanwhile(kind) => crate::record::revoked_reason(*kind),
            Self::NotTheClients => "not_the_clients_token",
            Self::Record(error) if error.is_overload() => "overloaded",
            Self::Record(_) => "not_recorded",
            Self::Revoke(_) => "not_revoked",
            Self::Unconfirmed { .. } => "view_unconfirmed",
            Self::Snapshot(_) => "database_unavailable",
            Self::Outdated => "registry_changing",
        }
    }

    /// The refusal and its causes in words, for audit, at most 1024 characters. No cause quotes a token or a secret.
    #[must_use]
    pub fn detail(&self) -> String {
        cut_detail(error_chain(self))
    }

    /// What the requester is told besides the fixed text of the row: which parameter of its request is malformed. A fixed text too, of
    /// which nothing comes from the requester.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        if self.row() != Row::Request {
            return None;
        }
        // What such a refusal says itself is which step it is of.
        std::error::Error::source(self).map(ToString::to_string)
    }

    /// How long to wait before the same request may succeed; none for what no wait mends.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match (self, self.row()) {
            (
                Self::TooManyAttempts { retry_after }
                | Self::SourceRate { retry_after }
                | Self::ClientRate { retry_after }
                | Self::TooManyRefusals { retry_after },
                _,
            ) => Some(*retry_after),
            (_, Row::Unavailable | Row::TooMany) => Some(OUTAGE_RETRY),
            (
                _,
                Row::Request
                | Row::Token
                | Row::Target
                | Row::Scope
                | Row::Grant
                | Row::UnsupportedGrant
                | Row::Client
                | Row::TokenSize,
            ) => None,
        }
    }
}

/// Too many secrets at once is no outage: a client may answer an outage with a weaker credential, and load never earns one.
fn client_row(error: &AuthenticationError) -> Row {
    match error {
        AuthenticationError::Absent | AuthenticationError::Failed(_) => Row::Client,
        AuthenticationError::SeveralMethods
        | AuthenticationError::IncompleteAssertion
        | AuthenticationError::ActorTokenType
        | AuthenticationError::ClientIdMismatch => Row::Request,
        AuthenticationError::ActorToken(_) => Row::Token,
        AuthenticationError::Overloaded => Row::TooMany,
        AuthenticationError::Unavailable(_) => Row::Unavailable,
    }
}
