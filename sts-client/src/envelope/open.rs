//! The opening of a request: the order of the checks.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sts_jose::Slot;
use sts_protocol::Scope;

use super::approvals::Operation;
use super::capability::{Approval, Capability};
use super::checks::{check_caller, check_ids, check_scopes};
use super::claims::{self, Claims, Ids, InReplyTo, Principal};
use super::once::Once;
use super::party::{Envelopes, KnownPeer, Party};
use super::payload::{self, Payload, SchemaError};
use super::refusal::{OpenError, Reason, Refusal};
use crate::call::{Caller, Kind};
use crate::events::{Boundary, BoundaryOutcome, Event, EventSubject, Guard, Reference};
use crate::idempotency::Authority;

impl Envelopes {
    /// Opens a request that came with a verified token. The checks run in this order: signature,
    /// token, audience, scope, expiry, required ids, replay, capability, approval. The first check
    /// that fails ends the opening. The payload is decrypted last. The limits of an approval by the STS
    /// are then compared with it.
    ///
    /// Costs a signature check, accesses to the stores, and a decryption. Fetches the sender's keys
    /// if they are not cached.
    ///
    /// ```
    /// use sts_client::Caller;
    /// use sts_client::envelope::{Envelopes, OpenError};
    ///
    /// /// The caller comes from the verifier's layer.
    /// async fn receive(envelopes: &Envelopes, caller: &Caller, body: &str) -> Result<String, OpenError> {
    ///     let opened = envelopes.open(body, caller).await?;
    ///     Ok(format!("{} asks for {}", opened.service_id(), opened.capability()))
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(&self, envelope: &str, caller: &Caller) -> Result<Opened, OpenError> {
        let party = &self.0;
        let now = party.clock.now();
        let mut about = EventSubject::of(caller);
        let opened = party.check(envelope, caller, now, &mut about).await;
        let name = opened.as_ref().map_or_else(OpenError::as_str, |_opened| "opened");
        metrics::counter!("sts_client_envelopes_total", "outcome" => name).increment(1);
        let (boundary, outcome) = match &opened {
            Err(error) => error.at(),
            Ok((_, payload, _)) if payload.bytes().is_some() => (Boundary::Decrypted, BoundaryOutcome::Passed),
            Ok(_) => (Boundary::Approval, BoundaryOutcome::Passed),
        };
        party.sinks.emit_all(&Event { at: now, guard: Guard::Envelope, boundary, outcome, about: about.clone() });
        if let Err(OpenError::Refused(refusal)) = &opened {
            tracing::debug!(reason = refusal.reason().as_str(), detail = refusal.detail(), "an envelope was refused");
        }
        let (request, payload, once) = opened?;
        Ok(Opened { party: Arc::clone(party), request, payload, once, about })
    }
}

/// A request that passed every check.
pub(super) struct Request {
    pub(super) claims: Claims,
    pub(super) principal: Principal,
    pub(super) ids: Ids,
    pub(super) scopes: Scope,
    pub(super) peer: Arc<KnownPeer>,
    pub(super) reply: InReplyTo,
    pub(super) operation: Operation,
    pub(super) authority: Authority,
    pub(super) caller: Caller,
}

impl Party {
    async fn check(
        &self,
        envelope: &str,
        caller: &Caller,
        now: Timestamp,
        about: &mut EventSubject,
    ) -> Result<(Request, Payload, Once), OpenError> {
        let (claims, peer) = self.check_signature(envelope, Slot::AgentRequest, None).await?;
        learn(about, &claims, &peer);
        let principal = principal_of(caller)?;
        check_caller(&claims, &principal)?;
        self.check_audience(&claims)?;
        let scopes = check_scopes(&claims, caller.scope(), &self.required)?;
        let expires_at = self.check_times(&claims, now)?;
        let ids = check_ids(&claims)?;
        let operation = operation(&claims, &principal, &ids)?;
        let reply =
            InReplyTo { message_id: ids.message_id.clone(), envelope_hash: claims::sha256(envelope.as_bytes()) };
        let authority = Authority::of(caller).narrowed(&scopes);
        let once = self.check_replay(&operation, &reply, expires_at, authority).await?;
        let caller = caller.clone();
        let request = Request { claims, principal, ids, scopes, peer, reply, operation, authority, caller };
        match self.check_operation(&request, &once).await {
            Ok(payload) => Ok((request, payload, once)),
            Err(error) => {
                once.abandon().await;
                Err(error)
            }
        }
    }

    /// Runs the checks after replay, while this agent holds the operation.
    async fn check_operation(&self, request: &Request, once: &Once) -> Result<Payload, OpenError> {
        let approval = self.check_capability(request)?;
        self.check_approval(approval, request).await?;
        match once {
            Once::Started(_) => {
                let payload = self.check_payload(&request.claims)?;
                payload.bytes().map_or(Ok(()), |bytes| self.check_limits(request, bytes))?;
                Ok(payload)
            }
            // The payload is not needed: the operation was done before.
            Once::Done(_) => Ok(Payload::Repeated),
        }
    }

    /// **Capability.** Checks that the capability is served and that its scopes are delegated. Returns the
    /// approval that it requires.
    fn check_capability(&self, Request { operation, scopes, .. }: &Request) -> Result<&Approval, Refusal> {
        let refused = |detail| Refusal::new(Reason::CapabilityNotDelegated, detail);
        let needs = self.policy.get(&operation.capability).ok_or(refused("the capability is not served"))?;
        if needs.met_by(scopes) { Ok(needs.required_approval()) } else { Err(refused("its scopes are not delegated")) }
    }

    /// **Approval**, after decryption. Checks that the payload is within the limits of an approval by the
    /// STS, if the operation requires one.
    fn check_limits(&self, request: &Request, payload: &[u8]) -> Result<(), Refusal> {
        match self.check_capability(request)? {
            Approval::OfSts(action) => {
                let refused = |detail| Refusal::new(Reason::ApprovalRequired, detail);
                // The cause is dropped: the caller gets the reason of this check.
                let is_permitted = action
                    .permits(&request.caller, &request.operation.approval_identifier(), payload)
                    .or(Err(refused("the payload does not name its quantities")))?;
                if is_permitted { Ok(()) } else { Err(refused("beyond the limits of the token")) }
            }
            Approval::None | Approval::OfRecipient => Ok(()),
        }
    }

    /// **Approval.** Checks that the operation has the approval that it requires.
    async fn check_approval(&self, approval: &Approval, request: &Request) -> Result<(), OpenError> {
        let is_approved = match (approval, &self.approvals) {
            (Approval::None, _) => true,
            (Approval::OfSts(action), _) => action.is_named(&request.caller, &request.operation.approval_identifier()),
            (Approval::OfRecipient, Some(approvals)) => approvals.is_approved(&request.operation).await?,
            (Approval::OfRecipient, None) => false,
        };
        if is_approved {
            return Ok(());
        }
        Err(Refusal::new(Reason::ApprovalRequired, "the operation is not approved").into())
    }
}

/// Adds the fields of a message that its events may hold after its sender is verified.
fn learn(about: &mut EventSubject, claims: &Claims, peer: &KnownPeer) {
    about.peer = Some(peer.name.clone());
    about.capability = claims.capability().map(Capability::as_str);
    if let Some(ids) = claims.ids() {
        about.trace_id = Some(Reference::of(&ids.trace_id));
        about.message_id = Some(Reference::of(&ids.message_id));
        about.idempotency_key = Some(Reference::of(&ids.idempotency_key));
    }
}

/// Returns the agent that a verified token names, and its principal. The actors of an external
/// issuer are not the STS's agents.
fn principal_of(caller: &Caller) -> Result<Principal, Refusal> {
    let verified = caller.verified();
    let service_id = match (caller.kind(), caller.actor()) {
        (Kind::User, Some(actor)) if actor.iss.is_none_or(|iss| iss == verified.issuer) => actor.sub,
        (Kind::User, Some(_) | None) => {
            return Err(Refusal::new(Reason::CallerMismatch, "no agent acts in the token"));
        }
        (Kind::ServiceAccount, _) => &verified.sub,
    };
    Ok(Principal {
        issuer: verified.issuer.clone(),
        subject: verified.sub.clone(),
        tenant: verified.tenant.clone(),
        service_id: service_id.to_owned(),
        token_hash: claims::base64url(&verified.digest),
    })
}

/// Returns the operation that a message requests. An unknown capability or an absent tag is refused
/// as a capability that is not served.
fn operation(claims: &Claims, principal: &Principal, ids: &Ids) -> Result<Operation, Refusal> {
    let refused = |detail| Refusal::new(Reason::CapabilityNotDelegated, detail);
    Ok(Operation {
        tenant: principal.tenant.clone(),
        issuer: principal.issuer.clone(),
        subject: principal.subject.clone(),
        service_id: principal.service_id.clone(),
        capability: claims.capability().ok_or(refused("the capability is not known"))?,
        idempotency_key: ids.idempotency_key.clone(),
        payload_tag: claims.payload_tag().ok_or(refused("no payloadTag"))?.to_owned(),
    })
}

/// A request that passed every check. `Debug` shows no payload.
///
/// It holds its operation and renews the lease until the request is answered. If it is dropped
/// before that, it abandons the operation, and a retry runs it again.
pub struct Opened {
    pub(super) party: Arc<Party>,
    pub(super) request: Request,
    pub(super) payload: Payload,
    pub(super) once: Once,
    pub(super) about: EventSubject,
}

impl Opened {
    /// Returns the requested capability.
    #[must_use]
    pub fn capability(&self) -> Capability {
        self.request.operation.capability
    }

    /// Returns the scopes of the message, all of them delegated.
    #[must_use]
    pub fn scopes(&self) -> &Scope {
        &self.request.scopes
    }

    /// Returns the calling agent.
    #[must_use]
    pub fn service_id(&self) -> &str {
        self.request.peer.name.as_str()
    }

    /// Returns the id that joins the events of one user request.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.request.ids.trace_id
    }

    /// Returns the id of this message.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.request.ids.message_id
    }

    /// Returns the id of the operation, which is the same for a retry.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.request.ids.idempotency_key
    }

    /// Returns true if the operation was done before. Then there is no payload, and the answer is
    /// the stored one.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        matches!(self.once, Once::Done(_))
    }

    /// Returns the operation that the approvals check.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.request.operation
    }

    /// Returns the location of the payload, if it did not travel in the envelope.
    #[must_use]
    pub fn payload_uri(&self) -> Option<&str> {
        match &self.payload {
            Payload::Here(_) | Payload::Repeated => None,
            Payload::Elsewhere { uri, .. } => Some(uri),
        }
    }

    /// Takes the JWE from [`Opened::payload_uri`], and decrypts it. It must be exactly the JWE that
    /// was signed.
    ///
    /// # Errors
    /// A [`Refusal`] with [`Reason::Undecryptable`], or with [`Reason::ApprovalRequired`] if the payload is
    /// beyond the limits of an approval by the STS.
    pub async fn with_payload(mut self, jwe: &str) -> Result<Self, Refusal> {
        let decrypted = match &self.payload {
            Payload::Elsewhere { sha256, .. } if claims::sha256(jwe.as_bytes()) == *sha256 => {
                let payload = self.party.decrypt(&self.request.claims, jwe);
                payload.and_then(|payload| self.party.check_limits(&self.request, &payload).map(|()| payload))
            }
            Payload::Elsewhere { .. } | Payload::Here(_) | Payload::Repeated => {
                Err(Refusal::new(Reason::Undecryptable, "not the payload that was signed"))
            }
        };
        let (boundary, outcome) = match &decrypted {
            Ok(_) => (Boundary::Decrypted, BoundaryOutcome::Passed),
            Err(refusal) => (refusal.reason().boundary(), BoundaryOutcome::Refused(refusal.reason().as_str())),
        };
        self.party.emit(boundary, outcome, &self.about);
        match decrypted {
            Ok(payload) => {
                self.payload = Payload::here(payload);
                Ok(self)
            }
            Err(refusal) => {
                self.once.abandon().await;
                Err(refusal)
            }
        }
    }

    /// Returns the payload as it was sent; `None` if it is stored elsewhere, or the operation was
    /// done before.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.bytes()
    }

    /// Reads the payload as a `T`, strictly: no duplicate members, and none that `T` does not know.
    ///
    /// # Errors
    /// See [`SchemaError`].
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SchemaError> {
        let read = self.payload().ok_or(SchemaError::Absent).and_then(payload::read);
        self.party.emit_validated(&read, &self.about);
        read
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("about", &self.about).finish_non_exhaustive()
    }
}
