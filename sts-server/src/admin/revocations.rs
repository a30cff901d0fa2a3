//! The kill switch: what is revoked, and what is lifted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_protocol::Tenant;
use utoipa::ToSchema;

use super::{Administration, By, Wrong};
use crate::exchange::{Revocation, SnapshotError, revocation_row};
use crate::record::{Event, EventKind};
use crate::registry::Registry;
use crate::storage::{KEY_TEXT_BYTES, RevocationKind, RevocationRow, StorageError};

/// What is to be revoked or lifted, as an operator names it: exactly one of the first five.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// A token, with every descendant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// A transaction: everything that came of one first hop, and the token that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// A user, as its issuer names it; without `issuer`, also as minted tokens do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// An agent: every token in whose chain it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// A tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whose token or user it is. Of a token, absent, this service's; of a user, absent, every issuer's. Goes with `jti` and `sub` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// What came of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct RevocationDone {
    /// How many entries were added or reach further now: of a token, one for each of its descendants too.
    pub revoked: u64,
    /// Until when it stands.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// What stands revoked: what it is, as an operator names it, and since and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StandingRevocation {
    /// A token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// A transaction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// A user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// An agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// A tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Whose token or user it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Tokens that were issued at or before this are refused.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// When nothing that it covers can be alive any more.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

impl StandingRevocation {
    fn of(row: RevocationRow) -> Self {
        let of = |kind: RevocationKind| (row.kind == kind).then(|| row.value.clone());
        Self {
            jti: of(RevocationKind::Token).or_else(|| of(RevocationKind::TokenAlone)),
            txn: of(RevocationKind::Transaction),
            sub: of(RevocationKind::Subject),
            agent: of(RevocationKind::Agent),
            tenant: of(RevocationKind::Tenant),
            issuer: row.issuer,
            at: row.at,
            expires_at: row.expires_at,
        }
    }
}

impl Named {
    /// The revocation that is meant, at a service of this issuer.
    ///
    /// # Errors
    /// [`Wrong`] names the parameter that makes no sense.
    pub fn revocation(&self, our_issuer: &str) -> Result<Revocation, Wrong> {
        let named = [
            (RevocationKind::Token, "jti", &self.jti),
            (RevocationKind::Transaction, "txn", &self.txn),
            (RevocationKind::Subject, "sub", &self.sub),
            (RevocationKind::Agent, "agent", &self.agent),
            (RevocationKind::Tenant, "tenant", &self.tenant),
        ];
        let mut named = named.into_iter().filter_map(|(kind, name, value)| Some((kind, name, value.as_ref()?)));
        let (Some((kind, name, value)), None) = (named.next(), named.next()) else {
            return Err(Wrong::new("", "exactly one of jti, txn, sub, agent and tenant is needed"));
        };
        let issuer = match kind {
            RevocationKind::Token | RevocationKind::TokenAlone => {
                Some(self.issuer.clone().unwrap_or_else(|| our_issuer.to_owned()))
            }
            RevocationKind::Subject => self.issuer.clone(),
            RevocationKind::Transaction | RevocationKind::Agent | RevocationKind::Tenant => {
                if self.issuer.is_some() {
                    return Err(Wrong::new("issuer", "goes with jti and sub alone"));
                }
                None
            }
        };
        if kind == RevocationKind::Tenant {
            Tenant::new(value).map_err(|error| Wrong::new("tenant", error.to_string()))?;
        }
        check_name(name, value)?;
        issuer.as_deref().map_or(Ok(()), |issuer| check_name("issuer", issuer))?;
        Ok(Revocation { kind, issuer, value: value.clone() })
    }
}

/// What no token can say is no name, and not every database takes it.
pub(super) fn check_name(parameter: &'static str, name: &str) -> Result<(), Wrong> {
    if name.is_empty() || name.len() > KEY_TEXT_BYTES || name.chars().any(char::is_control) {
        return Err(Wrong::new(parameter, format!("1 to {KEY_TEXT_BYTES} bytes without control characters")));
    }
    Ok(())
}

impl Administration {
    /// Revokes. It holds at once for whatever is committed from now on, and for every server when it has followed the database.
    ///
    /// # Errors
    /// [`SnapshotError`] when the database fails.
    pub async fn revoke(&self, revocation: &Revocation, by: &By) -> Result<RevocationDone, SnapshotError> {
        // Entries that do not read stand in the way of no revocation.
        let (registry, _faults) = Registry::of(&self.store.entries().await?, &Registry::default());
        let mut row = revocation_row(revocation, &registry, self.config.limits.max_ttl, self.now());
        if revocation.kind == RevocationKind::Token
            && let Some(token) = self
                .store
                .token(&revocation.value)
                .await?
                .filter(|token| Some(&token.iss) == revocation.issuer.as_ref())
        {
            row.expires_at = token.expires_at;
        }
        let audit = [self.audit_row(EventKind::Revoked, by, |event| describe(event, revocation))];
        let (_, revoked) = self.store.revoke(&row, &audit).await?;
        Ok(RevocationDone { revoked, expires_at: row.expires_at })
    }

    /// Whatever stands revoked, tokens that went with others included.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn revocations(&self) -> Result<Vec<StandingRevocation>, StorageError> {
        let rows = self.store.revocations().await?.all();
        Ok(rows.into_iter().map(StandingRevocation::of).collect())
    }

    /// Lifts exactly this revocation, not those of a token's descendants; false when there was none.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn lift(&self, revocation: &Revocation, by: &By) -> Result<bool, StorageError> {
        let audit = [self.audit_row(EventKind::RevocationLifted, by, |event| describe(event, revocation))];
        let Revocation { kind, issuer, value } = revocation;
        if self.store.lift(*kind, issuer.as_deref(), value, &audit).await? {
            return Ok(true);
        }
        // An outside token that went with its transaction has the same name.
        let goes_alone = *kind == RevocationKind::Token;
        Ok(goes_alone && self.store.lift(RevocationKind::TokenAlone, issuer.as_deref(), value, &audit).await?)
    }
}

/// What the audit event says of the revocation, in the fields in which others are found.
fn describe(event: &mut Event, revocation: &Revocation) {
    let Revocation { kind, issuer, value } = revocation;
    let value = Some(value.clone());
    match kind {
        RevocationKind::Token | RevocationKind::TokenAlone => {
            event.detail = issuer.as_ref().map(|issuer| format!("a token of {issuer}"));
            event.jti = value;
        }
        RevocationKind::Transaction => event.txn = value,
        RevocationKind::Subject => {
            event.subject_issuer.clone_from(issuer);
            event.sub = value;
        }
        RevocationKind::Agent => event.actors.extend(value),
        RevocationKind::Tenant => event.tenant_id = value.and_then(|tenant| Tenant::new(&tenant).ok()),
    }
}
