//! Why an operator's act was not done.

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

/// When to come back after an outage.
const OUTAGE_RETRY: Duration = Duration::from_secs(1);

/// An act is denied to an operator, or cannot be done now.
#[derive(Debug, Error)]
pub enum Denied {
    /// Nobody may use the admin API: the configuration names no operator.
    #[error("the configuration names no operator")]
    NotConfigured,
    /// It has no bearer token.
    #[error("no bearer token")]
    Unauthenticated,
    /// Its `Authorization` headers make no sense.
    #[error("the authorization header is malformed or stands there twice")]
    Authorization,
    /// Its bearer token is none of the admin tokens.
    #[error("the bearer token is no admin token")]
    Token,
    /// Its access token is not accepted.
    #[error("the access token is not accepted")]
    AccessToken(#[source] OperatorError),
    /// The keys of the issuer of operators are out of reach.
    #[error("the access token cannot be checked now")]
    IssuerKeys(#[source] OperatorError),
    /// A rate limit is exceeded.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// Too many secrets wait to be checked.
    #[error("too many secrets wait to be checked")]
    Overloaded,
    /// The operator's role does not reach.
    #[error("the role {needs} is needed")]
    Role {
        /// The least role that would do.
        needs: Role,
    },
    /// Its query or a header makes no sense.
    #[error("the query or a header is malformed")]
    Parameters(Vec<FieldFault>),
    /// There is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// The body is at fault.
    #[error("the body has faults")]
    Faults(Vec<FieldFault>),
    /// It would leave the registry at fault.
    #[error("the registry would be left with faults")]
    Conflict(Vec<FieldFault>),
    /// A change must say which state it changes.
    #[error("neither If-Match nor If-None-Match says what is to be changed")]
    PreconditionRequired,
    /// It is not in the state that the request names.
    #[error("the entry is not what the request takes it for")]
    PreconditionFailed,
    /// The registry file made it.
    #[error("the registry file made the entry: here it can only be disabled")]
    FileMade(FieldFault),
    /// A key was published too short a time ago to sign.
    #[error("the next key may not sign yet")]
    TooEarly(FieldFault),
    /// The rotation would publish too many keys.
    #[error("too many signing keys are published")]
    TooManyKeys(FieldFault),
    /// Others changed the same again and again.
    #[error("others changed the registry again and again")]
    Contended,
    /// The keys were not changed.
    #[error("the keys were not changed")]
    Keys(#[source] KeyLifeError),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[from] StorageError),
    /// The stored registry cannot be read.
    #[error("the stored registry cannot be read")]
    Registry(#[from] RegistryError),
    /// It is committed, or should be read, and this server cannot read it.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
}

impl Denied {
    /// The stable name, for the requester, for audit and for metrics.
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
            Self::Contended => "contended",
            Self::Keys(_) => "keys_not_changed",
            Self::Storage(_) | Self::Snapshot(_) => "database_unavailable",
            Self::Registry(_) => "registry_unreadable",
        }
    }

    /// What exactly is wrong with the request.
    #[must_use]
    pub fn faults(&self) -> &[FieldFault] {
        if let Self::FileMade(fault) | Self::TooEarly(fault) | Self::TooManyKeys(fault) = self {
            return std::slice::from_ref(fault);
        }
        if let Self::Parameters(faults) | Self::Faults(faults) | Self::Conflict(faults) = self { faults } else { &[] }
    }

    /// Whether it was an attempt to authenticate that failed.
    #[must_use]
    pub(super) fn is_failed_attempt(&self) -> bool {
        matches!(self, Self::Token | Self::AccessToken(_) | Self::Authorization)
    }

    /// The refusal and its causes in words, for audit, at most 1024 characters. No cause quotes a token or a secret.
    #[must_use]
    pub fn detail(&self) -> String {
        let mut words = vec![error_chain(self)];
        words.extend(self.faults().iter().map(|fault| match fault.pointer.as_ref().or(fault.parameter.as_ref()) {
            Some(place) => format!("{place} {}", fault.message),
            None => fault.message.clone(),
        }));
        cut_detail(words.join(": "))
    }

    /// How long to wait before the same request may succeed, where there is something to wait for.
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
            NotRevoked::Unknown(UnknownName { parameter, message, meant }) => {
                let all_the_same = "to revoke it all the same, add \"unknown\": true";
                let help =
                    Some(meant.map_or_else(|| all_the_same.to_owned(), |meant| format!("{meant} {all_the_same}")));
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
