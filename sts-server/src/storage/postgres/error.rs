//! The classification of `PostgreSQL` failures: outage or not. No other module decides this.

use std::path::PathBuf;

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sts_jose::error_chain;
use thiserror::Error;

use crate::storage::StorageError;

/// An unclassified failure inside this folder.
#[derive(Debug, Error)]
pub(super) enum PostgresError {
    #[error("the database driver failed")]
    Driver(#[from] sqlx::Error),
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
    #[error("no host can be used")]
    Connect(#[source] ConnectError),
    #[error("a row is malformed")]
    Row(#[from] StorageError),
}

/// No host of the database can be used. The message names each host with its port.
#[derive(Debug, Error)]
#[error("{}", .0.iter().map(HostFailure::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConnectError(Vec<HostFailure>);

/// The reason why a host cannot be used.
#[derive(Debug, Error)]
pub(super) enum HostFailure {
    #[error("{place}: {}", text_of(.error))]
    Driver { place: String, error: sqlx::Error },
    #[error("{place}: {}", text_of(.error))]
    Rejected { place: String, error: sqlx::Error },
    #[error("{place}: no answer within {seconds} s")]
    Silent { place: String, seconds: u64 },
    #[error("{place}: takes no writes")]
    ReadOnly { place: String },
    #[error("the password file {path}: {error}")]
    Password { path: PathBuf, error: std::io::Error },
}

impl ConnectError {
    pub(super) fn of(failures: Vec<HostFailure>) -> Self {
        Self(failures)
    }

    /// Returns true if the same call may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.0.iter().any(|failure| match failure {
            HostFailure::Driver { error, .. } => is_outage(error),
            HostFailure::Rejected { .. }
            | HostFailure::Silent { .. }
            | HostFailure::ReadOnly { .. }
            | HostFailure::Password { .. } => true,
        })
    }
}

/// Returns true if a host rejected the role or its password (class 28).
pub(super) fn is_rejected(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code.starts_with("28"))
}

/// Returns the text of an error without the driver's introduction.
fn text_of(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Database(error) => error.message().to_owned(),
        error => error_chain(error),
    }
}

impl From<MigrateError> for PostgresError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_outage(&error) => {
                Self::Driver(error)
            }
            error => Self::Migration(error),
        }
    }
}

impl From<PostgresError> for StorageError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Driver(error) if is_outage(&error) => Self::Unavailable(error),
            PostgresError::Driver(error) => Self::Broken(error),
            PostgresError::Migration(error) => Self::Migration(error),
            PostgresError::Connect(error) => Self::Connect(error),
            PostgresError::Row(error) => error,
        }
    }
}

fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => is_outage_of_the_server(error.as_ref()),
        _ => false,
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_outage_of_the_server(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    match code.as_ref() {
        // Serialization failure; deadlock; lock not available; idle-in-transaction timeout; a
        // standby or a demoted primary.
        "40001" | "40P01" | "55P03" | "25P03" | "25006" => true,
        // Connection exception; insufficient resources (a full disk, too many connections);
        // operator intervention (shutdown, start, a statement cancelled by its timeout); a system
        // error such as a failed read.
        code => ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)),
    }
}
