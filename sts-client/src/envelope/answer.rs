//! Answers: sealed by whoever opened the request, opened by whoever sealed it, and by nobody else.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sts_protocol::Scope;

use super::capability::Capability;
use super::checks::{check_caller, check_ids, check_scopes};
use super::claims::{ANSWER_TYP, Ids, InReplyTo, Principal};
use super::once::{MAX_ANSWER_BYTES, Once};
use super::open::Opened;
use super::party::{KnownPeer, Party};
use super::payload::{self, Payload, SchemaError};
use super::refusal::{OpenError, Reason, Refusal};
use super::seal::{Draft, SealError};
use crate::trace::{Boundary, Matter, Outcome, Reference};

/// Waits for the answer to one message. It opens one text and is gone.
pub struct Awaiting {
    pub(super) party: Arc<Party>,
    pub(super) peer: Arc<KnownPeer>,
    /// Who must speak in the answer: the peer, for the same user, tenant and token.
    pub(super) principal: Principal,
    pub(super) scopes: Scope,
    pub(super) capability: Capability,
    pub(super) request: InReplyTo,
    pub(super) trace_id: String,
    pub(super) idempotency_key: String,
}

impl fmt::Debug for Awaiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Awaiting").field("matter", &self.matter()).finish_non_exhaustive()
    }
}

/// Why an answer was not read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It was not opened.
    #[error("the answer was not opened")]
    Open(#[from] OpenError),
    /// It is not what was expected.
    #[error("the answer is not what was expected")]
    Schema(#[from] SchemaError),
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E> {
    /// Its payload is not what was expected: no handler has seen it.
    #[error("the payload is not what was expected")]
    Schema(#[from] SchemaError),
    /// The handler failed.
    #[error("the handler failed")]
    Handler(#[source] E),
    /// The answer could not be sealed.
    #[error("the answer could not be sealed")]
    Seal(#[from] SealError),
}

impl Opened {
    /// Seals the answer to this message, a JSON object of at most [`MAX_ANSWER_BYTES`], to the key of its sender, and keeps it for whoever
    /// asks for the same operation again. Of an operation that was done before, the answer of then is sealed, whatever `value` is.
    ///
    /// # Errors
    /// See [`SealError`].
    pub async fn answer(&self, value: &impl Serialize) -> Result<String, SealError> {
        let (party, request) = (&self.party, &self.request);
        match &request.once {
            Once::Done(outcome) => self.repeat(outcome).await,
            Once::Started(ticket) => {
                let payload = serde_json::to_vec(value).map_err(SealError::Json)?;
                if payload.len() > MAX_ANSWER_BYTES {
                    return Err(SealError::TooLarge);
                }
                party.keep(ticket, &request.operation, &payload).await?;
                self.seal(&payload).await
            }
        }
    }

    /// Reads the payload, calls the handler with it, and seals what it gives. Of an operation that was done before the handler hears
    /// nothing, and the answer is that of then. When the handler fails, the operation may begin anew.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn serve<T, A, E, F>(&self, handler: impl FnOnce(T) -> F) -> Result<String, ServeError<E>>
    where
        T: DeserializeOwned,
        A: Serialize,
        F: Future<Output = Result<A, E>>,
    {
        if let Once::Done(outcome) = &self.request.once {
            return Ok(self.repeat(outcome).await?);
        }
        let served = match self.read() {
            Ok(payload) => {
                let answer = handler(payload).await;
                let outcome = if answer.is_ok() { Outcome::Passed } else { Outcome::Refused("handler") };
                self.party.tell(Boundary::Invoked, outcome, &self.matter);
                answer.map_err(ServeError::Handler)
            }
            Err(error) => Err(error.into()),
        };
        match served {
            Ok(answer) => Ok(self.answer(&answer).await?),
            Err(error) => {
                self.party.abandon(&self.request.once).await;
                Err(error)
            }
        }
    }

    /// Seals the answer that was given before.
    async fn repeat(&self, outcome: &str) -> Result<String, SealError> {
        let payload = self.party.kept(&self.request.operation, outcome)?;
        self.seal(&payload).await
    }

    async fn seal(&self, payload: &[u8]) -> Result<String, SealError> {
        let (party, request) = (&self.party, &self.request);
        let ids = Ids { message_id: party.fresh_id(), ..request.ids.clone() };
        let draft = Draft {
            typ: ANSWER_TYP,
            principal: &Principal { service_id: party.service_id.clone(), ..request.principal.clone() },
            ids: &ids,
            audience: request.peer.name.as_str(),
            scopes: &request.scopes,
            capability: request.operation.capability,
            in_reply_to: Some(&request.reply),
            payload,
            payload_uri: None,
        };
        let (answer, _) = party.make(&draft, &party.encryption_key(&request.peer).await?)?;
        party.tell(Boundary::Answered, Outcome::Passed, &self.matter);
        Ok(answer)
    }
}

impl Awaiting {
    /// Opens the answer and reads it as a `T`, strictly: no member twice, none that `T` does not know. The checks are those of a request,
    /// in their order; what is expected is what the request said. A request sent back is no answer, and neither is the answer to another.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub async fn open<T: DeserializeOwned>(self, answer: &str) -> Result<T, AnswerError> {
        let payload = self.check(answer).await;
        let name = payload.as_ref().map_or_else(OpenError::as_str, |_payload| "answer");
        metrics::counter!("sts_client_envelopes_total", "outcome" => name).increment(1);
        let matter = self.matter();
        if let Err(error) = &payload {
            let (boundary, outcome) = error.at();
            self.party.tell(boundary, outcome, &matter);
        }
        let payload = payload?;
        self.party.tell(Boundary::Decrypted, Outcome::Passed, &matter);
        let read = payload::read(&payload);
        self.party.tell_validated(&read, &matter);
        Ok(read?)
    }

    async fn check(&self, answer: &str) -> Result<Vec<u8>, OpenError> {
        let party = &self.party;
        let (claims, _) = party.check_signature(answer, ANSWER_TYP, Some(&self.peer)).await?;
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

    fn matter(&self) -> Matter {
        Matter {
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
