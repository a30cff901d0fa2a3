//! The tokens of issuers other than an STS.

use std::collections::HashMap;

use serde_json::Value;
use sts_jose::Claims;
use sts_protocol::{Act, SubjectId, Tenant, is_name};

use super::refusal::Why;
use super::tenant::Tenants;
use super::{Named, values};

/// How the tokens of an issuer are read.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) tenant: TenantSource,
    pub(super) scope_claim: Option<String>,
    /// The claim that marks the token of a service account.
    pub(super) service_account_claim: Option<Mark>,
    /// The tenants of its service accounts, by `sub`.
    pub(super) service_accounts: HashMap<String, Vec<Tenant>>,
}

/// A claim that marks a token, by its presence or by its value.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) claim: String,
    /// `None`: any value but `null` and `false`.
    pub(super) value: Option<String>,
}

impl Mark {
    fn is_on(&self, claims: &Claims) -> bool {
        let Some(value) = &self.value else {
            return claims.get(&self.claim).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)));
        };
        claims.strings(&self.claim).ok().flatten().is_some_and(|values| values.contains(&value.as_str()))
    }
}

/// The claims in which issuers name the client that asked for a token.
const CLIENT_CLAIMS: [&str; 3] = ["client_id", "azp", "cid"];

/// Where the tenant of a user's token comes from.
#[derive(Debug, Clone)]
pub(super) enum TenantSource {
    /// Nowhere: its tokens have none.
    None,
    /// All its users are of this one.
    Fixed(Tenant),
    /// The claim of this literal name.
    Claim(String),
}

impl Outside {
    /// Reads the claims of a token that `issuer` has signed. `is_sts` knows the issuers whose namespace of actors is theirs alone.
    pub(super) fn read(&self, issuer: &str, claims: &Claims, is_sts: impl Fn(&str) -> bool) -> Result<Named, Why> {
        let sub = claims.string("sub")?.filter(|sub| is_name(sub)).ok_or(Why::Sub)?;
        let act = claims.get("act").map(Act::from_value).transpose().map_err(Why::Act)?;
        if act.iter().flat_map(Act::actors).any(|actor| actor.iss.is_some_and(&is_sts)) {
            return Err(Why::ActClaimsSts);
        }
        let tenants = match (self.service_accounts.get(sub), &act) {
            (Some(tenants), None) => Tenants::OfServiceAccount(tenants.clone()),
            (Some(_), Some(_)) => return Err(Why::Contradiction),
            // The issuer is no STS: its `tenant_ids` name no tenant that the account may speak for.
            (None, None) if self.is_of_service_account(sub, claims) => Tenants::OfServiceAccount(Vec::new()),
            (None, _) => Tenants::OfUser(self.tenant(claims)?),
        };
        Ok(Named {
            sub: sub.to_owned(),
            subject: SubjectId { iss: issuer.to_owned(), sub: sub.to_owned() },
            act,
            tenants,
            scope: values::scope(claims, self.scope_claim(claims))?,
            roles: values::roles(claims),
            txn: None,
        })
    }

    /// Whether a token without `act` is one that an agent got for itself: the configured claim marks it, it has `tenant_ids`, or its `sub`
    /// is the client that asked for it (RFC 9068 §2.2).
    fn is_of_service_account(&self, sub: &str, claims: &Claims) -> bool {
        let names_client = |claim: &&str| claims.get(claim).and_then(Value::as_str) == Some(sub);
        self.service_account_claim.as_ref().is_some_and(|mark| mark.is_on(claims))
            || claims.get("tenant_ids").is_some()
            || CLIENT_CLAIMS.iter().any(names_client)
    }

    fn tenant(&self, claims: &Claims) -> Result<Option<Tenant>, Why> {
        match &self.tenant {
            TenantSource::None => Ok(None),
            TenantSource::Fixed(tenant) => Ok(Some(tenant.clone())),
            TenantSource::Claim(claim) => values::tenant(claims, claim).map(Some),
        }
    }

    /// The claim of the scope; where none is configured, `scope`, or else `scp`, as some issuers call it.
    fn scope_claim(&self, claims: &Claims) -> &str {
        match &self.scope_claim {
            Some(claim) => claim,
            None if claims.get("scope").is_some() => "scope",
            None => "scp",
        }
    }
}
