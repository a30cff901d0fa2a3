//! The classification of `SQLite` failures: outage or not. No other module decides this.

use std::io;

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use thiserror::Error;

use crate::storage::StorageError;

/// An unclassified failure inside this folder.
#[derive(Debug, Error)]
pub(super) enum SqliteError {
    #[error("the database driver failed")]
    Driver(#[from] sqlx::Error),
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
    #[error("a row is malformed")]
    Row(#[from] StorageError),
}

impl From<MigrateError> for SqliteError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_outage(&error) => {
                Self::Driver(error)
            }
            error => Self::Migration(error),
        }
    }
}

impl From<SqliteError> for StorageError {
    fn from(error: SqliteError) -> Self {
        match error {
            SqliteError::Driver(error) if is_outage(&error) => Self::Unavailable(error),
            SqliteError::Driver(error) => Self::Broken(error),
            SqliteError::Migration(error) => Self::Migration(error),
            SqliteError::Row(error) => error,
        }
    }
}

/// Returns true if the same operation may succeed later.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        // Only the creation of the file returns these errors, and a retry does not create a missing
        // directory.
        sqlx::Error::Io(error) => !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory
        ),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => primary_code(error.as_ref()).is_some_and(is_outage_of_the_file),
        _ => false,
    }
}

/// Returns the low byte of the driver's extended error code.
fn primary_code(error: &dyn DatabaseError) -> Option<u32> {
    let extended: u32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// <https://www.sqlite.org/rescode.html>
fn is_outage_of_the_file(code: u32) -> bool {
    match code {
        // Busy, locked, out of memory, interrupted, failed read or write, disk full, cannot open,
        // locking protocol.
        5 | 6 | 7 | 9 | 10 | 13 | 14 | 15 => true,
        // Read-only: the file system became read-only after a fault, or the file was moved away.
        8 => true,
        _ => false,
    }
}
