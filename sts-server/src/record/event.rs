//! The audit event: its kinds and its fields.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_protocol::{AuthorizationDetail, Confirmation, Scope, Tenant};
use utoipa::ToSchema;

/// The kind of an audit event.
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
    /// A known agent was not allowed to revoke what it named.
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
    /// The admin API refused a request of a known operator.
    #[serde(rename = "admin.refused")]
    AdminRefused,
    /// Refusals of an agent or operator beyond its bound, counted over a minute.
    #[serde(rename = "refusals.suppressed")]
    RefusalsSuppressed,
    /// An operator acknowledged a fault of the audit log.
    #[serde(rename = "audit.acknowledged")]
    AuditAcknowledged,
    /// An agent asked for a token that a person must approve.
    #[serde(rename = "approval.requested")]
    ApprovalRequested,
    /// A person granted an approval.
    #[serde(rename = "approval.granted")]
    ApprovalGranted,
    /// A person denied an approval.
    #[serde(rename = "approval.denied")]
    ApprovalDenied,
    /// A person took an approval back.
    #[serde(rename = "approval.withdrawn")]
    ApprovalWithdrawn,
    /// An approval expired, pending or remembered.
    #[serde(rename = "approval.expired")]
    ApprovalExpired,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::TokenIssued,
        Self::TokenRefused,
        Self::Revoked,
        Self::RevocationRefused,
        Self::RevocationLifted,
        Self::RegistryChanged,
        Self::KeysChanged,
        Self::AdminRefused,
        Self::RefusalsSuppressed,
        Self::AuditAcknowledged,
        Self::ApprovalRequested,
        Self::ApprovalGranted,
        Self::ApprovalDenied,
        Self::ApprovalWithdrawn,
        Self::ApprovalExpired,
    ];

    /// Returns the name of the kind in an event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenIssued => "token.issued",
            Self::TokenRefused => "token.refused",
            Self::Revoked => "revoked",
            Self::RevocationRefused => "revocation.refused",
            Self::RevocationLifted => "revocation.lifted",
            Self::RegistryChanged => "registry.changed",
            Self::KeysChanged => "keys.changed",
            Self::AdminRefused => "admin.refused",
            Self::RefusalsSuppressed => "refusals.suppressed",
            Self::AuditAcknowledged => "audit.acknowledged",
            Self::ApprovalRequested => "approval.requested",
            Self::ApprovalGranted => "approval.granted",
            Self::ApprovalDenied => "approval.denied",
            Self::ApprovalWithdrawn => "approval.withdrawn",
            Self::ApprovalExpired => "approval.expired",
        }
    }

    /// Returns true if the event says that a request was refused.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        match self {
            Self::TokenRefused | Self::RevocationRefused | Self::AdminRefused | Self::RefusalsSuppressed => true,
            Self::TokenIssued
            | Self::Revoked
            | Self::RevocationLifted
            | Self::RegistryChanged
            | Self::KeysChanged
            | Self::AuditAcknowledged
            | Self::ApprovalRequested
            | Self::ApprovalGranted
            | Self::ApprovalDenied
            | Self::ApprovalWithdrawn
            | Self::ApprovalExpired => false,
        }
    }
}

/// An audit event. A field is absent if it does not apply, or if it was still unknown when the
/// request was refused.
///
/// `docs/audit.md` has the table of the fields; a test compares it with this struct.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The kind of the event.
    pub event: EventKind,
    /// The time of the decision.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The `X-Correlation-ID` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The address that sent the request. Behind a trusted proxy, the address that the proxy names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The operator who used the admin API: the name of an admin token, or `SUB of ISS`. Absent for
    /// a command or the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// The operating-system user and host that ran the command: `USER@HOST`. Absent for the admin
    /// API and the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_by: Option<String>,
    /// The `grant_type` of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The authenticated agent that sent the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The authentication method of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<String>,
    /// The issuer that first named the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_issuer: Option<String>,
    /// The user, as named in minted tokens. For a service account, the id of its agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The actors of the chain, the current actor first: agents of this service by id, others as
    /// `sub of iss`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actors: Vec<String>,
    /// The agent that the token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The `aud` of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The requested scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub requested_scope: Option<Scope>,
    /// The scope of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub scope: Option<Scope>,
    /// The requested authorization details.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub requested_details: Vec<AuthorizationDetail>,
    /// The authorization details of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The roles of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The roles of the subject token that the delegation did not pass on.
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
    /// The delegation that allowed the request: `actor->target`, with `#2` and so on if the two
    /// agents have several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    /// The approval that the event is about, or that allowed the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// The keys that the token is bound to: its `cnf` claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub cnf: Option<Confirmation>,
    /// The `jti` of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The issuer of the subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_iss: Option<String>,
    /// The `jti` of the subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_jti: Option<String>,
    /// True if the subject token is bound to a key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parent_bound: bool,
    /// The `txn` of the transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// The expiry of the token, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The expiry of the subject token, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_exp: Option<i64>,
    /// The duration from the head of the request to the commit, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_micros: Option<u64>,
    /// The stable name of the reason for a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A description of the refusal, or of an administrator's change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The `iss` of the refused token, as its sender wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_iss: Option<String>,
    /// The `aud` of the refused token; several values as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_aud: Option<String>,
    /// The `alg` in the header of the refused token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_alg: Option<String>,
    /// The `kid` in the header of the refused token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_kid: Option<String>,
    /// The `typ` in the header of the refused token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_typ: Option<String>,
    /// The row of the audit log that was acknowledged: `WRITER:SEQUENCE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// The digest of the acknowledged fault. A later change of the row is another fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// The number of refusals that the event covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The fields that were shortened, because they exceed the size limits of an event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<String>,
}

impl Event {
    /// Returns an event with only a kind and a time.
    #[must_use]
    pub fn new(event: EventKind, at: Timestamp) -> Self {
        Self {
            event,
            at,
            correlation_id: None,
            source: None,
            admin: None,
            run_by: None,
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
            requested_details: Vec::new(),
            authorization_details: Vec::new(),
            roles: Vec::new(),
            dropped_roles: Vec::new(),
            tenant_id: None,
            tenant_ids: Vec::new(),
            delegation: None,
            approval: None,
            cnf: None,
            jti: None,
            parent_iss: None,
            parent_jti: None,
            parent_bound: false,
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
            row: None,
            evidence: None,
            count: None,
            cut: Vec::new(),
        }
    }

    /// Turns the event into a refusal, which has no token.
    #[must_use]
    pub fn refused(mut self, reason: &str, detail: String) -> Self {
        self.event = match self.event {
            EventKind::Revoked | EventKind::RevocationRefused | EventKind::RevocationLifted => {
                EventKind::RevocationRefused
            }
            EventKind::TokenIssued | EventKind::TokenRefused | EventKind::ApprovalRequested => EventKind::TokenRefused,
            EventKind::RegistryChanged
            | EventKind::KeysChanged
            | EventKind::AdminRefused
            | EventKind::AuditAcknowledged
            | EventKind::ApprovalGranted
            | EventKind::ApprovalDenied
            | EventKind::ApprovalWithdrawn
            | EventKind::ApprovalExpired => EventKind::AdminRefused,
            EventKind::RefusalsSuppressed => EventKind::RefusalsSuppressed,
        };
        self.cnf = None;
        self.jti = None;
        self.exp = None;
        self.reason = Some(reason.to_owned());
        self.detail = Some(detail);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_the_name_that_events_have() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
