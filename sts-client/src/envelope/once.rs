//! Single use of a message, and of the operation that it requests.
//!
//! The stored answer to an operation is encrypted to a key of this agent and bound to the
//! operation. So no store holds the contents of an envelope.

use std::sync::Arc;

use jiff::Timestamp;
use sts_protocol::Tenant;

use super::approvals::Operation;
use super::claims::InReplyTo;
use super::draft::SealError;
use super::jwe::{self, EncryptError};
use super::party::Party;
use super::refusal::{OpenError, Reason, Refusal};
use crate::dedup::{self, CallerKey, DedupError, DedupKey, Spend};
use crate::idempotency::{Authority, Lease, NotRepeated, Record, Start};

/// The maximum size of an answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024;

/// The state of an operation.
pub(super) enum Once {
    /// This agent holds the operation and must do it.
    Started(Lease),
    /// The operation was done. This is its encrypted answer.
    Done(String),
}

impl Once {
    /// Ends an operation without an answer, if it was not done.
    pub(super) async fn abandon(self) {
        match self {
            Self::Started(lease) => lease.abandon().await,
            Self::Done(_) => {}
        }
    }
}

impl Party {
    /// **Replay.** Checks that the message is new, and that its idempotency key belongs to no other
    /// operation. A completed operation is repeated only under the authority under which it was
    /// done. After this check, the operation is held.
    pub(super) async fn check_replay(
        &self,
        operation: &Operation,
        message: &InReplyTo,
        expires_at: Timestamp,
        authority: Authority,
    ) -> Result<Once, OpenError> {
        let refused = |detail| OpenError::from(Refusal::new(Reason::Replay, detail));
        let tenant = operation.tenant().map_or("", Tenant::as_str);
        let (issuer, subject) = operation.subject();
        let caller = [self.service_id.as_str(), tenant, &operation.service_id, issuer, subject];
        let key = |namespace: &str, id: &str| DedupKey::new(namespace, caller.into_iter().chain([id]));
        let message_key = key("envelope message", &message.message_id);
        match self.once.spend(message_key, CallerKey::new(caller), expires_at).await? {
            Spend::First => {}
            Spend::SeenBefore => return Err(refused("the message was seen before")),
        }
        let operation = dedup::Operation {
            key: key("envelope operation", &operation.idempotency_key),
            fingerprint: operation.digest(),
            lease: self.lease,
            expires_in: self.remember,
            caller: CallerKey::new(caller),
        };
        match Lease::begin(Arc::clone(&self.once), operation).await? {
            Start::Held(lease) => Ok(Once::Started(lease)),
            Start::InFlight { retry_after } => Err(OpenError::InFlight { retry_after }),
            Start::Conflict => Err(refused("the idempotency key belongs to another operation")),
            Start::Done { record } => match Record::repeat(&record, authority) {
                Ok(outcome) => {
                    let foreign = |error: std::string::FromUtf8Error| DedupError::Unavailable(error.into());
                    Ok(Once::Done(String::from_utf8(outcome).map_err(foreign)?))
                }
                Err(NotRepeated::OtherAuthority) => Err(refused("the operation was done under another authority")),
                Err(NotRepeated::NotKept) => Err(refused("the operation was done, and its answer was not kept")),
                Err(NotRepeated::Foreign) => {
                    Err(DedupError::Unavailable("the stored outcome is not readable by this service".into()).into())
                }
            },
        }
    }

    /// Encrypts the answer to an operation to this agent.
    pub(super) fn encrypt_answer(&self, operation: &Operation, answer: &[u8]) -> Result<Vec<u8>, EncryptError> {
        Ok(jwe::encrypt(self.keys.decryption().public(), &operation.digest(), answer)?.into_bytes())
    }

    /// Decrypts the stored answer. This fails after the key of the answer has been retired.
    pub(super) fn kept(&self, operation: &Operation, outcome: &str) -> Result<Vec<u8>, SealError> {
        self.keys.decrypt(outcome, &operation.digest()).map_err(SealError::Kept)
    }
}
