//! The checks of an envelope. Each check has its reason; the callers run them in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use sts_jose::{AHEAD_TOLERANCE, CompactJws, KeyLookupError, Slot, json};
use sts_protocol::Scope;

use super::claims::{self, Claims, Ids, PayloadField, Principal};
use super::draft::MAX_ENVELOPE_BYTES;
use super::party::{KnownPeer, Party};
use super::payload::Payload;
use super::refusal::{OpenError, Reason, Refusal};

/// The length of the blinding bytes before the payload. They hide the payload in its tag.
const BLINDING_BYTES: usize = 32;

impl Party {
    /// **Signature.** Reads an envelope of that `typ`, and checks that the service that it names
    /// signed it. The service must be a peer, or the expected peer.
    pub(super) async fn check_signature(
        &self,
        text: &str,
        slot: Slot,
        expected: Option<&Arc<KnownPeer>>,
    ) -> Result<(Claims, Arc<KnownPeer>), OpenError> {
        let refused = |detail| Refusal::new(Reason::BadSignature, detail);
        // The cause is dropped: it would quote positions in another party's text.
        let jws = CompactJws::parse_within(MAX_ENVELOPE_BYTES, text).or(Err(refused("not an envelope")))?;
        if !slot.accepts(jws.header().typ.as_deref()) {
            return Err(refused("typ is that of something else").into());
        }
        let kid = jws.header().kid.as_deref().ok_or(refused("no kid"))?;
        let claims = json::parse_object(jws.payload()).or(Err(refused("the claims are not an accepted object")))?;
        let service_id = claims::service_id(&claims).ok_or(refused("no service is named"))?;
        let peer = match expected {
            Some(peer) if peer.name.as_str() == service_id => peer,
            Some(_) => return Err(refused("not of the service that was asked").into()),
            None => self.peers.get(service_id).ok_or(refused("of a service that is not known"))?,
        };
        let keys = peer.keys.candidates(Some(kid), jws.header().algorithm).await.map_err(|error| match error {
            KeyLookupError::Unknown => refused("the service has no such key").into(),
            KeyLookupError::Unusable => refused("the service publishes no key that can be used").into(),
            KeyLookupError::Unavailable(_) => OpenError::KeysUnavailable(error),
        })?;
        keys.verify(&jws).or(Err(refused("no key of the service signed it")))?;
        let claims = Claims::new(claims).ok_or(refused("a member that no envelope has"))?;
        Ok((claims, Arc::clone(peer)))
    }

    /// **Audience.** Checks that the envelope is addressed to this agent.
    pub(super) fn check_audience(&self, claims: &Claims) -> Result<(), Refusal> {
        let is_ours = |audience: &str| self.audiences.iter().any(|own| own == audience);
        if claims.audience().is_some_and(is_ours) {
            return Ok(());
        }
        Err(Refusal::new(Reason::WrongAudience, "for another service"))
    }

    /// **Expiry.** Returns the time at which the envelope expires.
    pub(super) fn check_times(&self, claims: &Claims, now: Timestamp) -> Result<Timestamp, Refusal> {
        let expired = |detail| Refusal::new(Reason::ExpiredMessage, detail);
        let expires_at = claims.time("expiresAt").ok_or(expired("expiresAt is absent or malformed"))?;
        if now >= expires_at {
            return Err(expired("expired"));
        }
        let early = |detail| Refusal::new(Reason::NotYetValid, detail);
        let issued_at = claims.time("issuedAt").ok_or(early("issuedAt is absent or malformed"))?;
        if issued_at > now.checked_add(AHEAD_TOLERANCE).unwrap_or(Timestamp::MAX) {
            return Err(early("from the future"));
        }
        if issued_at.checked_add(self.max_life).is_ok_and(|latest| expires_at > latest) {
            return Err(expired("lives too long"));
        }
        Ok(expires_at)
    }

    /// **Decryption**, the last check. Does not fetch a payload that is stored elsewhere.
    pub(super) fn check_payload(&self, claims: &Claims) -> Result<Payload, Refusal> {
        match claims.payload() {
            None => Err(Refusal::new(Reason::Undecryptable, "not exactly one payload")),
            Some(PayloadField::Encrypted(jwe)) => self.decrypt(claims, jwe).map(Payload::here),
            Some(PayloadField::Reference { uri, sha256 }) => Ok(Payload::elsewhere(uri, sha256)),
        }
    }

    /// Decrypts the JWE that belongs to these claims.
    pub(super) fn decrypt(&self, claims: &Claims, jwe: &str) -> Result<Vec<u8>, Refusal> {
        let refused = |detail| Refusal::new(Reason::Undecryptable, detail);
        self.attempted.fetch_add(1, Ordering::Relaxed);
        let plaintext = self
            .keys
            .decrypt(jwe, &claims.binding())
            .or(Err(refused("not to a key of this service, not intact, or of another envelope")))?;
        let (blinding, payload) = plaintext.split_first_chunk::<BLINDING_BYTES>().ok_or(refused("too short"))?;
        if claims.payload_tag() != Some(claims::payload_tag(blinding, payload).as_str()) {
            return Err(refused("not the payload of its tag"));
        }
        self.decrypted.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("sts_client_envelope_decrypt_total").increment(1);
        Ok(payload.to_vec())
    }
}

/// **Token.** Checks that caller and tenant match the delegated token.
pub(super) fn check_caller(claims: &Claims, principal: &Principal) -> Result<(), Refusal> {
    if !claims.is_of(principal) {
        return Err(Refusal::new(
            Reason::CallerMismatch,
            "not of the caller, the issuer or the token that it came with",
        ));
    }
    if !claims.has_tenant(principal.tenant.as_ref()) {
        return Err(Refusal::new(Reason::WrongTenant, "not of the tenant of the token"));
    }
    Ok(())
}

/// **Scope.** Checks that the scopes of the message are delegated, and include those that every
/// message must have.
pub(super) fn check_scopes(claims: &Claims, delegated: &Scope, required: &Scope) -> Result<Scope, Refusal> {
    let missing = |detail| Refusal::new(Reason::MissingScope, detail);
    let scopes = claims.scopes().ok_or(missing("scopes are absent or malformed"))?;
    if !scopes.is_subset(delegated) {
        return Err(missing("more than was delegated"));
    }
    if !required.is_subset(&scopes) {
        return Err(missing("less than is asked of every message"));
    }
    Ok(scopes)
}

/// **Required ids.** Checks that the three ids are present and well-formed.
pub(super) fn check_ids(claims: &Claims) -> Result<Ids, Refusal> {
    claims.ids().ok_or(Refusal::new(Reason::MissingTraceOrIdempotency, "an id is absent or malformed"))
}
