//! An audit event in words, for people.

use super::{Event, EventKind};

impl EventKind {
    /// Returns the kind in a word or two.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::TokenIssued => "issued",
            Self::TokenRefused | Self::AdminRefused => "refused",
            Self::Revoked => "revoked",
            Self::RevocationRefused => "not revoked",
            Self::RevocationLifted => "lifted",
            Self::RegistryChanged => "registry changed",
            Self::KeysChanged => "keys changed",
            Self::RefusalsSuppressed => "refusals suppressed",
            Self::AuditAcknowledged => "fault acknowledged",
            Self::ApprovalRequested => "approval requested",
            Self::ApprovalGranted => "approval granted",
            Self::ApprovalDenied => "approval denied",
            Self::ApprovalWithdrawn => "approval withdrawn",
            Self::ApprovalExpired => "approval expired",
        }
    }
}

impl Event {
    /// Returns the object of the event: the call, or the revoked name.
    #[must_use]
    pub fn object(&self) -> Option<String> {
        match self.event {
            EventKind::Revoked | EventKind::RevocationLifted => {
                let agents = (!self.actors.is_empty()).then(|| format!("agent {}", self.actors.join(", ")));
                let of = self.subject_issuer.as_ref().map(|issuer| format!(" of {issuer}")).unwrap_or_default();
                agents
                    .or_else(|| self.sub.as_ref().map(|sub| format!("user {sub}{of}")))
                    .or_else(|| self.jti.as_ref().map(|jti| format!("jti {jti}")))
                    .or_else(|| self.txn.as_ref().map(|txn| format!("txn {txn}")))
                    .or_else(|| self.tenant_id.as_ref().map(|tenant| format!("tenant {tenant}")))
            }
            _ => match (self.client_id.as_ref().or(self.admin.as_ref()), &self.target) {
                (Some(client), Some(target)) => Some(format!("{client} -> {target}")),
                (Some(client), None) => Some(client.clone()),
                (None, Some(target)) => Some(format!("-> {target}")),
                (None, None) => None,
            },
        }
    }
}
