//! Revocations: revoke, list, lift.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_protocol::Tenant;
use thiserror::Error;
use utoipa::ToSchema;

use super::known_names::{self, Owned, UnknownName};
use super::{Administration, By, Records, Wrong};
use crate::exchange::Revocation;
use crate::record::{Event, EventKind, UNTIL_LIFTED, held_since, hold_at};
use crate::registry::{Registry, has_placeholder};
use crate::storage::{KEY_TEXT_BYTES, RevocationKind, RevocationRow, StorageError};

/// The object of a revocation, as an operator names it: exactly one of the first six members.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// A token, with all tokens exchanged from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// A transaction: all tokens that descend from one first hop, and its subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub txn: Option<String>,
    /// A user, as its issuer names it. Without `issuer`, also as minted tokens name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// An agent: every token whose actor chain contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// A tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The owner of agents: each agent of the registry with this `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The issuer of the token or user. Without it, a token belongs to this service, and a user to
    /// any issuer. Only valid with `jti` and `sub`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Also refuses tokens issued later, until the revocation is lifted. Only valid with `sub`,
    /// `agent` and `tenant`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// Accepts a name that the registry does not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// A revocation with its reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeRequest {
    /// The kind and the name of the object.
    pub revocation: Revocation,
    /// The tokens that the revocation refuses.
    pub reach: Reach,
    /// The names that the request may revoke.
    pub names: Names,
}

/// The tokens of a user, an agent or a tenant that a revocation refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Tokens issued until now.
    IssuedUntilNow,
    /// All tokens, until the revocation is lifted.
    Hold,
}

/// The names that a request may revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Names that the registry knows.
    Known,
    /// Any name.
    Any,
}

/// Nothing was revoked.
#[derive(Debug, Error)]
pub enum NotRevoked {
    /// The object is not named as it must be.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// The name is unknown.
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    /// The database failed.
    #[error("the database failed")]
    Storage(#[from] StorageError),
}

/// The outcome of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevocationDone {
    /// The number of entries added or extended. A transaction counts each outside token that
    /// started it too.
    pub revoked: u64,
    /// The time at which the revocation ends. Absent if it lasts until lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// True if tokens issued later are refused too.
    pub hold: bool,
    /// The agents of the owner, if an owner is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
}

/// A revocation in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    /// The issuer of the token or user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The time of the revocation. Tokens issued at or before it are refused; a hold refuses all
    /// tokens.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The time at which the revocation ends, together with its token. Absent if it lasts until
    /// lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// True for a hold, which also refuses tokens issued later.
    pub hold: bool,
}

impl StandingRevocation {
    /// Returns the parameter that names the object, and the name.
    #[must_use]
    pub fn name(&self) -> (&'static str, &str) {
        let named = [
            ("jti", &self.jti),
            ("txn", &self.txn),
            ("sub", &self.sub),
            ("agent", &self.agent),
            ("tenant", &self.tenant),
        ];
        let named = named.into_iter().find_map(|(parameter, name)| Some((parameter, name.as_deref()?)));
        named.unwrap_or_default()
    }

    fn of(row: RevocationRow) -> Self {
        let of = |kind: RevocationKind| (row.kind == kind).then(|| row.value.clone());
        Self {
            jti: of(RevocationKind::Token).or_else(|| of(RevocationKind::TokenAlone)),
            txn: of(RevocationKind::Transaction),
            sub: of(RevocationKind::Subject),
            agent: of(RevocationKind::Agent),
            tenant: of(RevocationKind::Tenant),
            issuer: row.issuer,
            at: held_since(row.at).unwrap_or(row.at),
            expires_at: end(row.expires_at),
            hold: held_since(row.at).is_some(),
        }
    }
}

/// Returns the agents of an owner.
fn each(named: Named, owned: &Owned) -> Result<Vec<Named>, NotRevoked> {
    let owner = named.owner.as_deref().unwrap_or_default();
    let agents = owned.by(owner);
    if agents.is_empty() && !named.unknown {
        return Err(owned.unknown(owner).into());
    }
    let of_agent = |id| Named { agent: Some(id), owner: None, unknown: true, ..named.clone() };
    Ok(agents.into_iter().map(of_agent).collect())
}

/// Returns the end of a revocation, or `None` if it lasts until lifted.
fn end(expires_at: Timestamp) -> Option<Timestamp> {
    (expires_at < UNTIL_LIFTED).then_some(expires_at)
}

impl Named {
    /// Returns the requested revocation with its reach. `our_issuer` is the issuer of this service.
    ///
    /// # Errors
    /// [`Wrong`] names the invalid parameter.
    pub fn request(&self, our_issuer: &str) -> Result<RevokeRequest, Wrong> {
        let revocation = self.revocation(our_issuer)?;
        if self.hold && matches!(revocation.kind, RevocationKind::Token | RevocationKind::Transaction) {
            return Err(Wrong::new("hold", "is only for sub, agent, tenant and owner"));
        }
        Ok(RevokeRequest {
            revocation,
            reach: if self.hold { Reach::Hold } else { Reach::IssuedUntilNow },
            names: if self.unknown { Names::Any } else { Names::Known },
        })
    }

    /// Returns the objects that are named, as [`Administration::each_of`] does, by a registry that
    /// is at hand.
    ///
    /// # Errors
    /// As for [`Administration::each_of`].
    pub fn each_in(self, registry: &Registry) -> Result<Vec<Self>, NotRevoked> {
        if self.is_owner() { each(self, &Owned::of_registry(registry)) } else { Ok(vec![self]) }
    }

    /// Returns true if the owner of agents alone is named.
    fn is_owner(&self) -> bool {
        let others = [&self.jti, &self.txn, &self.sub, &self.agent, &self.tenant];
        self.owner.is_some() && others.into_iter().all(Option::is_none)
    }

    /// Returns the revocation without its reach. `our_issuer` is the issuer of this service.
    ///
    /// # Errors
    /// [`Wrong`] names the invalid parameter.
    pub fn revocation(&self, our_issuer: &str) -> Result<Revocation, Wrong> {
        let named = [
            (RevocationKind::Token, "jti", &self.jti),
            (RevocationKind::Transaction, "txn", &self.txn),
            (RevocationKind::Subject, "sub", &self.sub),
            (RevocationKind::Agent, "agent", &self.agent),
            (RevocationKind::Tenant, "tenant", &self.tenant),
        ];
        let mut named = named.into_iter().filter_map(|(kind, name, value)| Some((kind, name, value.as_ref()?)));
        let (Some((kind, name, value)), None, None) = (named.next(), named.next(), &self.owner) else {
            return Err(Wrong::new("", "give exactly one of jti, txn, sub, agent, tenant and owner"));
        };
        let issuer = match kind {
            RevocationKind::Token | RevocationKind::TokenAlone => {
                Some(self.issuer.clone().unwrap_or_else(|| our_issuer.to_owned()))
            }
            RevocationKind::Subject => self.issuer.clone(),
            RevocationKind::Transaction | RevocationKind::Agent | RevocationKind::Tenant => {
                if self.issuer.is_some() {
                    return Err(Wrong::new("issuer", "is only for jti and sub"));
                }
                None
            }
        };
        if kind == RevocationKind::Tenant {
            Tenant::new(value).map_err(|error| Wrong::new("tenant", error.to_string()))?;
        }
        check_name(name, value)?;
        issuer.as_deref().map_or(Ok(()), |issuer| check_name("issuer", issuer))?;
        if issuer.as_deref().is_some_and(has_placeholder) {
            return Err(Wrong::new(
                "issuer",
                "{tenantid} is a placeholder for a tenant: give the issuer as the tokens of that tenant name it",
            ));
        }
        Ok(Revocation { kind, issuer, value: value.clone() })
    }
}

/// Refuses a name that no token can contain. Not every database accepts such a name.
pub(super) fn check_name(parameter: &'static str, name: &str) -> Result<(), Wrong> {
    if name.is_empty() || name.len() > KEY_TEXT_BYTES || name.chars().any(char::is_control) {
        return Err(Wrong::new(parameter, format!("1 to {KEY_TEXT_BYTES} bytes without control characters")));
    }
    Ok(())
}

impl Administration {
    /// Revokes what is named, in order. Objects before a failure stay revoked.
    ///
    /// # Errors
    /// [`NotRevoked`].
    pub async fn revoke_named(&self, named: &Named, by: &By) -> Result<RevocationDone, NotRevoked> {
        let each = self.each_of(named.clone()).await?;
        let requests = each.iter().map(|named| named.request(self.issuer())).collect::<Result<Vec<_>, _>>()?;
        let done = self.revoke_each(&requests, by).await?;
        let agents = each.into_iter().filter(|_| named.is_owner()).filter_map(|named| named.agent).collect();
        Ok(RevocationDone { agents, ..done })
    }

    /// Lifts exactly what is named. Returns false if none of it was revoked.
    ///
    /// # Errors
    /// [`NotRevoked`].
    pub async fn lift_named(&self, named: &Named, by: &By) -> Result<bool, NotRevoked> {
        let mut lifted = false;
        // An owner without agents has nothing that is revoked.
        let named = Named { unknown: true, ..named.clone() };
        for named in self.each_of(named).await? {
            lifted |= self.lift(&named.revocation(self.issuer())?, by).await?;
        }
        Ok(lifted)
    }

    /// Returns the objects that are named: each agent of an owner, or the object itself.
    ///
    /// # Errors
    /// [`NotRevoked::Unknown`] if no agent has the owner, unless any name is accepted.
    pub async fn each_of(&self, named: Named) -> Result<Vec<Named>, NotRevoked> {
        if !named.is_owner() {
            return Ok(vec![named]);
        }
        each(named, &Owned::of_entries(&self.store.entries().await?.entries()))
    }

    /// Revokes each of these objects, in order. Objects before a failure stay revoked.
    ///
    /// # Errors
    /// [`NotRevoked`].
    pub async fn revoke_each(&self, requests: &[RevokeRequest], by: &By) -> Result<RevocationDone, NotRevoked> {
        let mut all = RevocationDone { revoked: 0, expires_at: None, hold: false, agents: Vec::new() };
        for request in requests {
            let done = self.revoke(request, by).await?;
            all = RevocationDone { revoked: all.revoked.saturating_add(done.revoked), ..done };
        }
        Ok(all)
    }

    /// Revokes. The revocation applies to all later commits at once, and on every server after it
    /// has read the change.
    ///
    /// A revocation lasts until it is lifted; that of a token of this service ends when the token
    /// expires. An outside token without `iat` is accepted as soon as its `exp` is near enough. A
    /// revocation that covers such a token therefore has no safe end.
    ///
    /// # Errors
    /// [`NotRevoked`]; then nothing is written.
    pub async fn revoke(&self, request: &RevokeRequest, by: &By) -> Result<RevocationDone, NotRevoked> {
        let mut request = request.clone();
        if request.names == Names::Known || request.revocation.issuer.is_some() {
            self.resolve_names(&mut request).await?;
        }
        let row = self.revocation_row(&request).await?;
        let RevokeRequest { revocation, reach, .. } = &request;
        let audit = [self.audit_row(EventKind::Revoked, by, |event| {
            describe(event, revocation);
            if *reach == Reach::Hold {
                event.detail =
                    Some("a hold: it also refuses tokens that are issued later, until it is lifted".to_owned());
            }
        })];
        let (_, revoked) = self.store.revoke(&row, &audit).await?;
        Ok(RevocationDone { revoked, expires_at: end(row.expires_at), hold: *reach == Reach::Hold, agents: Vec::new() })
    }

    /// Replaces an alias of an issuer by the issuer, and checks the names that must be known.
    async fn resolve_names(&self, request: &mut RevokeRequest) -> Result<(), NotRevoked> {
        match self.store.entries().await {
            Ok(stored) => {
                let (registry, _faults) = Registry::of(&stored, &Registry::default(), self.now());
                let issuer = request.revocation.issuer.take();
                request.revocation.issuer = issuer.map(|name| self.canonical(&registry, name));
                if request.names == Names::Known {
                    let operators = self.config.admin.oidc.issuer.as_deref();
                    let issuers: Vec<&str> = operators.into_iter().chain([self.issuer()]).collect();
                    known_names::check(&request.revocation, &issuers, &stored.entries(), &registry)?;
                }
                Ok(())
            }
            Err(error) if request.names == Names::Known => Err(error.into()),
            // A revocation of any name does not depend on the registry.
            Err(_) => Ok(()),
        }
    }

    async fn revocation_row(&self, request: &RevokeRequest) -> Result<RevocationRow, NotRevoked> {
        let RevokeRequest { revocation, reach, names } = request;
        let Revocation { kind, issuer, value } = revocation.clone();
        let now = self.now();
        let is_ours = kind == RevocationKind::Token && issuer.as_deref() == Some(self.issuer());
        let token = if is_ours { self.store.token(&value).await? } else { None };
        if is_ours && token.is_none() && *names == Names::Known {
            return Err(known_names::unknown_token(&value).into());
        }
        let at = match reach {
            Reach::IssuedUntilNow => now,
            Reach::Hold => hold_at(now),
        };
        let expires_at = token.map_or(UNTIL_LIFTED, |token| token.expires_at);
        Ok(RevocationRow { kind, issuer, value, at, expires_at, version: 0, txn: None })
    }
}

impl Records {
    /// Returns all revocations in force, including tokens revoked together with others.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn revocations(&self) -> Result<Vec<StandingRevocation>, StorageError> {
        let rows = self.store.revocations().await?.all();
        Ok(rows.into_iter().map(StandingRevocation::of).collect())
    }
}

impl Administration {
    /// Lifts this revocation; returns false if it did not exist. If no revocation names an alias of
    /// an issuer, the alias stands for the issuer.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn lift(&self, revocation: &Revocation, by: &By) -> Result<bool, StorageError> {
        if self.lift_exactly(revocation, by).await? {
            return Ok(true);
        }
        let Some(name) = &revocation.issuer else { return Ok(false) };
        let (registry, _faults) = Registry::of(&self.store.entries().await?, &Registry::default(), self.now());
        let issuer = self.canonical(&registry, name.clone());
        if issuer == *name {
            return Ok(false);
        }
        self.lift_exactly(&Revocation { issuer: Some(issuer), ..revocation.clone() }, by).await
    }

    async fn lift_exactly(&self, revocation: &Revocation, by: &By) -> Result<bool, StorageError> {
        let audit = [self.audit_row(EventKind::RevocationLifted, by, |event| describe(event, revocation))];
        let Revocation { kind, issuer, value } = revocation;
        if self.store.lift(*kind, issuer.as_deref(), value, &audit).await? {
            return Ok(true);
        }
        // An outside token that was revoked with its transaction has the same name.
        let goes_alone = *kind == RevocationKind::Token;
        Ok(goes_alone && self.store.lift(RevocationKind::TokenAlone, issuer.as_deref(), value, &audit).await?)
    }

    /// Returns the issuer that a name stands for. Our own name stands for itself.
    fn canonical(&self, registry: &Registry, name: String) -> String {
        if name == self.issuer() { name } else { registry.principal_iss(&name) }
    }
}

/// Writes the revocation into the audit event, in the fields that searches use.
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
