//! The making of an envelope from a draft: fields, encryption and signature.

use sts_jose::{ClaimError, EncryptionKey, KeyLookupError, ParseError, SignError, Typ};
use sts_protocol::Scope;
use url::Url;

use super::capability::Capability;
use super::claims::{self, Fields, Ids, InReplyTo, Principal};
use super::jwe::{self, EncryptError, Undecryptable};
use super::party::{KnownPeer, Party};
use crate::call::CorrelationId;

/// The maximum size of an envelope, in bytes. Larger payloads travel by reference.
pub const MAX_ENVELOPE_BYTES: usize = 256 * 1024;

/// The reason why a message could not be sealed. The recipient is never at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The recipient is not a peer of the agent.
    #[error("the recipient is not known")]
    UnknownPeer,
    /// The call has no token.
    #[error("no token travels with the message")]
    NoToken,
    /// The token cannot be read.
    #[error("the token that travels with the message cannot be read")]
    Token(#[source] ParseError),
    /// A claim of the token cannot be read.
    #[error("a claim of the token that travels with the message cannot be read")]
    Claim(#[from] ClaimError),
    /// The token was issued to another agent, names no agent, or is addressed to another recipient.
    #[error("the token that travels with the message was not issued to this agent for the recipient")]
    TokenOfAnother,
    /// The recipient has no key to encrypt to, or its keys are out of reach.
    #[error("there is no key of the recipient to encrypt to")]
    NoKey(#[source] KeyLookupError),
    /// The payload could not be encrypted.
    #[error("the payload could not be encrypted")]
    Encrypt(#[source] EncryptError),
    /// The envelope could not be signed.
    #[error("the envelope could not be signed")]
    Sign(#[source] SignError),
    /// The answer cannot be written as JSON.
    #[error("the answer cannot be written as json")]
    Json(#[source] serde_json::Error),
    /// The stored answer was encrypted with a key that has been retired.
    #[error("the answer that was kept cannot be read any more")]
    Kept(#[source] Undecryptable),
    /// The runtime was shut down before the answer was stored.
    #[error("the runtime was shut down before the answer was stored")]
    Interrupted,
    /// The envelope would exceed [`MAX_ENVELOPE_BYTES`], or the answer
    /// [`MAX_ANSWER_BYTES`](super::MAX_ANSWER_BYTES).
    #[error("the envelope would be too large")]
    TooLarge,
}

/// The content of an envelope.
pub(super) struct Draft<'a> {
    pub(super) typ: Typ,
    pub(super) principal: &'a Principal,
    pub(super) ids: &'a Ids,
    pub(super) audience: &'a str,
    pub(super) scopes: &'a Scope,
    pub(super) capability: Capability,
    pub(super) in_reply_to: Option<&'a InReplyTo>,
    pub(super) payload: &'a [u8],
    pub(super) payload_uri: Option<&'a Url>,
}

impl Party {
    pub(super) fn fresh_id(&self) -> String {
        CorrelationId::random(self.entropy.as_ref()).as_str().to_owned()
    }

    pub(super) async fn encryption_key(&self, peer: &KnownPeer) -> Result<EncryptionKey, SealError> {
        peer.keys.encryption_key().await.map_err(SealError::NoKey)
    }

    /// Makes an envelope, and the JWE if it does not travel in the envelope.
    pub(super) fn make(&self, draft: &Draft<'_>, key: &EncryptionKey) -> Result<(String, Option<String>), SealError> {
        let blinding = self.keys.blinding(&draft.ids.idempotency_key);
        // Whole seconds are shorter, and as exact as the checks need.
        let now = self.clock.now();
        let issued_at = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        let fields = Fields {
            principal: draft.principal,
            ids: draft.ids,
            audience: draft.audience,
            scopes: draft.scopes,
            capability: draft.capability,
            issued_at,
            expires_at: issued_at.checked_add(self.life).unwrap_or(jiff::Timestamp::MAX),
            payload_tag: claims::payload_tag(&blinding, draft.payload),
            in_reply_to: draft.in_reply_to,
        };
        let mut claims = fields.to_claims();
        let plaintext = [&blinding, draft.payload].concat();
        let jwe = jwe::encrypt(key, &claims::binding(&claims), &plaintext).map_err(SealError::Encrypt)?;
        let detached = match draft.payload_uri {
            None => {
                claims::insert_payload(&mut claims, jwe);
                None
            }
            Some(uri) => {
                claims::insert_reference(&mut claims, uri.as_str(), &jwe);
                Some(jwe)
            }
        };
        let json = serde_json::to_vec(&claims).map_err(SealError::Json)?;
        let envelope = self.keys.signing().sign(Some(draft.typ.as_str()), &json).map_err(SealError::Sign)?;
        if envelope.len() > MAX_ENVELOPE_BYTES {
            return Err(SealError::TooLarge);
        }
        Ok((envelope, detached))
    }
}
