//! The classification of `PostgreSQL` failures: outage or not. No other module decides this.

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use thiserror::Error;

use crate::storage::StorageError;

/// An unclassified failure inside this folder.
#[derive(Debug, Error)]
pub(super) enum PostgresError {
    #[error("the database driver failed")]
    Driver(#[from] sqlx::Error),
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
    #[error("a row is malformed")]
    Row(#[from] StorageError),
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
