//! What the databases share: times as whole numbers of milliseconds, and when what has expired goes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{OnceError, OnceStore};

/// How many acts pass between two purges.
const ACTS_PER_PURGE: u32 = 1_000;
/// How many rows of each table a purge removes at most, so that none takes long.
pub(super) const PURGED_AT_ONCE: i64 = 2_000;

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

pub(super) fn from_milliseconds(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

/// Counts the acts of one store.
#[derive(Debug, Default)]
pub(super) struct Acts(AtomicU32);

impl Acts {
    /// Purges after every thousandth act. That it fails is no failure of the act.
    pub(super) async fn count(&self, store: &dyn OnceStore) {
        if self.0.fetch_add(1, Ordering::Relaxed) % ACTS_PER_PURGE != ACTS_PER_PURGE - 1 {
            return;
        }
        if let Err(error) = store.purge().await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "what has expired could not be purged from the store of what counts once");
        }
    }
}

/// A failure of a database.
pub(super) fn unavailable(error: sqlx::Error) -> OnceError {
    OnceError::Unavailable(error.into())
}

/// A row that this crate has not written.
pub(super) fn foreign(what: &'static str) -> OnceError {
    OnceError::Unavailable(what.into())
}
