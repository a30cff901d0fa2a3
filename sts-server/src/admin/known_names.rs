//! A check that the registry knows the name in a revocation. A typing error must not look like an
//! effective revocation.

use serde_json::Value;
use thiserror::Error;

use crate::document::nearest;
use crate::exchange::Revocation;
use crate::registry::Registry;
use crate::storage::{EntryKind, EntryRow, RevocationKind};

/// The registry does not know the name in a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct UnknownName {
    /// The parameter that holds the name.
    pub parameter: &'static str,
    /// The reason, without a suggestion.
    pub message: String,
    /// A suggestion: the nearest known name, or another parameter to give.
    pub meant: Option<String>,
}

/// Checks that the registry knows the agent, the tenant or the issuer of a revocation. `issuers`
/// are the issuers that the configuration names.
///
/// Reads entries member by member, so that an entry that this version cannot parse does not block a
/// revocation. Checks tenants only if an entry names a tenant.
pub(super) fn check(
    revocation: &Revocation,
    issuers: &[&str],
    entries: &[EntryRow],
    registry: &Registry,
) -> Result<(), UnknownName> {
    let Revocation { kind, issuer, value } = revocation;
    let ids = |kind| entries.iter().filter(move |entry| entry.kind == kind).map(|entry| entry.id.as_str());
    if let Some(issuer) = issuer
        && !ids(EntryKind::Issuer).chain(issuers.iter().copied()).any(|known| known == issuer)
        && registry.issuer(issuer).is_none()
    {
        return Err(unknown("issuer", issuer, "the registry has no issuer", ids(EntryKind::Issuer).collect()));
    }
    match kind {
        RevocationKind::Agent
            if !ids(EntryKind::Agent).any(|known| known == value) && registry.acting(value).is_none() =>
        {
            Err(unknown("agent", value, "the registry has no agent", ids(EntryKind::Agent).collect()))
        }
        RevocationKind::Tenant => {
            let bodies: Vec<Value> = entries.iter().filter_map(|row| serde_json::from_str(&row.body).ok()).collect();
            let tenants: Vec<&str> = bodies.iter().flat_map(tenants).collect();
            if tenants.is_empty() || tenants.contains(&value.as_str()) {
                return Ok(());
            }
            Err(unknown("tenant", value, "no entry of the registry names tenant", tenants))
        }
        RevocationKind::Token
        | RevocationKind::TokenAlone
        | RevocationKind::Transaction
        | RevocationKind::Subject
        | RevocationKind::Agent => Ok(()),
    }
}

/// The agents that have an owner.
pub(super) struct Owned(Vec<(String, String)>);

impl Owned {
    /// Reads entries member by member, as [`check`] does.
    pub(super) fn of_entries(entries: &[EntryRow]) -> Self {
        let agents = entries.iter().filter(|entry| entry.kind == EntryKind::Agent);
        let owned = agents.filter_map(|entry| {
            let body: Value = serde_json::from_str(&entry.body).ok()?;
            Some((entry.id.clone(), body.get("owner")?.as_str()?.to_owned()))
        });
        Self(owned.collect())
    }

    pub(super) fn of_registry(registry: &Registry) -> Self {
        let owned = registry.agents().filter_map(|agent| Some((agent.id.clone(), agent.owner.clone()?)));
        Self(owned.collect())
    }

    /// Returns the ids of the agents of an owner, in order.
    pub(super) fn by(&self, owner: &str) -> Vec<String> {
        let mut ids: Vec<String> = self.0.iter().filter(|(_, of)| of == owner).map(|(id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// Returns the error for an owner of no agent.
    pub(super) fn unknown(&self, owner: &str) -> UnknownName {
        let known = self.0.iter().map(|(_, owner)| owner.as_str()).collect();
        unknown("owner", owner, "no agent of the registry has the owner", known)
    }
}

/// Returns the error for a token of this service without a row.
pub(super) fn unknown_token(jti: &str) -> UnknownName {
    UnknownName {
        parameter: "jti",
        message: format!("this service has no unexpired token {jti:?}"),
        meant: Some("for a token of another issuer, give its issuer too".to_owned()),
    }
}

fn unknown(parameter: &'static str, name: &str, lacks: &str, mut known: Vec<&str>) -> UnknownName {
    known.sort_unstable();
    known.dedup();
    let meant = nearest(name, known.into_iter()).map(|near| format!("did you mean {near:?}?"));
    UnknownName { parameter, message: format!("{lacks} {name:?}"), meant }
}

/// Returns the tenants that an entry names.
fn tenants(entry: &Value) -> impl Iterator<Item = &str> {
    let listed = ["tenants", "forward_tenants"].into_iter().filter_map(|key| entry.get(key)?.as_array()).flatten();
    listed.chain(entry.get("tenant")).filter_map(Value::as_str).filter(|tenant| *tenant != "*")
}
