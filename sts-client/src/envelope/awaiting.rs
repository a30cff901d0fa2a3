//! The opening of the answer to a message.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use sts_protocol::Scope;

use super::capability::Capability;
use super::checks::{check_caller, check_ids, check_scopes};
use super::claims::{InReplyTo, Principal};
use super::party::{KnownPeer, Party};
use super::payload::{self, Payload, SchemaError};
use super::refusal::{OpenError, Reason, Refusal};
use crate::events::{Boundary, BoundaryOutcome, EventSubject, Reference};
use sts_jose::Slot;

/// Opens the answer to one message. It can be used once.
pub struct Awaiting {
    pub(super) party: Arc<Party>,
    pub(super) peer: Arc<KnownPeer>,
    /// The principal of the answer: the peer, for the same user, tenant and token.
    pub(super) principal: Principal,
    pub(super) scopes: Scope,
    pub(super) capability: Capability,
    pub(super) request: InReplyTo,
    pub(super) trace_id: String,
    pub(super) idempotency_key: String,
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaiting").field("about", &self.about()).finish_non_exhaustive()
    }
}

/// The reason why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The answer envelope was refused, or could not be checked.
    #[error("the answer was not opened")]
    Open(#[from] OpenError),
    /// The payload of the answer does not match the schema.
    #[error("the answer is not what was expected")]
    Schema(#[from] SchemaError),
}

impl Awaiting {
    /// Opens the answer and reads it as a `T`, strictly: no duplicate members, and none that `T`
    /// does not know. It runs the checks of a request in the same order, against the values of the
    /// sent request. It refuses a request that is sent back, and the answer to another message.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use sts_client::envelope::{AnswerError, Awaiting};
    ///
    /// #[derive(Deserialize)]
    /// struct Drafted { draft: String }
    ///
    /// async fn read(awaiting: Awaiting, answer: &str) -> Result<String, AnswerError> {
    ///     Ok(awaiting.open::<Drafted>(answer).await?.draft)
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub async fn open<T: DeserializeOwned>(self, answer: &str) -> Result<T, AnswerError> {
        let payload = self.check(answer).await;
        let name = payload.as_ref().map_or_else(OpenError::as_str, |_payload| "answer");
        metrics::counter!("sts_client_envelopes_total", "outcome" => name).increment(1);
        let about = self.about();
        if let Err(error) = &payload {
            let (boundary, outcome) = error.at();
            self.party.emit(boundary, outcome, &about);
        }
        let payload = payload?;
        self.party.emit(Boundary::Decrypted, BoundaryOutcome::Passed, &about);
        let read = payload::read(&payload);
        self.party.emit_validated(&read, &about);
        Ok(read?)
    }

    async fn check(&self, answer: &str) -> Result<Vec<u8>, OpenError> {
        let party = &self.party;
        let (claims, _) = party.check_signature(answer, Slot::AgentAnswer, Some(&self.peer)).await?;
        check_caller(&claims, &self.principal)?;
        if claims.audience() != Some(party.service_id.as_str()) {
            return Err(Refusal::new(Reason::WrongAudience, "for another service").into());
        }
        check_scopes(&claims, &self.scopes, &Scope::default())?;
        party.check_times(&claims, party.clock.now())?;
        let ids = check_ids(&claims)?;
        let same_ids = ids.trace_id == self.trace_id && ids.idempotency_key == self.idempotency_key;
        if !same_ids || claims.in_reply_to().as_ref() != Some(&self.request) {
            return Err(Refusal::new(Reason::Replay, "the answer to another message").into());
        }
        if claims.capability() != Some(self.capability) {
            return Err(Refusal::new(Reason::CapabilityNotDelegated, "not the capability of the request").into());
        }
        match party.check_payload(&claims)? {
            Payload::Here(payload) => Ok(payload),
            Payload::Elsewhere { .. } | Payload::Repeated => {
                Err(Refusal::new(Reason::Undecryptable, "an answer brings its payload").into())
            }
        }
    }

    fn about(&self) -> EventSubject {
        EventSubject {
            trace_id: Some(Reference::of(&self.trace_id)),
            message_id: Some(Reference::of(&self.request.message_id)),
            idempotency_key: Some(Reference::of(&self.idempotency_key)),
            tenant_id: self.principal.tenant.clone(),
            actor: Some(Reference::of(&self.principal.service_id)),
            subject: Some(Reference::of_parts(&[&self.principal.issuer, &self.principal.subject])),
            peer: Some(self.peer.name.clone()),
            capability: Some(self.capability.as_str()),
            txn: None,
        }
    }
}
