//! The limit on concurrent requests of operators. Their reads must not keep the database from
//! issuing and revoking.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refused::Refused;

/// The maximum number of concurrent searches of the audit log: the number of database connections
/// for them.
const SEARCHES: usize = 2;
/// The maximum number of other concurrent requests.
const ACTS: usize = 4;
/// The maximum time that a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// The kind of turn that a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// One of those that search the audit log.
    Search,
    /// One of the others.
    Act,
    /// None: a revocation waits for no other request.
    None,
}

impl Turn {
    /// Returns the turn of a request to the API.
    pub(super) fn of_api(head: &Parts) -> Self {
        match head.uri.path() {
            "/revocations" if head.method != Method::GET => Self::None,
            "/audit" | "/audit/heads" | "/audit/rows" | "/unused" => Self::Search,
            _ => Self::Act,
        }
    }
}

/// The turns of the requests of operators. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    searches: Arc<Semaphore>,
    acts: Arc<Semaphore>,
    patience: Duration,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self::of(PATIENCE)
    }

    fn of(patience: Duration) -> Self {
        Self { searches: Arc::new(Semaphore::new(SEARCHES)), acts: Arc::new(Semaphore::new(ACTS)), patience }
    }

    /// Waits for a turn, which lasts until dropped. Returns `None` if none is needed.
    ///
    /// # Errors
    /// [`Refused::Busy`] if no turn is free in time.
    pub(super) async fn take(&self, turn: Turn) -> Result<Option<OwnedSemaphorePermit>, Refused> {
        let turns = match turn {
            Turn::None => return Ok(None),
            Turn::Search => &self.searches,
            Turn::Act => &self.acts,
        };
        match tokio::time::timeout(self.patience, Arc::clone(turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Some(turn)),
            Ok(Err(_)) | Err(_) => Err(Refused::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(method: &str, path: &str) -> Turn {
        Turn::of_api(&Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0)
    }

    #[tokio::test]
    async fn requests_beyond_the_turns_are_turned_away_and_the_kill_switch_is_not() {
        let turns = Turns::of(Duration::ZERO);
        let mut taken = Vec::new();
        for (path, count) in [("/audit", SEARCHES), ("/agents", ACTS)] {
            for _ in 0..count {
                taken.push(turns.take(head("GET", path)).await.unwrap().unwrap());
            }
            assert!(matches!(turns.take(head("GET", path)).await, Err(Refused::Busy)), "{path}");
        }
        assert!(matches!(turns.take(head("GET", "/revocations")).await, Err(Refused::Busy)));
        for method in ["POST", "DELETE"] {
            assert!(turns.take(head(method, "/revocations")).await.unwrap().is_none(), "{method}");
        }
        taken.clear();
        assert!(turns.take(head("GET", "/audit")).await.unwrap().is_some());
    }
}
