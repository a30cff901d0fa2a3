//! Answers: sealed by whoever opened the request, opened by whoever sealed it, and by nobody else.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sts_protocol::Scope;
use tracing::Instrument as _;

use super::approvals::Operation;
use super::capability::Capability;
use super::checks::{check_caller, check_ids, check_scopes};
use super::claims::{ANSWER_TYP, Ids, InReplyTo, Principal};
use super::once::{MAX_ANSWER_BYTES, Once};
use super::open::{Opened, Request};
use super::party::{KnownPeer, Party};
use super::payload::{self, Payload, SchemaError};
use super::refusal::{OpenError, Reason, Refusal};
use super::seal::{Draft, SealError};
use crate::call::CallContext;
use crate::events::{Boundary, Matter, Outcome, Reference};
use crate::idempotency::{Authority, Lease};

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
    /// The handler failed. A retry starts the operation anew.
    #[error("the handler failed")]
    Handler(#[source] E),
    /// The handler panicked. A retry starts the operation anew.
    #[error("the handler panicked")]
    Panicked,
    /// The answer could not be sealed.
    #[error("the answer could not be sealed")]
    Seal(#[from] SealError),
}

impl Opened {
    /// Seals the answer to this message, a JSON object of at most [`MAX_ANSWER_BYTES`], to the key of its sender, and keeps it for a
    /// repetition of the operation. Of an operation that was done before, the stored answer is sealed and `value` is ignored.
    ///
    /// # Errors
    /// See [`SealError`]. The operation counts as done in any case.
    pub async fn answer(self, value: &impl Serialize) -> Result<String, SealError> {
        let Self { party, request, once, matter, .. } = self;
        let payload = match once {
            Once::Done(outcome) => party.kept(&request.operation, &outcome)?,
            Once::Started(lease) => {
                let work = Serving { party: Arc::clone(&party), operation: request.operation.clone(), lease };
                let payload = encode(value);
                // A caller that hangs up must not keep the outcome from being stored.
                let finished = tokio::spawn(work.finish(request.authority, payload).in_current_span());
                finished.await.unwrap_or(Err(SealError::Interrupted))?
            }
        };
        party.seal_answer(&request, &payload, &matter).await
    }

    /// Reads the payload, calls the handler with it, and seals what it gives. Of an operation that was done before the handler is not
    /// called, and the answer is that of then. When the handler fails, a retry starts the operation anew.
    ///
    /// The handler runs in a task of its own, in the [`CallContext`] of this one: it ends, and its answer is kept, even when the caller
    /// hangs up. Its lease is renewed while it runs, so that it is done once however long it takes.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use sts_client::envelope::{Opened, ServeError};
    ///
    /// #[derive(Deserialize)]
    /// struct Refund { order: String }
    /// #[derive(Serialize)]
    /// struct Drafted { draft: String }
    ///
    /// async fn receive(opened: Opened) -> Result<String, ServeError<std::io::Error>> {
    ///     opened.serve(|refund: Refund| async move { Ok(Drafted { draft: format!("draft of {}", refund.order) }) }).await
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn serve<T, A, E, F>(self, handler: impl FnOnce(T) -> F + Send + 'static) -> Result<String, ServeError<E>>
    where
        T: DeserializeOwned + Send + 'static,
        A: Serialize + Send + 'static,
        E: Send + 'static,
        F: Future<Output = Result<A, E>> + Send + 'static,
    {
        let asked = if self.is_repeated() { None } else { Some(self.read()) };
        let Self { party, request, once, matter, .. } = self;
        let payload = match (once, asked) {
            (Once::Started(lease), Some(Ok(asked))) => {
                let work = Serving { party: Arc::clone(&party), operation: request.operation.clone(), lease };
                let run = work.run(request.authority, matter.clone(), async move { handler(asked).await });
                let task = match CallContext::current() {
                    Some(context) => tokio::spawn(context.scope(run).in_current_span()),
                    None => tokio::spawn(run.in_current_span()),
                };
                task.await.unwrap_or(Err(ServeError::Panicked))?
            }
            (Once::Started(lease), asked) => {
                lease.abandon().await;
                return Err(asked.and_then(Result::err).unwrap_or(SchemaError::Absent).into());
            }
            (Once::Done(outcome), _) => party.kept(&request.operation, &outcome)?,
        };
        Ok(party.seal_answer(&request, &payload, &matter).await?)
    }
}

/// An operation that is being done.
struct Serving {
    party: Arc<Party>,
    operation: Operation,
    lease: Lease,
}

impl Serving {
    /// Waits for the handler and keeps its answer. A panic drops the lease, which gives the operation up.
    async fn run<A: Serialize, E>(
        self,
        authority: Authority,
        matter: Matter,
        handler: impl Future<Output = Result<A, E>>,
    ) -> Result<Vec<u8>, ServeError<E>> {
        let answer = handler.await.map(|answer| encode(&answer));
        let outcome = if answer.is_ok() { Outcome::Passed } else { Outcome::Refused("handler") };
        self.party.tell(Boundary::Invoked, outcome, &matter);
        match answer {
            Ok(payload) => Ok(self.finish(authority, payload).await?),
            Err(error) => {
                self.lease.abandon().await;
                Err(ServeError::Handler(error))
            }
        }
    }

    /// Keeps the answer; one that cannot be sealed is not kept, and its operation is done all the same.
    async fn finish(self, authority: Authority, payload: Result<Vec<u8>, SealError>) -> Result<Vec<u8>, SealError> {
        let encrypted = payload.and_then(|payload| {
            let encrypted = self.party.encrypt_answer(&self.operation, &payload).map_err(SealError::Encrypt)?;
            Ok((payload, encrypted))
        });
        let (payload, outcome) = match encrypted {
            Ok((payload, encrypted)) => (Ok(payload), Some(encrypted)),
            Err(error) => (Err(error), None),
        };
        self.lease.finish(authority, outcome).await;
        payload
    }
}

/// An answer as JSON, if it is not too long.
fn encode(value: &impl Serialize) -> Result<Vec<u8>, SealError> {
    let payload = serde_json::to_vec(value).map_err(SealError::Json)?;
    if payload.len() > MAX_ANSWER_BYTES { Err(SealError::TooLarge) } else { Ok(payload) }
}

impl Party {
    async fn seal_answer(&self, request: &Request, payload: &[u8], matter: &Matter) -> Result<String, SealError> {
        let ids = Ids { message_id: self.fresh_id(), ..request.ids.clone() };
        let draft = Draft {
            typ: ANSWER_TYP,
            principal: &Principal { service_id: self.service_id.clone(), ..request.principal.clone() },
            ids: &ids,
            audience: request.peer.name.as_str(),
            scopes: &request.scopes,
            capability: request.operation.capability,
            in_reply_to: Some(&request.reply),
            payload,
            payload_uri: None,
        };
        let (answer, _) = self.make(&draft, &self.encryption_key(&request.peer).await?)?;
        self.tell(Boundary::Answered, Outcome::Passed, matter);
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
