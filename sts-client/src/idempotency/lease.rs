//! An operation that is held while work on it goes on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::authority::Authority;
use super::record::Record;
use crate::dedup::{Begun, DedupError, DedupStore, Held, Operation, Ticket};

/// The number of attempts to store an outcome, and the first pause between them. Each pause is twice the previous.
const ATTEMPTS_TO_STORE: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// An operation that this process holds. A task renews the lease until the operation is finished or abandoned; one that is dropped before is
/// abandoned, so that a caller that hangs up or work that panics leaves nothing locked.
pub(crate) struct Lease {
    store: Arc<dyn DedupStore>,
    ticket: Ticket,
    /// Says to the task that renews that it need not abandon. Dropped without a word: abandon.
    settled: oneshot::Sender<()>,
}

/// The answer of a store that was asked to begin an operation.
pub(crate) enum Start {
    /// It is ours to do.
    Held(Lease),
    /// It is in progress.
    InFlight { retry_after: Duration },
    /// It is done: the record of it.
    Done { record: Vec<u8> },
    /// Its key stands for another body.
    Conflict,
}

impl Lease {
    /// Begins an operation and holds it. Runs in a task of its own: a caller that hangs up while the store is asked leaves nothing held.
    pub(crate) async fn begin(store: Arc<dyn DedupStore>, operation: Operation) -> Result<Start, DedupError> {
        let begin = async move {
            Ok(match store.begin(&operation).await? {
                Begun::Started(ticket) => Start::Held(Self::hold(store, ticket, operation.lease)),
                Begun::InFlight { retry_after } => Start::InFlight { retry_after },
                Begun::Done { outcome } => Start::Done { record: outcome },
                Begun::Conflict => Start::Conflict,
            })
        };
        tokio::spawn(begin.in_current_span()).await.unwrap_or_else(|error| Err(DedupError::Unavailable(error.into())))
    }

    fn hold(store: Arc<dyn DedupStore>, ticket: Ticket, lease: Duration) -> Self {
        let (settled, is_settled) = oneshot::channel();
        let renewing = renew(Arc::clone(&store), ticket.clone(), lease, is_settled);
        tokio::spawn(renewing.in_current_span());
        Self { store, ticket, settled }
    }

    /// 1 at the first attempt: see [`Ticket::attempt`].
    pub(crate) fn attempt(&self) -> u32 {
        self.ticket.attempt
    }

    /// Records that the operation is done, with its outcome if that is kept, under the authority by which it was done.
    ///
    /// A store without room records that much and no outcome. Where the store cannot be reached, the operation stays held until its lease
    /// expires. Both are logged, and neither concerns the caller, who has the outcome.
    pub(crate) async fn finish(self, authority: Authority, outcome: Option<Vec<u8>>) {
        let has_outcome = outcome.is_some();
        let mut stored = self.store(&Record { authority, outcome }).await;
        if has_outcome && matches!(stored, Err(DedupError::Full)) {
            tracing::warn!("an outcome is not kept: the deduplication store has no room for it");
            stored = self.store(&Record { authority, outcome: None }).await;
        }
        if let Err(error) = stored {
            let error: &(dyn Error + 'static) = &error;
            tracing::error!(
                error,
                "failed to store an outcome: a repetition does the work again once its lease has expired"
            );
        }
        self.settle();
    }

    /// Ends the operation without an outcome. Returns once that is stored, so that a retry finds it so.
    pub(crate) async fn abandon(self) {
        abandon(&*self.store, &self.ticket).await;
        self.settle();
    }

    /// Stores a record. Tries several times while the store cannot be reached.
    async fn store(&self, record: &Record) -> Result<(), DedupError> {
        let bytes = record.to_bytes();
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_TO_STORE {
            match self.try_to_store(&bytes).await {
                Err(DedupError::Unavailable(_)) => {}
                ended => return ended,
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        self.try_to_store(&bytes).await
    }

    async fn try_to_store(&self, bytes: &[u8]) -> Result<(), DedupError> {
        match self.store.finish(&self.ticket, bytes).await? {
            Held::Yes => {}
            // An earlier attempt may have been stored, though its answer did not arrive.
            Held::No => tracing::warn!("an outcome was stored before, or another process did the work too"),
        }
        Ok(())
    }

    /// Stops the renewal and leaves the operation as it is.
    fn settle(self) {
        // The task that renews ends with the runtime.
        let _ended = self.settled.send(());
    }
}

/// Renews the lease until the operation is settled, and abandons it when its holder is gone.
async fn renew(store: Arc<dyn DedupStore>, ticket: Ticket, lease: Duration, mut settled: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            is_settled = &mut settled => {
                if is_settled.is_err() {
                    abandon(&*store, &ticket).await;
                }
                return;
            }
            () = tokio::time::sleep(lease / 3) => match store.renew(&ticket, lease).await {
                Ok(Held::Yes) => {}
                Ok(Held::No) => {
                    tracing::error!("work took longer than its lease: another process does it too");
                    return;
                }
                Err(error) => {
                    let error: &(dyn Error + 'static) = &error;
                    tracing::warn!(error, "failed to renew the lease of work that is in progress");
                }
            },
        }
    }
}

async fn abandon(store: &dyn DedupStore, ticket: &Ticket) {
    if let Err(error) = store.abandon(ticket).await {
        let error: &(dyn Error + 'static) = &error;
        tracing::warn!(error, "failed to abandon work: it can be repeated once its lease has expired");
    }
}
