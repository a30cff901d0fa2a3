//! The file: which, who may read it, how it is opened.

use std::fs::OpenOptions;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::error::{SqliteError, is_outage};

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often, and how far apart, the entry into WAL is tried: `SQLite` does not wait for the lock that it needs.
const WAL_ATTEMPTS: u32 = 100;
const WAL_PAUSE: Duration = Duration::from_millis(50);

/// How the file of this URL is opened.
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
        // A statement of a large batch can be taken back alone, and what that takes would else become a file beside: a batch then fails
        // where no descriptor is left, and where there is no folder for temporary files.
        .pragma("temp_store", "MEMORY")
        .statement_cache_capacity(64))
}

/// Makes the file when it is missing. It holds the sealed signing keys: nobody but its owner reads it, nor the files that `SQLite` puts
/// beside it, which take its permissions.
pub(super) fn create(path: &Path) -> Result<(), SqliteError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(sqlx::Error::Io)?;
    Ok(())
}

/// Brings the file into WAL, where it stays; servers may do so at once.
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
