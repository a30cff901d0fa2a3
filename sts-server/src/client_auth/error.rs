//! The errors of client authentication.

use sts_jose::{ClaimError, ParseError, TimeError};
use thiserror::Error;

use super::WorkloadError;
use crate::error_kind::ErrorKind;
use crate::keys::TrustError;
use crate::rate_limits::RateLimited;
use crate::record::revoked_reason;
use crate::storage::RevocationKind;
use crate::ttl::Ttl;

/// A client is not served.
#[derive(Debug, Error)]
pub enum ClientError {
    /// A rate limit is exceeded.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// The client is not authenticated.
    #[error(transparent)]
    Credentials(#[from] AuthenticationError),
}

/// Client authentication did not succeed.
#[derive(Debug, Error)]
pub enum AuthenticationError {
    /// The request has no credentials.
    #[error("the request has no client authentication")]
    Absent,
    /// The request has credentials for more than one method (RFC 6749 §2.3).
    #[error("the request uses more than one method of client authentication")]
    SeveralMethods,
    /// A `client_assertion` without its type, or the reverse.
    #[error("client_assertion and client_assertion_type belong together")]
    IncompleteAssertion,
    /// An `actor_token` without a supported type.
    #[error("actor_token_type is absent or not served")]
    ActorTokenType,
    /// `client_id` names an agent other than the authenticated agent.
    #[error("client_id is not the agent that authenticated")]
    ClientIdMismatch,
    /// The credentials do not belong to an agent.
    #[error("client authentication failed")]
    Failed(#[from] Failure),
    /// The `actor_token` that authenticates the client does not identify an agent.
    #[error("the actor token does not authenticate an agent")]
    ActorToken(#[source] WorkloadError),
    /// The keys that are needed for the check are unavailable.
    #[error("client authentication is not possible now")]
    Unavailable(#[source] TrustError),
    /// Too many secrets are waiting to be checked.
    #[error("too many client secrets are waiting to be checked")]
    Overloaded,
}

/// The exact failure. It is only for the log, never for the requester.
#[derive(Debug, Error)]
pub enum Failure {
    /// The entry of the agent has no name of a certificate.
    #[error("the agent has no tls_client_auth name")]
    NoCertificateName,
    /// No authority of `tls.client_ca_file` has signed the certificate.
    #[error("no authority of tls.client_ca_file has signed the client certificate")]
    CertificateUntrusted,
    /// The certificate does not have the name of the agent's entry.
    #[error("the client certificate does not have the name of the agent")]
    CertificateName,
    /// The certificate is expired or not yet valid.
    #[error("the client certificate is not within its times")]
    CertificateExpired,
    /// The `Authorization` header is not Basic, or is malformed.
    #[error("the Authorization header is not well-formed Basic")]
    Header,
    /// No agent has this id.
    #[error("no agent has this client_id")]
    UnknownAgent,
    /// The agent is disabled or on hold.
    #[error("the agent is disabled or on hold")]
    DisabledAgent,
    /// The secret matches no hash of the agent.
    #[error("the client secret matches no stored hash")]
    Secret,
    /// The agent has no secret: it has other credentials, or none.
    #[error("the agent has no client secret")]
    NoSecret,
    /// The secret is empty or too long.
    #[error("the client secret is empty or too long")]
    SecretLength,
    /// The agent has no credentials, so it can only receive.
    #[error("the agent has no credentials: it can only receive")]
    OnlyReceives,
    /// The type of the assertion is not supported.
    #[error("client_assertion_type is not served")]
    AssertionType,
    /// The assertion is malformed or not signed by the agent.
    #[error("the client assertion is not accepted")]
    Assertion(#[source] AssertionError),
    /// The assertion is a workload token that is not accepted.
    #[error("the workload token is not accepted")]
    Workload(#[source] WorkloadError),
}

/// The defect of a client assertion (RFC 7523 §3).
#[derive(Debug, Error)]
pub enum AssertionError {
    /// The assertion is not a JWT.
    #[error("it does not parse")]
    Parse(#[from] ParseError),
    /// A claim is malformed.
    #[error("a claim is malformed")]
    Claim(#[from] ClaimError),
    /// The assertion is not signed by a key of the agent, or is not valid now.
    #[error("it is not trusted")]
    Trust(#[from] TrustError),
    /// `iss` and `sub` do not both name the agent.
    #[error("iss and sub are not the same agent")]
    Issuer,
    /// `typ` belongs to another kind of token.
    #[error("typ is that of another kind of token")]
    Typ,
    /// `aud` is not our issuer alone, and the agent's entry does not allow it.
    #[error("aud is {found}, and must be {expected}")]
    Audience {
        /// The audience in the assertion.
        found: String,
        /// The accepted audience.
        expected: String,
    },
    /// The assertion is bound to a key, which is not supported.
    #[error("it is bound to a key (cnf), which is not honoured")]
    Bound,
    /// The lifetime of the assertion is longer than the agent's entry allows.
    #[error("exp is {ahead} s ahead, and may be {longest} at most (max_assertion_lifetime; five minutes by default)")]
    Lifetime {
        /// The time until `exp`, in seconds.
        ahead: i64,
        /// The longest allowed lifetime.
        longest: Ttl,
    },
    /// The assertion has no `jti`, or a `jti` that is empty or too long.
    #[error("jti is absent, empty or too long")]
    Jti,
    /// The assertion is revoked, or was issued before its agent was blocked.
    #[error("it is covered by the revocation of {}", .0.of_a_token())]
    Revoked(RevocationKind),
}

impl AuthenticationError {
    /// Returns the error for a workload token that was sent as a client assertion.
    pub(super) fn assertion(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Trust(trust) if trust.is_outage() => Self::Unavailable(trust),
            error => Self::Failed(Failure::Workload(error)),
        }
    }

    /// Returns the error for a workload token that was sent as an actor token.
    pub(super) fn actor_token(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Trust(trust) if trust.is_outage() => Self::Unavailable(trust),
            error => Self::ActorToken(error),
        }
    }

    /// The kind of error. Too many secrets at once is no outage: a client may answer an outage with a weaker credential, which load
    /// must never earn.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Absent | Self::Failed(_) => ErrorKind::Client,
            Self::SeveralMethods | Self::IncompleteAssertion | Self::ActorTokenType | Self::ClientIdMismatch => {
                ErrorKind::Request
            }
            Self::ActorToken(error) => error.kind(),
            Self::Overloaded => ErrorKind::TooMany,
            Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }

    /// Returns true if the error counts as a failed attempt of its source.
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

    /// Returns the stable name for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Absent => "client_authentication_absent",
            Self::SeveralMethods => "client_authentication_several",
            Self::IncompleteAssertion => "client_assertion_incomplete",
            Self::ActorTokenType => "actor_token_type",
            Self::ClientIdMismatch => "client_id_mismatch",
            Self::Failed(failure) => failure.reason(),
            Self::ActorToken(error) => error.reason(),
            Self::Unavailable(_) => "keys_unavailable",
            Self::Overloaded => "overloaded",
        }
    }
}

impl Failure {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificateName => "certificate_not_registered",
            Self::CertificateUntrusted => "certificate_untrusted",
            Self::CertificateName => "certificate_mismatch",
            Self::CertificateExpired => "certificate_not_valid",
            Self::Header => "authorization_malformed",
            Self::UnknownAgent => "client_unknown",
            Self::DisabledAgent => "client_disabled",
            Self::Secret => "secret_mismatch",
            Self::NoSecret => "secret_not_registered",
            Self::SecretLength => "secret_length",
            Self::OnlyReceives => "credentials_not_registered",
            Self::AssertionType => "assertion_type",
            Self::Assertion(error) => error.reason(),
            Self::Workload(error) => error.reason(),
        }
    }
}

impl AssertionError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Parse(_) | Self::Claim(_) => "assertion_malformed",
            Self::Trust(trust) => assertion_trust(trust),
            Self::Issuer => "assertion_issuer",
            Self::Typ => "assertion_typ",
            Self::Audience { .. } => "assertion_audience",
            Self::Bound => "assertion_bound",
            Self::Lifetime { .. } => "assertion_lifetime",
            Self::Jti => "assertion_jti",
            Self::Revoked(_) => "assertion_revoked",
        }
    }
}

fn assertion_trust(error: &TrustError) -> &'static str {
    match error {
        TrustError::Algorithm => "assertion_algorithm",
        TrustError::Issuer(_) | TrustError::IssuerDisabled | TrustError::UnknownKey => "assertion_key_unknown",
        TrustError::KeysUnusable => "assertion_keys_unusable",
        TrustError::KeysUnavailable(_) | TrustError::Source(_) | TrustError::NotYetKnown => "keys_unavailable",
        TrustError::Signature(_) => "assertion_signature",
        TrustError::Time(TimeError::Expired) => "assertion_expired",
        TrustError::Time(TimeError::ExpMissing) => "assertion_exp_missing",
        TrustError::Time(TimeError::NotYetValid | TimeError::IssuedInFuture) => "assertion_not_yet_valid",
        TrustError::Time(TimeError::Claim(_)) => "assertion_malformed",
        TrustError::Age => "assertion_lifetime",
    }
}

impl WorkloadError {
    /// The kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Trust(trust) if trust.is_outage() => ErrorKind::Unavailable,
            _ => ErrorKind::Token,
        }
    }

    /// The stable name, for audit, logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Parse(_) | Self::Claim(_) => "workload_malformed",
            Self::Trust(trust) => workload_trust(trust),
            Self::Jti(_) => "workload_jti",
            Self::Typ => "workload_typ",
            Self::Certificate(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
                "certificate_not_valid"
            }
            Self::NotAnSvid | Self::Certificate(_) => "certificate_untrusted",
            Self::Bound => "workload_bound",
            Self::Delegated => "workload_delegated",
            Self::UnknownIssuer => "workload_issuer_unknown",
            Self::UnknownSubject => "workload_subject_unknown",
            Self::DisabledAgent => "workload_agent_disabled",
            Self::Claims(_) => "workload_claims",
            Self::Audience { .. } => "workload_audience",
            Self::Revoked(kind) => revoked_reason(*kind),
        }
    }
}

fn workload_trust(error: &TrustError) -> &'static str {
    match error {
        TrustError::Issuer(_) => "workload_issuer_unknown",
        TrustError::IssuerDisabled => "workload_issuer_disabled",
        TrustError::Algorithm => "workload_algorithm",
        TrustError::UnknownKey => "workload_key_unknown",
        TrustError::KeysUnusable => "workload_keys_unusable",
        TrustError::KeysUnavailable(_) | TrustError::Source(_) | TrustError::NotYetKnown => "keys_unavailable",
        TrustError::Signature(_) => "workload_signature",
        TrustError::Time(TimeError::Expired) => "workload_expired",
        TrustError::Time(TimeError::ExpMissing) => "workload_exp_missing",
        TrustError::Time(TimeError::NotYetValid | TimeError::IssuedInFuture) => "workload_not_yet_valid",
        TrustError::Time(TimeError::Claim(_)) => "workload_malformed",
        TrustError::Age => "workload_too_old",
    }
}
