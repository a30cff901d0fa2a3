//! The audit event.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_protocol::{Scope, Tenant};
use utoipa::ToSchema;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum EventKind {
    /// A token was issued.
    #[serde(rename = "token.issued")]
    TokenIssued,
    /// A request of a known agent was refused.
    #[serde(rename = "token.refused")]
    TokenRefused,
    /// A token, transaction, user, agent or tenant was revoked.
    #[serde(rename = "revoked")]
    Revoked,
    /// A known agent may not revoke what it asked to.
    #[serde(rename = "revocation.refused")]
    RevocationRefused,
    /// A revocation was lifted.
    #[serde(rename = "revocation.lifted")]
    RevocationLifted,
    /// Registry entries changed.
    #[serde(rename = "registry.changed")]
    RegistryChanged,
    /// Signing keys changed.
    #[serde(rename = "keys.changed")]
    KeysChanged,
    /// The admin API refused what a known operator asked for.
    #[serde(rename = "admin.refused")]
    AdminRefused,
    /// Refusals of one agent or operator beyond its bound, counted over a minute.
    #[serde(rename = "refusals.suppressed")]
    RefusalsSuppressed,
}

/// One audit event. A field that does not apply, or is not known at the step that refused, is absent.
///
/// `docs/audit.md` has the table of the fields; a test compares it with this struct.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// What the event is about.
    pub event: EventKind,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The `X-Correlation-ID` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The address that sent the request; the one that a trusted proxy names, where that is the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who used the admin API: the name of an admin token, or `SUB of ISS`. Absent where a command, or the server itself, did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// `grant_type` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The agent that asked, authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How the agent authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<String>,
    /// The issuer that first named the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_issuer: Option<String>,
    /// The user, as minted tokens name them; the agent's id of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The actors of the chain, the current one first: agents of this service by their ids, others as `sub of iss`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<String>,
    /// The agent that the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The `aud` of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The scope that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub requested_scope: Option<Scope>,
    /// The scope of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub scope: Option<Scope>,
    /// The roles of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The roles of the subject token that the delegation does not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_roles: Vec<String>,
    /// The tenant of the subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tenant_id: Option<Tenant>,
    /// The tenants that a service account's token may forward.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub tenant_ids: Vec<Tenant>,
    /// The delegation that allowed it: `actor->target`, and `#2` and so on where the two have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    /// The token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The issuer of the subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_iss: Option<String>,
    /// The subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_jti: Option<String>,
    /// The transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// When the token dies, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When the subject token dies, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_exp: Option<i64>,
    /// How long the decision took, from the head of the request up to the commit, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_micros: Option<u64>,
    /// Why it was refused: a stable name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What exactly was refused, or what an administrator changed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `iss` of the token that was refused, as its sender wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_iss: Option<String>,
    /// `aud` of that token; several values as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_aud: Option<String>,
    /// `alg` in the header of that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_alg: Option<String>,
    /// `kid` in the header of that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_kid: Option<String>,
    /// `typ` in the header of that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_typ: Option<String>,
    /// The number of refusals that the event stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The fields of which the event shows a part, because they are longer than an event may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

impl Event {
    /// An event of which nothing but kind and time is known yet.
    #[must_use]
    pub fn new(event: EventKind, at: Timestamp) -> Self {
        Self {
            event,
            at,
            correlation_id: None,
            source: None,
            admin: None,
            grant: None,
            client_id: None,
            auth_method: None,
            subject_issuer: None,
            sub: None,
            actors: Vec::new(),
            target: None,
            audience: None,
            requested_scope: None,
            scope: None,
            roles: Vec::new(),
            dropped_roles: Vec::new(),
            tenant_id: None,
            tenant_ids: Vec::new(),
            delegation: None,
            jti: None,
            parent_iss: None,
            parent_jti: None,
            txn: None,
            exp: None,
            parent_exp: None,
            duration_micros: None,
            reason: None,
            detail: None,
            claimed_iss: None,
            claimed_aud: None,
            claimed_alg: None,
            claimed_kid: None,
            claimed_typ: None,
            count: None,
            cut: Vec::new(),
        }
    }

    /// Makes a refusal of the event: no token came of it.
    #[must_use]
    pub fn refused(mut self, reason: &str, detail: String) -> Self {
        self.event = match self.event {
            EventKind::Revoked | EventKind::RevocationRefused | EventKind::RevocationLifted => {
                EventKind::RevocationRefused
            }
            EventKind::TokenIssued | EventKind::TokenRefused => EventKind::TokenRefused,
            EventKind::RegistryChanged | EventKind::KeysChanged | EventKind::AdminRefused => EventKind::AdminRefused,
            EventKind::RefusalsSuppressed => EventKind::RefusalsSuppressed,
        };
        self.jti = None;
        self.exp = None;
        self.reason = Some(reason.to_owned());
        self.detail = Some(detail);
        self
    }
}
