//! Doing work once.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::{Attempt, Idempotency, NotRun, Ran, Repeatable, Work, told};
use crate::context::CallContext;
use crate::once::{Begun, Held, OnceError, Operation, Ticket};

/// The first byte of what is stored.
const OUTCOME: u8 = 0;
const TOO_LONG: u8 = 1;

/// How often an outcome is tried to be stored, and how long the first pause is; each is twice the one before.
const ATTEMPTS_TO_STORE: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

impl Idempotency {
    /// Does the work, unless it has been done: then its outcome is that of then.
    ///
    /// It runs in a task of its own, in the [`CallContext`] of this one, and ends and has its outcome stored when nobody waits for it any
    /// more. While it goes on its lease is renewed. Costs two round trips to the store, one for a repetition.
    ///
    /// # Errors
    /// See [`NotRun`]. When an outcome cannot be stored the caller is told it all the same, and a repetition after the lease does the work
    /// again: that is logged as an error.
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
            max_outcome_bytes: self.max_outcome_bytes.saturating_add(1),
        };
        let context = CallContext::current();
        let matter = told::matter(&repeatable);
        let this = self.clone();
        let run = async move {
            let ran = this.begin(&operation, context, work).await;
            this.tell(&ran, &matter);
            ran
        };
        let run = tokio::spawn(run.in_current_span());
        // The task does nothing that panics; it is gone when the runtime ends.
        run.await.unwrap_or(Err(NotRun::Broken))
    }

    async fn begin<W, F>(&self, operation: &Operation, context: Option<CallContext>, work: W) -> Result<Ran, NotRun>
    where
        W: FnOnce(Attempt) -> F + Send + 'static,
        F: Future<Output = Work> + Send + 'static,
    {
        let ticket = match self.store.begin(operation).await {
            Ok(Begun::Started(ticket)) => ticket,
            Ok(Begun::Done { outcome }) => return replay(&outcome),
            Ok(Begun::InFlight { retry_after }) => return Err(NotRun::InFlight { retry_after }),
            Ok(Begun::Conflict) => return Err(NotRun::Conflict),
            Err(error) => {
                let cause: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error = cause, "nothing is done: the store of idempotency keys cannot be asked");
                return Err(NotRun::Unavailable(error));
            }
        };
        let attempt = Attempt(ticket.attempt);
        // The work is called within its task, where its panic is caught.
        let work = async move { work(attempt).await };
        let task = match context {
            Some(context) => tokio::spawn(context.scope(work).in_current_span()),
            None => tokio::spawn(work.in_current_span()),
        };
        match self.hold(&ticket, task).await {
            Some(ended) => self.end(&ticket, ended).await,
            None => {
                self.abandon(&ticket).await;
                Err(NotRun::Broken)
            }
        }
    }

    /// Waits for the work and renews its lease meanwhile. `None` when it panicked.
    async fn hold(&self, ticket: &Ticket, mut task: JoinHandle<Work>) -> Option<Work> {
        loop {
            tokio::select! {
                ended = &mut task => return ended.ok(),
                () = tokio::time::sleep(self.lease / 3) => match self.store.renew(ticket, self.lease).await {
                    Ok(Held::Yes) => {}
                    Ok(Held::No) => {
                        tracing::error!("work was held for longer than its lease: somebody else does it too");
                        return task.await.ok();
                    }
                    Err(error) => {
                        let error: &(dyn std::error::Error + 'static) = &error;
                        tracing::warn!(error, "the lease of work that is going on could not be renewed");
                    }
                },
            }
        }
    }

    async fn end(&self, ticket: &Ticket, ended: Work) -> Result<Ran, NotRun> {
        let (outcome, is_final) = ended.into_outcome();
        let is_too_long = outcome.len() > self.max_outcome_bytes;
        if is_final {
            let mut stored = vec![if is_too_long { TOO_LONG } else { OUTCOME }];
            if !is_too_long {
                stored.extend_from_slice(&outcome);
            }
            self.store(ticket, &stored).await;
        } else {
            self.abandon(ticket).await;
        }
        if is_too_long { Err(NotRun::TooLong) } else { Ok(Ran { outcome, replayed: false }) }
    }

    async fn store(&self, ticket: &Ticket, outcome: &[u8]) {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_TO_STORE {
            if self.try_to_store(ticket, outcome).await.is_ok() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        if let Err(error) = self.try_to_store(ticket, outcome).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "an outcome could not be stored: a repetition after the lease does the work again");
        }
    }

    async fn try_to_store(&self, ticket: &Ticket, outcome: &[u8]) -> Result<(), OnceError> {
        match self.store.finish(ticket, outcome).await? {
            Held::Yes => {}
            // An earlier try may have been stored, though its answer did not come.
            Held::No => tracing::warn!("an outcome was stored before, or somebody else did the work too"),
        }
        Ok(())
    }

    async fn abandon(&self, ticket: &Ticket) {
        if let Err(error) = self.store.abandon(ticket).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "work could not be given up: it can be repeated once its lease has ended");
        }
    }
}

fn replay(stored: &[u8]) -> Result<Ran, NotRun> {
    match stored.split_first() {
        Some((&OUTCOME, outcome)) => Ok(Ran { outcome: outcome.to_vec(), replayed: true }),
        Some((&TOO_LONG, [])) => Err(NotRun::TooLong),
        _ => Err(NotRun::Unavailable(OnceError::Unavailable("the stored outcome is none of ours".into()))),
    }
}
