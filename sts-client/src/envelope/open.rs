//! Opening a request: the order of the checks.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sts_protocol::Scope;

use super::approvals::Operation;
use super::capability::Capability;
use super::checks::{check_caller, check_ids, check_scopes};
use super::claims::{self, Claims, Ids, InReplyTo, Principal, REQUEST_TYP};
use super::once::Once;
use super::party::{Envelopes, KnownPeer, Party};
use super::payload::Payload;
use super::refusal::{OpenError, Reason, Refusal};
use crate::call::{Delegation, Kind};
use crate::events::{Boundary, Guard, Matter, Outcome, Reference};
use crate::idempotency::Authority;

impl Envelopes {
    /// Opens a request that came with a verified token. Every check that fails ends it, in this order: signature, token, audience, scope,
    /// expiry, required ids, replay, capability, approval; only then is the payload decrypted.
    ///
    /// Costs a signature check, a look into the stores, and a decryption; a fetch of the sender's keys while they are not known.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(&self, envelope: &str, delegation: &Delegation) -> Result<Opened, OpenError> {
        let party = &self.0;
        let now = party.clock.now();
        let mut matter = Matter::of(delegation);
        let opened = party.check(envelope, delegation, now, &mut matter).await;
        let name = opened.as_ref().map_or_else(OpenError::as_str, |_opened| "opened");
        metrics::counter!("sts_client_envelopes_total", "outcome" => name).increment(1);
        let last = match &opened {
            Err(error) => error.at(),
            Ok((_, payload, _)) if payload.bytes().is_some() => (Boundary::Decrypted, Outcome::Passed),
            Ok(_) => (Boundary::Approval, Outcome::Passed),
        };
        party.tracer.tell_all((now, Guard::Envelope), last, &matter);
        if let Err(OpenError::Refused(refusal)) = &opened {
            tracing::debug!(reason = refusal.reason().as_str(), detail = refusal.detail(), "an envelope was refused");
        }
        let (request, payload, once) = opened?;
        Ok(Opened { party: Arc::clone(party), request, payload, once, matter })
    }
}

/// A request that passed.
pub(super) struct Request {
    pub(super) claims: Claims,
    pub(super) principal: Principal,
    pub(super) ids: Ids,
    pub(super) scopes: Scope,
    pub(super) peer: Arc<KnownPeer>,
    pub(super) reply: InReplyTo,
    pub(super) operation: Operation,
    pub(super) authority: Authority,
}

impl Party {
    async fn check(
        &self,
        envelope: &str,
        delegation: &Delegation,
        now: Timestamp,
        matter: &mut Matter,
    ) -> Result<(Request, Payload, Once), OpenError> {
        let (claims, peer) = self.check_signature(envelope, REQUEST_TYP, None).await?;
        learn(matter, &claims, &peer);
        let principal = principal_of(delegation)?;
        check_caller(&claims, &principal)?;
        self.check_audience(&claims)?;
        let scopes = check_scopes(&claims, delegation.scope(), &self.required)?;
        let expires_at = self.check_times(&claims, now)?;
        let ids = check_ids(&claims)?;
        let operation = operation(&claims, &principal, &ids)?;
        let reply =
            InReplyTo { message_id: ids.message_id.clone(), envelope_hash: claims::sha256(envelope.as_bytes()) };
        let authority = Authority::of(delegation).narrowed(&scopes);
        let once = self.check_replay(&operation, &reply, expires_at, authority).await?;
        match self.check_operation(&operation, &scopes, &once, &claims).await {
            Ok(payload) => {
                Ok((Request { claims, principal, ids, scopes, peer, reply, operation, authority }, payload, once))
            }
            Err(error) => {
                once.abandon().await;
                Err(error)
            }
        }
    }

    /// What is checked while the operation is held.
    async fn check_operation(
        &self,
        operation: &Operation,
        scopes: &Scope,
        once: &Once,
        claims: &Claims,
    ) -> Result<Payload, OpenError> {
        self.check_capability(operation, scopes).await?;
        match once {
            Once::Started(_) => Ok(self.check_payload(claims)?),
            // Nobody will read it.
            Once::Done(_) => Ok(Payload::Repeated),
        }
    }

    /// **Capability, approval.** The capability is served, its scopes are delegated, and somebody approved the operation where that is
    /// asked for.
    async fn check_capability(&self, operation: &Operation, scopes: &Scope) -> Result<(), OpenError> {
        let refused = |detail| Refusal::new(Reason::CapabilityNotDelegated, detail);
        let needs = self.policy.get(&operation.capability).ok_or(refused("the capability is not served"))?;
        if !needs.met_by(scopes) {
            return Err(refused("its scopes are not delegated").into());
        }
        if needs.wants_approval() {
            let approved = match &self.approvals {
                Some(approvals) => approvals.is_approved(operation).await?,
                None => false,
            };
            if !approved {
                return Err(Refusal::new(Reason::ApprovalRequired, "nobody has approved the operation").into());
            }
        }
        Ok(())
    }
}

/// What the events of a message may say of it once its sender is known.
fn learn(matter: &mut Matter, claims: &Claims, peer: &KnownPeer) {
    matter.peer = Some(peer.name.clone());
    matter.capability = claims.capability().map(Capability::as_str);
    if let Some(ids) = claims.ids() {
        matter.trace_id = Some(Reference::of(&ids.trace_id));
        matter.message_id = Some(Reference::of(&ids.message_id));
        matter.idempotency_key = Some(Reference::of(&ids.idempotency_key));
    }
}

/// Whom a verified token names: an agent, and on whose behalf it acts. The actors of an outside issuer are not the STS's agents.
fn principal_of(delegation: &Delegation) -> Result<Principal, Refusal> {
    let verified = delegation.verified();
    let service_id = match (delegation.kind(), delegation.actor()) {
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

/// What a message asks for. A capability that nobody knows, or a tag that is not there, is what no service serves.
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
/// It holds its operation, whose lease is renewed until it is answered. Dropped before that, it gives the operation up: a retry starts anew.
pub struct Opened {
    pub(super) party: Arc<Party>,
    pub(super) request: Request,
    pub(super) payload: Payload,
    pub(super) once: Once,
    pub(super) matter: Matter,
}

impl Opened {
    /// What it asks for.
    #[must_use]
    pub fn capability(&self) -> Capability {
        self.request.operation.capability
    }

    /// The scopes that it makes use of, all of them delegated.
    #[must_use]
    pub fn scopes(&self) -> &Scope {
        &self.request.scopes
    }

    /// The agent that asks.
    #[must_use]
    pub fn service_id(&self) -> &str {
        self.request.peer.name.as_str()
    }

    /// Joins the events of one user request.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.request.ids.trace_id
    }

    /// Names this message.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.request.ids.message_id
    }

    /// Names the operation: the same when it is tried again.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.request.ids.idempotency_key
    }

    /// Whether the operation was done before: then there is no payload, and the answer is the one that was given.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        matches!(self.once, Once::Done(_))
    }

    /// What it asks for, as the approvals know it.
    #[must_use]
    pub fn operation(&self) -> &Operation {
        &self.request.operation
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("matter", &self.matter).finish_non_exhaustive()
    }
}
