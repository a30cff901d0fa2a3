//! Running work once.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use tracing::Instrument as _;

use super::{
    Attempt, Authority, Idempotency, Lease, NotRepeated, NotRun, Ran, Record, Repeatable, Start, Work, events,
};
use crate::call::CallContext;
use crate::dedup::{DedupError, Operation};

impl Idempotency {
    /// Runs the work, or returns the stored outcome if the work is already done.
    ///
    /// The work runs in its own task, in the [`CallContext`] of the calling task. It finishes, and
    /// its outcome is stored, even if the caller disconnects. The lease is renewed while the work
    /// runs. Costs two round trips to the store, or a single round trip for a retry.
    ///
    /// ```
    /// use sts_client::{Caller, IdempotencyKey};
    /// use sts_client::idempotency::{Fingerprint, Idempotency, NotRun, Repeatable, Work};
    ///
    /// async fn reserve(idempotency: &Idempotency, caller: &Caller, key: &IdempotencyKey, product: String) -> Result<Vec<u8>, NotRun> {
    ///     let fingerprint = Fingerprint::of([&product]);
    ///     let repeatable = Repeatable { caller, route: "reserve", key, fingerprint };
    ///     let reserve = move |_attempt| async move { Work::Final(format!("reserved {product}").into_bytes()) };
    ///     Ok(idempotency.run(repeatable, reserve).await?.outcome)
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`NotRun`]. If the outcome cannot be stored, the caller still receives it, and the
    /// failure is logged as an error. A retry after the lease has expired then runs the work again.
    pub async fn run<W, F>(&self, repeatable: Repeatable<'_>, work: W) -> Result<Ran, NotRun>
    where
        W: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Work> + Send + 'static,
    {
        let operation = Operation {
            key: repeatable.once_key(),
            fingerprint: repeatable.fingerprint.0,
            lease: self.lease,
            expires_in: self.expires_in,
            caller: repeatable.caller(),
        };
        let authority = Authority::of(repeatable.caller);
        let context = CallContext::current();
        let about = events::about(&repeatable);
        let this = self.clone();
        let run = async move {
            let ran = this.run_operation(operation, authority, context, work).await;
            this.emit(&ran, &about);
            ran
        };
        let run = tokio::spawn(run.in_current_span());
        // The task does not panic. It is cancelled only at the shutdown of the runtime.
        run.await.unwrap_or(Err(NotRun::Broken))
    }

    async fn run_operation<W, F>(
        &self,
        operation: Operation,
        authority: Authority,
        context: Option<CallContext>,
        work: W,
    ) -> Result<Ran, NotRun>
    where
        W: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Work> + Send + 'static,
    {
        let lease = match Lease::begin(Arc::clone(&self.store), operation).await {
            Ok(Start::Held(lease)) => lease,
            Ok(Start::Done { record }) => return repeat(&record, authority),
            Ok(Start::InFlight { retry_after }) => return Err(NotRun::InFlight { retry_after }),
            Ok(Start::Conflict) => return Err(NotRun::Conflict),
            Err(error) => {
                let cause: &(dyn Error + 'static) = &error;
                tracing::warn!(error = cause, "refusing work with an idempotency key: the store cannot take it");
                return Err(NotRun::Unavailable(error));
            }
        };
        let attempt = Attempt(lease.attempt());
        // Call the work inside its task, which catches a panic.
        let work = async move { work(attempt).await };
        let task = match context {
            Some(context) => tokio::spawn(context.scope(work).in_current_span()),
            None => tokio::spawn(work.in_current_span()),
        };
        let Ok(work) = task.await else {
            lease.abandon().await;
            return Err(NotRun::Broken);
        };
        Ok(Ran { outcome: self.end(lease, authority, work).await, replayed: false })
    }

    async fn end(&self, lease: Lease, authority: Authority, work: Work) -> Vec<u8> {
        match work {
            Work::Final(outcome) => {
                let kept = (outcome.len() <= self.max_outcome_bytes).then(|| outcome.clone());
                lease.finish(authority, kept).await;
                outcome
            }
            Work::Unrepeatable(outcome) => {
                lease.finish(authority, None).await;
                outcome
            }
            Work::Transient(outcome) => {
                lease.abandon().await;
                outcome
            }
        }
    }
}

fn repeat(stored: &[u8], authority: Authority) -> Result<Ran, NotRun> {
    match Record::repeat(stored, authority) {
        Ok(outcome) => Ok(Ran { outcome, replayed: true }),
        Err(NotRepeated::OtherAuthority) => Err(NotRun::OtherAuthority),
        Err(NotRepeated::NotKept) => Err(NotRun::NotKept),
        Err(NotRepeated::Foreign) => Err(NotRun::Unavailable(DedupError::Unavailable(
            "the stored outcome is not readable by this service".into(),
        ))),
    }
}
