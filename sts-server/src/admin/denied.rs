//! The reasons why an operation of an operator was not performed.

use std::time::Duration;

use sts_jose::error_chain;
use thiserror::Error;

use super::{NotRevoked, UnknownName};
use crate::config::Role;
use crate::document::FieldFault;
use crate::keys::KeyLifeError;
use crate::rate_limits::RateLimited;
use crate::record::cut_detail;
use crate::registry::RegistryError;
use crate::service::SnapshotError;
use crate::storage::StorageError;
use crate::verify::OperatorError;

/// The suggestion of a refusal to revoke an unknown name.
pub const REVOKE_ANYWAY: &str = "add \"unknown\": true to revoke it anyway";

/// The pause before a retry after an outage.
const OUTAGE_RETRY: Duration = Duration::from_secs(1);

/// An operation is denied to an operator, or cannot be performed now.
#[derive(Debug, Error)]
pub enum Denied {
    /// The configuration names no operator, so the admin API is closed.
    #[error("the configuration names no operator")]
    NotConfigured,
    /// The request has no bearer token.
    #[error("no bearer token")]
    Unauthenticated,
    /// The `Authorization` header is malformed or repeated.
    #[error("the Authorization header is malformed or repeated")]
    Authorization,
    /// The bearer token matches no admin token.
    #[error("the bearer token is not an admin token")]
    Token,
    /// The operator's access token is invalid.
    #[error("the access token is not accepted")]
    AccessToken(#[source] OperatorError),
    /// The keys of the issuer of operators are unavailable.
    #[error("the access token cannot be checked now")]
    IssuerKeys(#[source] OperatorError),
    /// A rate limit is exceeded.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// Too many secrets are waiting for their check.
    #[error("too many secrets are waiting to be checked")]
    Overloaded,
    /// The role of the operator is insufficient.
    #[error("the role {needs} is needed")]
    Role {
        /// The least role that suffices.
        needs: Role,
    },
    /// The query or a header is malformed.
    #[error("the query or a header is malformed")]
    Parameters(Vec<FieldFault>),
    /// The object does not exist.
    #[error("the object does not exist")]
    NotFound,
    /// The body is invalid.
    #[error("the body has faults")]
    Faults(Vec<FieldFault>),
    /// The change would leave the registry invalid.
    #[error("the change would leave the registry with faults")]
    Conflict(Vec<FieldFault>),
    /// The change names no precondition.
    #[error("If-Match or If-None-Match is required")]
    PreconditionRequired,
    /// The entry is not in the state that the precondition names.
    #[error("the entry has changed since it was read")]
    PreconditionFailed,
    /// The registry file made the entry.
    #[error("the registry file manages the entry: the API can only disable or enable it")]
    FileMade(FieldFault),
    /// The next key was published too recently to sign.
    #[error("the next key may not sign yet")]
    TooEarly(FieldFault),
    /// The rotation would publish too many keys.
    #[error("too many signing keys are published")]
    TooManyKeys(FieldFault),
    /// The approval is not in a state for this decision, or its user decides.
    #[error("the decision is not possible")]
    Undecidable(FieldFault),
    /// Concurrent changes caused every attempt to fail.
    #[error("the registry changed during every attempt")]
    Contended,
    /// The uses of entries are not counted yet.
    #[error("the servers are still counting the uses in the audit log: ask again in a few minutes")]
    Uncounted,
    /// The signing keys were not changed.
    #[error("the keys were not changed")]
    Keys(#[source] KeyLifeError),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[from] StorageError),
    /// The stored registry cannot be read.
    #[error("the stored registry cannot be read")]
    Registry(#[from] RegistryError),
    /// The database cannot be read. The change may be committed.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
}

impl Denied {
    /// Returns the stable name of the reason, for the client, for audit and for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotConfigured => "admin_not_configured",
            Self::Unauthenticated => "admin_unauthenticated",
            Self::Authorization => "admin_authorization_malformed",
            Self::Token => "admin_token_invalid",
            Self::AccessToken(_) => "admin_access_token_invalid",
            Self::IssuerKeys(_) => "keys_unavailable",
            Self::Limited(error) => error.limit.reason(),
            Self::Overloaded => "overloaded",
            Self::Role { .. } => "role_insufficient",
            Self::Parameters(_) => "parameters_malformed",
            Self::NotFound => "not_found",
            Self::Faults(_) => "body_at_fault",
            Self::Conflict(_) => "registry_at_fault",
            Self::PreconditionRequired => "precondition_required",
            Self::PreconditionFailed => "precondition_failed",
            Self::FileMade(_) => "made_by_file",
            Self::TooEarly(_) => "key_too_young",
            Self::TooManyKeys(_) => "too_many_keys",
            Self::Undecidable(_) => "approval_undecidable",
            Self::Contended => "contended",
            Self::Uncounted => "uses_not_counted",
            Self::Keys(_) => "keys_not_changed",
            Self::Storage(_) | Self::Snapshot(_) => "database_unavailable",
            Self::Registry(_) => "registry_unreadable",
        }
    }

    /// Returns the faults of the request.
    #[must_use]
    pub fn faults(&self) -> &[FieldFault] {
        if let Self::FileMade(fault) | Self::TooEarly(fault) | Self::TooManyKeys(fault) | Self::Undecidable(fault) =
            self
        {
            return std::slice::from_ref(fault);
        }
        if let Self::Parameters(faults) | Self::Faults(faults) | Self::Conflict(faults) = self { faults } else { &[] }
    }

    /// Returns true if the request was a failed attempt to authenticate.
    #[must_use]
    pub(super) fn is_failed_attempt(&self) -> bool {
        matches!(self, Self::Token | Self::AccessToken(_) | Self::Authorization)
    }

    /// Returns the refusal and its causes as text for audit, at most 1024 characters. It never
    /// contains a token or a secret.
    #[must_use]
    pub fn detail(&self) -> String {
        let mut words = vec![error_chain(self)];
        words.extend(self.faults().iter().map(|fault| match fault.pointer.as_ref().or(fault.parameter.as_ref()) {
            Some(place) => format!("{place} {}", fault.message),
            None => fault.message.clone(),
        }));
        cut_detail(words.join(": "))
    }

    /// Returns the time to wait before the same request may succeed.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        if let Self::Limited(limited) = self {
            return limited.retry_after;
        }
        OUTAGE_RETRY
    }
}

impl From<NotRevoked> for Denied {
    fn from(error: NotRevoked) -> Self {
        match error {
            NotRevoked::Wrong(wrong) => {
                let pointer = if wrong.parameter.is_empty() { String::new() } else { format!("/{}", wrong.parameter) };
                Self::Faults(vec![FieldFault::at(pointer, wrong.message)])
            }
            NotRevoked::Unknown(UnknownName { parameter, message, meant }) => {
                let help =
                    Some(meant.map_or_else(|| REVOKE_ANYWAY.to_owned(), |meant| format!("{meant} {REVOKE_ANYWAY}")));
                Self::Faults(vec![FieldFault { help, ..FieldFault::at(format!("/{parameter}"), message) }])
            }
            NotRevoked::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<KeyLifeError> for Denied {
    fn from(error: KeyLifeError) -> Self {
        match error {
            KeyLifeError::TooEarly { algorithm, earliest, .. } => {
                let message = format!("the next {algorithm} key may sign from {earliest}");
                let help = Some("or at once, with \"now\": true".to_owned());
                Self::TooEarly(FieldFault { help, ..FieldFault::at("/now", message) })
            }
            KeyLifeError::TooMany { .. } => {
                Self::TooManyKeys(FieldFault { pointer: None, ..FieldFault::at("", error.to_string()) })
            }
            KeyLifeError::Unknown(_) => Self::NotFound,
            KeyLifeError::Storage(error) => Self::Storage(error),
            KeyLifeError::Contended => Self::Contended,
            KeyLifeError::Generate(_)
            | KeyLifeError::Seal(_)
            | KeyLifeError::Foreign { .. }
            | KeyLifeError::SameMasterKey
            | KeyLifeError::Altered => Self::Keys(error),
        }
    }
}
