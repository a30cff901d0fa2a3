//! Work that is under way once, however many callers wait for its outcome.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::{AbortHandle, JoinError};

/// Work under way. It is a task of its own, so that it goes on when its callers go away.
#[derive(Debug, Clone)]
pub(crate) struct Flight<T: Clone> {
    outcome: Shared<BoxFuture<'static, T>>,
    task: AbortHandle,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Starts the work. `aborted` is the outcome when the task ends without one: the runtime shuts down.
    pub(crate) fn start(
        work: impl Future<Output = T> + Send + 'static,
        aborted: impl FnOnce(JoinError) -> T + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(work);
        let abort_handle = task.abort_handle();
        let outcome = async { task.await.unwrap_or_else(aborted) };
        Self { outcome: outcome.boxed().shared(), task: abort_handle }
    }

    /// True if the work has not ended. Work whose task was aborted has ended.
    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// The outcome, once it is there.
    pub(crate) async fn outcome(self) -> T {
        self.outcome.await
    }
}
