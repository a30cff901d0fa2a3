//! The lease of an operation in progress.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::authority::Authority;
use super::record::Record;
use crate::once::{Begun, Held, OnceError, OnceStore, Operation, Ticket};

/// The number of attempts to store an outcome, and the first pause between them. Each pause is
/// twice as long as the previous pause.
const ATTEMPTS_TO_STORE: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The lease of an operation that this process runs. A background task renews it until the
/// operation is finished or abandoned. Dropping the lease abandons the operation, so that a
/// disconnect or a panic leaves no lock behind.
pub(crate) struct Lease {
    store: Arc<dyn OnceStore>,
    ticket: Ticket,
    /// Signals to the renewing task that the operation is settled. Dropping it without a message
    /// abandons the operation.
    settled: oneshot::Sender<()>,
}

/// The answer of the store to the start of an operation.
pub(crate) enum Start {
    /// This process may run the operation.
    Held(Lease),
    /// Another attempt is in progress.
    InFlight { retry_after: Duration },
    /// The operation is done. Contains its record.
    Done { record: Vec<u8> },
    /// The key was used with another body.
    Conflict,
}

impl Lease {
    /// Starts an operation and holds its lease. Runs in its own task, so that a caller that
    /// disconnects during the request to the store leaves no lease behind.
    pub(crate) async fn begin(store: Arc<dyn OnceStore>, operation: Operation) -> Result<Start, OnceError> {
        let begin = async move {
            Ok(match store.begin(&operation).await? {
                Begun::Started(ticket) => Start::Held(Self::hold(store, ticket, operation.lease)),
                Begun::InFlight { retry_after } => Start::InFlight { retry_after },
                Begun::Done { outcome } => Start::Done { record: outcome },
                Begun::Conflict => Start::Conflict,
            })
        };
        tokio::spawn(begin.in_current_span()).await.unwrap_or_else(|error| Err(OnceError::Unavailable(error.into())))
    }

    fn hold(store: Arc<dyn OnceStore>, ticket: Ticket, lease: Duration) -> Self {
        let (settled, is_settled) = oneshot::channel();
        let renewing = renew(Arc::clone(&store), ticket.clone(), lease, is_settled);
        tokio::spawn(renewing.in_current_span());
        Self { store, ticket, settled }
    }

    /// Returns the number of this attempt: see [`Ticket::attempt`].
    pub(crate) fn attempt(&self) -> u32 {
        self.ticket.attempt
    }

    /// Records the operation as done, under the authority that ran it, with its outcome if the
    /// outcome is to be stored.
    ///
    /// A full store records the operation without its outcome. If the store is unreachable, the
    /// operation stays held until its lease expires. Both cases are logged. Neither affects the
    /// caller, who already has the outcome.
    pub(crate) async fn finish(self, authority: Authority, outcome: Option<Vec<u8>>) {
        let has_outcome = outcome.is_some();
        let mut stored = self.store(&Record { authority, outcome }).await;
        if has_outcome && matches!(stored, Err(OnceError::Full)) {
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

    /// Ends the operation without an outcome. Returns after the store has recorded this, so that a
    /// retry can start at once.
    pub(crate) async fn abandon(self) {
        abandon(&*self.store, &self.ticket).await;
        self.settle();
    }

    /// Stores a record. Retries while the store is unreachable.
    async fn store(&self, record: &Record) -> Result<(), OnceError> {
        let bytes = record.to_bytes();
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS_TO_STORE {
            match self.try_to_store(&bytes).await {
                Err(OnceError::Unavailable(_)) => {}
                ended => return ended,
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        self.try_to_store(&bytes).await
    }

    async fn try_to_store(&self, bytes: &[u8]) -> Result<(), OnceError> {
        match self.store.finish(&self.ticket, bytes).await? {
            Held::Yes => {}
            // An earlier attempt may have succeeded although its answer was lost.
            Held::No => tracing::warn!("an outcome was stored before, or another process did the work too"),
        }
        Ok(())
    }

    /// Stops the renewal and leaves the operation unchanged.
    fn settle(self) {
        // The renewing task may have ended with the runtime.
        let _ended = self.settled.send(());
    }
}

/// Renews the lease until the operation is settled. Abandons the operation if the lease is dropped
/// first.
async fn renew(store: Arc<dyn OnceStore>, ticket: Ticket, lease: Duration, mut settled: oneshot::Receiver<()>) {
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

async fn abandon(store: &dyn OnceStore, ticket: &Ticket) {
    if let Err(error) = store.abandon(ticket).await {
        let error: &(dyn Error + 'static) = &error;
        tracing::warn!(error, "failed to abandon work: it can be repeated once its lease has expired");
    }
}
