//! The sealing of a payload, and of the token that travels with it, in an envelope.

use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sts_jose::{Typ, UnverifiedToken};
use sts_protocol::{Act, Scope, Tenant};
use url::Url;

use super::awaiting::Awaiting;
use super::capability::Capability;
use super::claims::{self, Ids, InReplyTo, Principal};
use super::draft::{Draft, SealError};
use super::party::{Envelopes, KnownPeer, Party};
use crate::call::{CorrelationId, IdempotencyKey, X_TENANT_ID};

/// A message to another agent.
#[derive(Clone)]
pub struct Message<'a> {
    /// The requested capability.
    pub capability: Capability,
    /// The scopes of the delegated token that the message uses.
    pub scopes: Scope,
    /// The id that joins the events of one user request.
    pub trace_id: &'a CorrelationId,
    /// The id of the operation, which must be the same for a retry.
    pub idempotency_key: &'a IdempotencyKey,
    /// The payload: a JSON object.
    pub payload: &'a [u8],
    /// The location of the payload, if it does not travel in the envelope.
    pub payload_uri: Option<&'a Url>,
}

/// Omits the payload.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("capability", &self.capability).finish_non_exhaustive()
    }
}

/// A sealed message, and the means to open its answer. `Debug` shows neither text.
pub struct Sealed {
    /// The envelope to send.
    pub envelope: String,
    /// The payload's JWE, to be stored at [`Message::payload_uri`]; `None` if it travels in the
    /// envelope.
    pub detached: Option<String>,
    /// Opens the answer to this message, and no other.
    pub awaiting: Awaiting,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("awaiting", &self.awaiting).finish_non_exhaustive()
    }
}

impl Envelopes {
    /// Seals a message to a peer, for the call that carries it. `headers` are the headers that
    /// [`crate::Propagator::apply`] has set. Caller and issuer come from the token in
    /// `Authorization`. The envelope holds the digest of the token but not the token, so the two
    /// are valid only together. The tenant also comes from the token, or for a service account from
    /// `X-Tenant-ID`.
    ///
    /// Costs a signature and an encryption. Fetches the peer's keys if they are not cached.
    ///
    /// ```
    /// use sts_client::envelope::{Capability, Envelopes, Message, Sealed};
    /// use sts_client::{CallContext, Caller, IdempotencyKey, Propagator, http::HeaderMap};
    ///
    /// async fn refund(envelopes: &Envelopes, propagator: &Propagator, caller: &Caller) -> Result<Sealed, Box<dyn std::error::Error>> {
    ///     let mut headers = HeaderMap::new();
    ///     propagator.apply(&CallContext::from(caller), &"https://ledger.shop.example/".parse()?, &mut headers).await?;
    ///     let message = Message {
    ///         capability: Capability::ToolCall,
    ///         scopes: "refund:draft".parse()?,
    ///         trace_id: caller.correlation_id(),
    ///         idempotency_key: &IdempotencyKey::from_text("refund-7").ok_or("a valid key")?,
    ///         payload: br#"{"order": "7"}"#,
    ///         payload_uri: None,
    ///     };
    ///     Ok(envelopes.seal("ledger", &headers, &message).await?)
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`SealError`].
    pub async fn seal(&self, peer: &str, headers: &HeaderMap, message: &Message<'_>) -> Result<Sealed, SealError> {
        let party = &self.0;
        let peer = party.peers.get(peer).ok_or(SealError::UnknownPeer)?;
        let principal = party.principal(headers, peer)?;
        let ids = Ids {
            trace_id: message.trace_id.as_str().to_owned(),
            message_id: party.fresh_id(),
            idempotency_key: message.idempotency_key.as_str().to_owned(),
        };
        let draft = Draft {
            typ: Typ::AgentRequest,
            principal: &principal,
            ids: &ids,
            audience: &peer.audience,
            scopes: &message.scopes,
            capability: message.capability,
            in_reply_to: None,
            payload: message.payload,
            payload_uri: message.payload_uri,
        };
        let (envelope, detached) = party.make(&draft, &party.encryption_key(peer).await?)?;
        let awaiting = Awaiting {
            party: Arc::clone(party),
            peer: Arc::clone(peer),
            principal: Principal { service_id: peer.name.as_str().to_owned(), ..principal },
            scopes: message.scopes.clone(),
            capability: message.capability,
            request: InReplyTo { message_id: ids.message_id, envelope_hash: claims::sha256(envelope.as_bytes()) },
            trace_id: ids.trace_id,
            idempotency_key: ids.idempotency_key,
        };
        Ok(Sealed { envelope, detached, awaiting })
    }

    /// Returns the `identifier` of the authorization detail for one message
    /// ([`Needs::approved_action`](super::Needs::approved_action)). It has the form
    /// `{idempotency key}:{payloadTag}`, so a token with it opens a message with this idempotency key and
    /// exactly this payload. The tag reveals nothing of the payload, neither to the STS nor to the person who
    /// approves. It changes with the signing key of the agent.
    ///
    /// An `identifier` has at most 256 characters, so the idempotency key has at most 212.
    ///
    /// ```
    /// use serde_json::json;
    /// use sts_client::IdempotencyKey;
    /// use sts_client::envelope::{AgentKeys, Envelopes};
    ///
    /// let envelopes = Envelopes::builder("support", AgentKeys::generate()?).build()?;
    /// let key = IdempotencyKey::from_text("refund-7").ok_or("a valid key")?;
    /// let identifier = envelopes.approval_identifier(&key, br#"{"order": "7", "cents": 50000}"#);
    /// let (named, tag) = identifier.split_once(':').ok_or("a colon")?;
    /// assert_eq!((named, tag.len()), ("refund-7", 43));
    /// assert_ne!(identifier, envelopes.approval_identifier(&key, br#"{"order": "8", "cents": 50000}"#));
    ///
    /// // For `CallContext::with_authorization_details`.
    /// let details = json!([{
    ///     "type": "message", "actions": ["refund"], "identifier": identifier, "limits": { "cents": 50_000 },
    /// }]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn approval_identifier(&self, idempotency_key: &IdempotencyKey, payload: &[u8]) -> String {
        let blinding = self.0.keys.blinding(idempotency_key.as_str());
        claims::approval_identifier(idempotency_key.as_str(), &claims::payload_tag(&blinding, payload))
    }
}

impl Party {
    /// Returns the principal that a token names. The token is not verified here: if it is not from
    /// the STS, the recipient refuses it.
    fn principal(&self, headers: &HeaderMap, peer: &KnownPeer) -> Result<Principal, SealError> {
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let token = header(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")).ok_or(SealError::NoToken)?;
        let parsed = UnverifiedToken::parse(token).map_err(SealError::Token)?;
        let claims = parsed.claims();
        let (Some(issuer), Some(subject)) = (claims.string("iss")?, claims.string("sub")?) else {
            return Err(SealError::TokenOfAnother);
        };
        // The cause is dropped: it quotes claims.
        let act = claims.get("act").map(Act::from_value).transpose().or(Err(SealError::TokenOfAnother))?;
        let service_id = act.as_ref().map_or(subject, |act| act.current().sub);
        let is_for_peer = claims.audience()?.iter().any(|audience| *audience == peer.audience);
        if service_id != self.service_id || !is_for_peer {
            return Err(SealError::TokenOfAnother);
        }
        let tenant = claims
            .string("tenant_id")?
            .or_else(|| header(X_TENANT_ID))
            .map(Tenant::new)
            .transpose()
            .or(Err(SealError::TokenOfAnother))?;
        Ok(Principal {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            tenant,
            service_id: service_id.to_owned(),
            token_hash: claims::sha256(token.as_bytes()),
        })
    }
}
