//! The database file: its options, its permissions and its journal mode.

use std::fs::OpenOptions;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::error::{SqliteError, is_outage};

/// The time that a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of attempts to enter WAL mode, and the pause between them. `SQLite` does not wait for
/// the lock that it needs.
const WAL_ATTEMPTS: u32 = 100;
const WAL_PAUSE: Duration = Duration::from_millis(50);

/// Returns the options to open the file of this URL.
pub(super) fn options(url: &str) -> Result<SqliteConnectOptions, SqliteError> {
    let options = SqliteConnectOptions::from_str(url)?;
    if url.contains(":memory:") || url.contains("mode=memory") {
        let reason = "a database in memory is not served: every connection would have its own";
        return Err(SqliteError::Driver(sqlx::Error::Configuration(reason.into())));
    }
    Ok(options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        // A statement of a large batch can be rolled back alone. Its undo data would otherwise go
        // to a temporary file. The batch would then fail if no file descriptor or no temporary
        // directory is available.
        .pragma("temp_store", "MEMORY")
        .statement_cache_capacity(64))
}

/// Creates the file if it is missing. It holds the sealed signing keys, so only its owner may read
/// it. `SQLite` gives the same permissions to the files beside it.
pub(super) fn create(path: &Path) -> Result<(), SqliteError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(sqlx::Error::Io)?;
    Ok(())
}

/// Switches the file to WAL mode, which persists. Several servers may do so at once.
pub(super) async fn enter_wal(options: &SqliteConnectOptions) -> Result<(), SqliteError> {
    let mut attempts = WAL_ATTEMPTS;
    loop {
        attempts = attempts.saturating_sub(1);
        match options.connect().await {
            Ok(connection) => return Ok(connection.close().await?),
            Err(error) if attempts > 0 && is_outage(&error) => tokio::time::sleep(WAL_PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}
