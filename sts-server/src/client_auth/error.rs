//! Why an agent is not authenticated.

use sts_jose::{ClaimError, ParseError};
use thiserror::Error;

use super::WorkloadError;
use crate::keys::TrustError;
use crate::record::revoked_reason;
use crate::storage::RevocationKind;

/// Client authentication did not succeed.
#[derive(Debug, Error)]
pub enum AuthenticationError {
    /// There are no credentials.
    #[error("the request has no client authentication")]
    Absent,
    /// There are credentials of more than one method (RFC 6749 §2.3).
    #[error("the request uses more than one method of client authentication")]
    SeveralMethods,
    /// A `client_assertion` without its type, or the reverse.
    #[error("client_assertion and client_assertion_type belong together")]
    IncompleteAssertion,
    /// An `actor_token` without a type that is served.
    #[error("actor_token_type is absent or not served")]
    ActorTokenType,
    /// `client_id` names another agent than the one that authenticated.
    #[error("client_id is not the agent that authenticated")]
    ClientIdMismatch,
    /// The credentials are not those of an agent.
    #[error("client authentication failed")]
    Failed(#[from] Failure),
    /// The `actor_token` that stands for the client is not that of an agent.
    #[error("the actor token does not authenticate an agent")]
    ActorToken(#[source] WorkloadError),
    /// What is needed to tell is out of reach.
    #[error("client authentication is not possible now")]
    Unavailable(#[source] TrustError),
    /// Too many secrets wait to be checked.
    #[error("too many client secrets wait to be checked")]
    Overloaded,
}

/// What exactly failed: for the log, never for the requester.
#[derive(Debug, Error)]
pub enum Failure {
    /// The `Authorization` header is not Basic, or malformed.
    #[error("the Authorization header is not well-formed Basic")]
    Header,
    /// No agent has this id, or it is disabled.
    #[error("there is no such agent")]
    UnknownAgent,
    /// The secret is another, or the agent has none.
    #[error("the client secret is wrong")]
    Secret,
    /// The type of the assertion is not served.
    #[error("client_assertion_type is not served")]
    AssertionType,
    /// The assertion is malformed or not signed by the agent.
    #[error("the client assertion is bad")]
    Assertion(#[source] AssertionError),
    /// The assertion is a workload token, and bad.
    #[error("the workload token is bad")]
    Workload(#[source] WorkloadError),
}

/// What is wrong with a client assertion (RFC 7523 §3).
#[derive(Debug, Error)]
pub enum AssertionError {
    /// It is no JWT.
    #[error("it does not parse")]
    Parse(#[from] ParseError),
    /// A claim is malformed.
    #[error("a claim is malformed")]
    Claim(#[from] ClaimError),
    /// It is not signed by a key of the agent, or not alive.
    #[error("it is not believed")]
    Trust(#[from] TrustError),
    /// `iss` and `sub` are not both the agent.
    #[error("iss and sub are not the same agent")]
    Issuer,
    /// `typ` is that of another kind of token.
    #[error("typ is that of another kind of token")]
    Typ,
    /// `aud` is not our issuer alone.
    #[error("aud is not the issuer of this service alone")]
    Audience,
    /// It is bound to a key, which is not honoured.
    #[error("it is bound to a key (cnf), which is not honoured")]
    Bound,
    /// It lives longer than five minutes.
    #[error("it lives longer than five minutes")]
    Lifetime,
    /// It has no `jti`, or one that is empty or too long.
    #[error("jti is absent, empty or too long")]
    Jti,
    /// It was issued before a block of its agent, or is itself revoked.
    #[error("it is revoked, by {0:?}")]
    Revoked(RevocationKind),
}

impl AuthenticationError {
    /// A workload token that was sent as client assertion.
    pub(super) fn assertion(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Trust(trust) if trust.is_outage() => Self::Unavailable(trust),
            error => Self::Failed(Failure::Workload(error)),
        }
    }

    /// A workload token that was sent as actor token.
    pub(super) fn actor_token(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Trust(trust) if trust.is_outage() => Self::Unavailable(trust),
            error => Self::ActorToken(error),
        }
    }

    /// Whether somebody tried to be an agent and was not: what is counted against its source.
    #[must_use]
    pub fn is_failed_attempt(&self) -> bool {
        match self {
            Self::Absent | Self::Failed(_) | Self::ActorToken(_) => true,
            Self::SeveralMethods
            | Self::IncompleteAssertion
            | Self::ActorTokenType
            | Self::ClientIdMismatch
            | Self::Unavailable(_)
            | Self::Overloaded => false,
        }
    }

    /// The stable name, for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "client_authentication_absent",
            Self::SeveralMethods => "client_authentication_several",
            Self::IncompleteAssertion => "client_assertion_incomplete",
            Self::ActorTokenType => "actor_token_type",
            Self::ClientIdMismatch => "client_id_mismatch",
            Self::Failed(_) => "client_authentication_failed",
            Self::ActorToken(WorkloadError::Revoked(kind)) => revoked_reason(*kind),
            Self::ActorToken(_) => "actor_token_invalid",
            Self::Unavailable(_) => "keys_unavailable",
            Self::Overloaded => "overloaded",
        }
    }
}
