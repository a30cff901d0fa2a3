//! What counts once: a message, and the operation that it asks for.
//!
//! The answer to an operation is kept encrypted to a key of this agent, bound to the operation: no store holds what was in an envelope.

use jiff::Timestamp;
use sts_protocol::Tenant;

use super::approvals::Operation;
use super::claims::InReplyTo;
use super::jwe;
use super::party::Party;
use super::refusal::{OpenError, Reason, Refusal};
use super::seal::SealError;
use crate::once::{self, Begun, Held, OnceError, OnceKey, Spend, Ticket};

/// The longest answer that is kept, in bytes: an answer must not be longer.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024;

/// The longest JWE of such an answer: base64, and its header.
const MAX_OUTCOME_BYTES: usize = MAX_ANSWER_BYTES * 4 / 3 + 1024;

/// How an operation stands.
pub(super) enum Once {
    /// It is ours to do.
    Started(Ticket),
    /// It has been done, and this is its answer, encrypted.
    Done(String),
}

impl Party {
    /// **Replay.** The message is new, and its idempotency key stands for no other operation. From here on the operation is held.
    pub(super) async fn check_replay(
        &self,
        operation: &Operation,
        message: &InReplyTo,
        expires_at: Timestamp,
    ) -> Result<Once, OpenError> {
        let tenant = operation.tenant().map_or("", Tenant::as_str);
        let key = |namespace: &str, id: &str| {
            OnceKey::new(namespace, [self.service_id.as_str(), tenant, &operation.service_id, id])
        };
        match self.once.spend(key("envelope message", &message.message_id), expires_at).await? {
            Spend::First => {}
            Spend::SeenBefore => return Err(Refusal::new(Reason::Replay, "the message was seen before").into()),
        }
        let operation = once::Operation {
            key: key("envelope operation", &operation.idempotency_key),
            fingerprint: operation.digest(),
            lease: self.lease,
            expires_in: self.remember,
            max_outcome_bytes: MAX_OUTCOME_BYTES,
        };
        match self.once.begin(&operation).await? {
            Begun::Started(ticket) => Ok(Once::Started(ticket)),
            Begun::InFlight { retry_after } => Err(OpenError::InFlight { retry_after }),
            Begun::Done { outcome } => {
                let foreign = |error: std::string::FromUtf8Error| OnceError::Unavailable(error.into());
                Ok(Once::Done(String::from_utf8(outcome).map_err(foreign)?))
            }
            Begun::Conflict => {
                Err(Refusal::new(Reason::Replay, "the idempotency key stands for another operation").into())
            }
        }
    }

    /// Ends an operation that was not done. Where that fails, its lease ends by itself.
    pub(super) async fn abandon(&self, once: &Once) {
        let Once::Started(ticket) = once else { return };
        if let Err(error) = self.once.abandon(ticket).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "an operation that was not done is held until its lease ends");
        }
    }

    /// Keeps the answer to an operation.
    pub(super) async fn keep(&self, ticket: &Ticket, operation: &Operation, answer: &[u8]) -> Result<(), SealError> {
        let own = self.keys.decryption();
        let outcome = jwe::encrypt(own.public(), &operation.digest(), answer).map_err(SealError::Encrypt)?;
        match self.once.finish(ticket, outcome.as_bytes()).await.map_err(SealError::Keep)? {
            Held::Yes => Ok(()),
            Held::No => {
                tracing::warn!("an operation took longer than its lease: it may have been done twice");
                Ok(())
            }
        }
    }

    /// Reads the answer that was kept. It is gone once the key that it was kept with has been retired.
    pub(super) fn kept(&self, operation: &Operation, outcome: &str) -> Result<Vec<u8>, SealError> {
        self.keys.decrypt(outcome, &operation.digest()).map_err(SealError::Kept)
    }
}
