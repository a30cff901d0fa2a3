//! The tokens of issuers other than an STS.

use std::collections::HashMap;

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
    /// The tenants of its service accounts, by `sub`.
    pub(super) service_accounts: HashMap<String, Vec<Tenant>>,
}

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
            // A service account of another STS, which is not one that is known here.
            (None, None) if claims.get("tenant_ids").is_some() => return Err(Why::Contradiction),
            (None, _) => Tenants::OfUser(self.tenant(claims)?),
        };
        Ok(Named {
            sub: sub.to_owned(),
            subject: SubjectId { iss: issuer.to_owned(), sub: sub.to_owned() },
            act,
            tenants,
            scope: values::scope(claims, self.scope_claim(claims))?,
            txn: None,
        })
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
