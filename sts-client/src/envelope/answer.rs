//! The handling of an opened request, and the sealing of its answer.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::approvals::Operation;
use super::claims::{Ids, Principal};
use super::draft::{Draft, SealError};
use super::once::{MAX_ANSWER_BYTES, Once};
use super::open::{Opened, Request};
use super::party::Party;
use super::payload::SchemaError;
use crate::call::CallContext;
use crate::events::{Boundary, BoundaryOutcome, EventSubject};
use crate::idempotency::{Authority, Lease};
use sts_jose::Typ;

/// The reason why a request got no sealed answer.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E> {
    /// The payload does not match the schema. No handler has run.
    #[error("the payload is not what was expected")]
    Schema(#[from] SchemaError),
    /// The handler failed. A retry runs the operation again.
    #[error("the handler failed")]
    Handler(#[source] E),
    /// The handler panicked. A retry runs the operation again.
    #[error("the handler panicked")]
    Panicked,
    /// The answer could not be sealed.
    #[error("the answer could not be sealed")]
    Seal(#[from] SealError),
}

impl Opened {
    /// Seals the answer to this message for its sender. The answer is a JSON object of at most
    /// [`MAX_ANSWER_BYTES`], and is stored for a repetition of the operation. If the operation was
    /// done before, this seals the stored answer and ignores `value`.
    ///
    /// # Errors
    /// See [`SealError`]. The operation counts as done in any case.
    pub async fn answer(self, value: &impl Serialize) -> Result<String, SealError> {
        let Self { party, request, once, about, .. } = self;
        let payload = match once {
            Once::Done(outcome) => party.kept(&request.operation, &outcome)?,
            Once::Started(lease) => {
                let work = Serving { party: Arc::clone(&party), operation: request.operation.clone(), lease };
                let payload = encode(value);
                // A caller that disconnects must not prevent the outcome from being stored.
                let finished = tokio::spawn(work.finish(request.authority, payload).in_current_span());
                finished.await.unwrap_or(Err(SealError::Interrupted))?
            }
        };
        party.seal_answer(&request, &payload, &about).await
    }

    /// Reads the payload, calls the handler with it, and seals the handler's answer. If the
    /// operation was done before, this does not call the handler and seals the stored answer. If
    /// the handler fails, a retry runs the operation again.
    ///
    /// The handler runs in a separate task, in the current [`CallContext`]. It completes, and its
    /// answer is stored, even if the caller disconnects. Its lease is renewed while it runs, so the
    /// operation runs once even if it takes long.
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
        let Self { party, request, once, about, .. } = self;
        let payload = match (once, asked) {
            (Once::Started(lease), Some(Ok(asked))) => {
                let work = Serving { party: Arc::clone(&party), operation: request.operation.clone(), lease };
                let run = work.run(request.authority, about.clone(), async move { handler(asked).await });
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
        Ok(party.seal_answer(&request, &payload, &about).await?)
    }
}

struct Serving {
    party: Arc<Party>,
    operation: Operation,
    lease: Lease,
}

impl Serving {
    /// Waits for the handler and stores its answer. A panic drops the lease, which abandons the
    /// operation.
    async fn run<A: Serialize, E>(
        self,
        authority: Authority,
        about: EventSubject,
        handler: impl Future<Output = Result<A, E>>,
    ) -> Result<Vec<u8>, ServeError<E>> {
        let answer = handler.await.map(|answer| encode(&answer));
        let outcome = if answer.is_ok() { BoundaryOutcome::Passed } else { BoundaryOutcome::Refused("handler") };
        self.party.emit(Boundary::Invoked, outcome, &about);
        match answer {
            Ok(payload) => Ok(self.finish(authority, payload).await?),
            Err(error) => {
                self.lease.abandon().await;
                Err(ServeError::Handler(error))
            }
        }
    }

    /// Stores the answer. An answer that cannot be sealed is not stored; its operation still counts
    /// as done.
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

/// Returns an answer as JSON, if it is not too long.
fn encode(value: &impl Serialize) -> Result<Vec<u8>, SealError> {
    let payload = serde_json::to_vec(value).map_err(SealError::Json)?;
    if payload.len() > MAX_ANSWER_BYTES { Err(SealError::TooLarge) } else { Ok(payload) }
}

impl Party {
    async fn seal_answer(&self, request: &Request, payload: &[u8], about: &EventSubject) -> Result<String, SealError> {
        let ids = Ids { message_id: self.fresh_id(), ..request.ids.clone() };
        let draft = Draft {
            typ: Typ::AgentAnswer,
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
        self.emit(Boundary::Answered, BoundaryOutcome::Passed, about);
        Ok(answer)
    }
}
