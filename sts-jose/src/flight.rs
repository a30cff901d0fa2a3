//! Work that runs once for any number of callers that wait for its outcome.

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::{AbortHandle, JoinError};

/// Running work. It is a separate task, so it continues when its callers go away.
#[derive(Debug, Clone)]
pub(crate) struct Flight<T: Clone> {
    outcome: Shared<BoxFuture<'static, T>>,
    task: AbortHandle,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Starts the work. `aborted` makes the outcome if the task ends without one, because the
    /// runtime shuts down.
    pub(crate) fn start(
        work: impl Future<Output = T> + Send + 'static,
        aborted: impl FnOnce(JoinError) -> T + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(work);
        let abort_handle = task.abort_handle();
        let outcome = async { task.await.unwrap_or_else(aborted) };
        Self { outcome: outcome.boxed().shared(), task: abort_handle }
    }

    /// Returns true if the work has not ended. Work whose task was aborted has ended.
    pub(crate) fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Waits for the outcome.
    pub(crate) async fn outcome(self) -> T {
        self.outcome.await
    }
}
