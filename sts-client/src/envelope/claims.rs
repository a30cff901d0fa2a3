//! The signed fields of an envelope: writing and reading.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sts_jose::canonical_object;
use sts_protocol::{Scope, ScopeToken, Tenant};

use super::capability::Capability;

const ENCRYPTED_PAYLOAD: &str = "encryptedPayload";
const PAYLOAD_REF: &str = "payloadRef";
const PAYLOAD_HASH: &str = "payloadHash";

/// The maximum length of a trace or message id, and of an idempotency key, in characters.
const MAX_ID_CHARS: usize = 128;
const MAX_KEY_CHARS: usize = 255;

/// All members that an envelope may have.
const MEMBERS: [&str; 14] = [
    "traceId",
    "messageId",
    "idempotencyKey",
    "issuedAt",
    "expiresAt",
    "caller",
    "auth",
    "capability",
    "tokenHash",
    "payloadTag",
    "inReplyTo",
    ENCRYPTED_PAYLOAD,
    PAYLOAD_REF,
    PAYLOAD_HASH,
];

/// The agent that sends an envelope, and its principal. They must match the delegated token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principal {
    /// `auth.issuer`: the issuer of the delegated token.
    pub(super) issuer: String,
    /// `caller.subject`: the `sub` of the delegated token.
    pub(super) subject: String,
    /// `caller.tenantId`, if present.
    pub(super) tenant: Option<Tenant>,
    /// `caller.serviceId`: the acting agent.
    pub(super) service_id: String,
    /// `tokenHash`: SHA-256 of the token, base64url.
    pub(super) token_hash: String,
}

/// The ids of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) trace_id: String,
    pub(super) message_id: String,
    pub(super) idempotency_key: String,
}

/// The reference of an answer to its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InReplyTo {
    pub(super) message_id: String,
    /// SHA-256 of the whole request envelope, base64url.
    pub(super) envelope_hash: String,
}

/// All signed fields except the payload.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) principal: &'a Principal,
    pub(super) ids: &'a Ids,
    pub(super) audience: &'a str,
    pub(super) scopes: &'a Scope,
    pub(super) capability: Capability,
    pub(super) issued_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) payload_tag: String,
    pub(super) in_reply_to: Option<&'a InReplyTo>,
}

impl Fields<'_> {
    /// Returns the claims, without a payload.
    pub(super) fn to_claims(&self) -> Map<String, Value> {
        let mut caller = json!({ "subject": self.principal.subject, "serviceId": self.principal.service_id });
        if let (Some(tenant), Some(caller)) = (&self.principal.tenant, caller.as_object_mut()) {
            caller.insert("tenantId".to_owned(), tenant.as_str().into());
        }
        let scopes: Vec<&str> = self.scopes.iter().map(ScopeToken::as_str).collect();
        let members = [
            ("traceId", json!(self.ids.trace_id)),
            ("messageId", json!(self.ids.message_id)),
            ("idempotencyKey", json!(self.ids.idempotency_key)),
            ("issuedAt", json!(self.issued_at.to_string())),
            ("expiresAt", json!(self.expires_at.to_string())),
            ("caller", caller),
            ("auth", json!({ "issuer": self.principal.issuer, "audience": self.audience, "scopes": scopes })),
            ("capability", json!(self.capability.as_str())),
            ("tokenHash", json!(self.principal.token_hash)),
            ("payloadTag", json!(self.payload_tag)),
        ];
        let reply = self
            .in_reply_to
            .map(|reply| ("inReplyTo", json!({ "messageId": reply.message_id, "envelopeHash": reply.envelope_hash })));
        members.into_iter().chain(reply).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

pub(super) fn insert_payload(claims: &mut Map<String, Value>, jwe: String) {
    claims.insert(ENCRYPTED_PAYLOAD.to_owned(), jwe.into());
}

/// Adds the location of the payload, and its digest.
pub(super) fn insert_reference(claims: &mut Map<String, Value>, uri: &str, jwe: &str) {
    claims.insert(PAYLOAD_REF.to_owned(), uri.into());
    claims.insert(PAYLOAD_HASH.to_owned(), sha256(jwe.as_bytes()).into());
}

/// The payload of an envelope.
pub(super) enum PayloadField<'a> {
    /// The JWE in the envelope.
    Encrypted(&'a str),
    /// The location of the JWE, and its SHA-256.
    Reference { uri: &'a str, sha256: &'a str },
}

/// The claims of an envelope with a verified signature. A malformed claim counts as absent, and
/// each check decides about an absent claim.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Takes the claims; `None` if they have an unknown member.
    pub(super) fn new(claims: Map<String, Value>) -> Option<Self> {
        let known = |object: Option<&Value>, members: &[&str]| {
            let object = object.and_then(Value::as_object);
            object.is_none_or(|object| object.keys().all(|name| members.contains(&name.as_str())))
        };
        let is_known = claims.keys().all(|name| MEMBERS.contains(&name.as_str()))
            && known(claims.get("caller"), &["subject", "tenantId", "serviceId"])
            && known(claims.get("auth"), &["issuer", "audience", "scopes"])
            && known(claims.get("inReplyTo"), &["messageId", "envelopeHash"]);
        is_known.then_some(Self(claims))
    }

    /// Returns true if service, subject, issuer and token match exactly. Does not compare the
    /// tenant.
    pub(super) fn is_of(&self, principal: &Principal) -> bool {
        let is = |object: &str, name: &str, value: &str| {
            self.0.get(object).and_then(|object| object.get(name)).and_then(Value::as_str) == Some(value)
        };
        is("caller", "serviceId", &principal.service_id)
            && is("caller", "subject", &principal.subject)
            && is("auth", "issuer", &principal.issuer)
            && self.text("tokenHash") == Some(principal.token_hash.as_str())
    }

    /// Returns true if `caller.tenantId` is exactly that tenant, or is absent if there is none.
    pub(super) fn has_tenant(&self, tenant: Option<&Tenant>) -> bool {
        let named = self.0.get("caller").and_then(|caller| caller.get("tenantId"));
        match (named, tenant) {
            (None, None) => true,
            (Some(named), Some(tenant)) => named.as_str() == Some(tenant.as_str()),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Returns `auth.audience`.
    pub(super) fn audience(&self) -> Option<&str> {
        self.0.get("auth")?.get("audience")?.as_str()
    }

    /// Returns `auth.scopes`.
    pub(super) fn scopes(&self) -> Option<Scope> {
        let scopes = self.0.get("auth")?.get("scopes")?.as_array()?;
        scopes.iter().map(|scope| ScopeToken::new(scope.as_str()?).ok()).collect()
    }

    /// Returns `issuedAt` or `expiresAt`: RFC 3339 in UTC, in the form that [`Timestamp`] writes.
    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        text.parse().ok().filter(|time: &Timestamp| time.to_string() == text)
    }

    /// Returns the three ids, if all are present: 1 to 128 visible ASCII characters. The
    /// idempotency key has up to 255, and may have spaces.
    pub(super) fn ids(&self) -> Option<Ids> {
        let id = |name: &str| self.text(name).filter(|text| is_id(text)).map(str::to_owned);
        Some(Ids {
            trace_id: id("traceId")?,
            message_id: id("messageId")?,
            idempotency_key: self.text("idempotencyKey").filter(|text| is_key(text)).map(str::to_owned)?,
        })
    }

    pub(super) fn in_reply_to(&self) -> Option<InReplyTo> {
        let reply = self.0.get("inReplyTo")?;
        let text = |name: &str| reply.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(InReplyTo { message_id: text("messageId")?, envelope_hash: text("envelopeHash")? })
    }

    pub(super) fn capability(&self) -> Option<Capability> {
        self.text("capability")?.parse().ok()
    }

    pub(super) fn payload_tag(&self) -> Option<&str> {
        self.text("payloadTag")
    }

    /// Returns the payload, if it is present in exactly one of the two forms.
    pub(super) fn payload(&self) -> Option<PayloadField<'_>> {
        let text = |name: &str| self.0.get(name).map(Value::as_str);
        match (text(ENCRYPTED_PAYLOAD), text(PAYLOAD_REF), text(PAYLOAD_HASH)) {
            (Some(jwe), None, None) => jwe.map(PayloadField::Encrypted),
            (None, Some(uri), Some(sha256)) => Some(PayloadField::Reference { uri: uri?, sha256: sha256? }),
            (Some(_), _, _) | (None, _, _) => None,
        }
    }

    /// Returns the binding of the payload to these claims.
    pub(super) fn binding(&self) -> [u8; 32] {
        binding(&self.0)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
}

/// Returns `caller.serviceId` of unverified claims. Use it only to find the key.
pub(super) fn service_id(claims: &Map<String, Value>) -> Option<&str> {
    claims.get("caller")?.get("serviceId")?.as_str()
}

/// Returns true if a text can be an id.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns true if a text can be an idempotency key: the characters that a string in a header
/// allows (RFC 9651 §3.3.3).
fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Returns SHA-256 of every signed field except the payload, in the canonical form of RFC 8785: the
/// `apv` of the payload's JWE. So a payload fits only the envelope that it was made for.
pub(super) fn binding(claims: &Map<String, Value>) -> [u8; 32] {
    let is_signed = |name: &str| !matches!(name, ENCRYPTED_PAYLOAD | PAYLOAD_REF | PAYLOAD_HASH);
    digest_of(canonical_object(claims.iter().filter(|(name, _)| is_signed(name))).as_bytes())
}

/// Returns the tag of a payload. Equal tags mean equal payloads of one operation; a tag reveals
/// nothing else.
pub(super) fn payload_tag(blinding: &[u8; 32], payload: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, blinding), payload))
}

/// Returns the `identifier` of the authorization detail that permits one operation: the idempotency key,
/// a colon, and the tag of the payload. Sender and recipient both compute it with this function.
pub(super) fn approval_identifier(idempotency_key: &str, payload_tag: &str) -> String {
    format!("{idempotency_key}:{payload_tag}")
}

/// Returns SHA-256, base64url.
pub(super) fn sha256(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest_of(bytes))
}

pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns SHA-256 over texts, each with its length before it.
pub(super) fn digest_of_parts(parts: &[&str]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    digest_of(&bytes)
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sha256
}
