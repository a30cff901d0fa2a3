//! The tokens of issuers other than an STS.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sts_jose::{ClaimSelectors, Claims, Times};
use sts_protocol::{Act, SubjectId, Tenant, is_name};

use super::tenant::Tenants;
use super::why::Why;
use super::{Named, values};

/// The rules for reading the tokens of an issuer other than an STS.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) tenant: TenantSource<ClaimSelectors>,
    /// The tenants that it may assert; every one where absent.
    pub(super) tenants: Option<Vec<Tenant>>,
    pub(super) roles_claim: ClaimSelectors,
    pub(super) scope_claim: ClaimSelectors,
    pub(super) service_account_claim: Option<Mark>,
    pub(super) subject_claim: ClaimSelectors,
    pub(super) subject_prefix: String,
    /// The maximum age of a token by its `iat`. Without `iat`, the maximum time until its `exp`.
    pub(super) max_token_age: SignedDuration,
    /// The tenants of the issuer's service accounts, by `sub`.
    pub(super) service_accounts: HashMap<String, Vec<Tenant>>,
    /// Its tokens name workloads.
    pub(super) is_trust_domain: bool,
}

/// A claim that marks a token, by presence or by value.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) claim: String,
    /// The required value. `None` matches any value but `null` and `false`.
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

/// The claims in which issuers name the client that requested a token.
const CLIENT_CLAIMS: [&str; 3] = ["client_id", "azp", "cid"];

/// The source of the tenant in a user's token.
#[derive(Debug, Clone)]
pub(super) enum TenantSource<S> {
    /// The tokens have no tenant.
    None,
    /// All users of the issuer belong to this tenant.
    Fixed(Tenant),
    /// These selectors find the tenant.
    Claim(S),
}

impl Outside {
    /// Reads the claims of a token that `issuer` has signed. `is_sts` returns true for an STS: only
    /// the STS itself may name actors in its namespace.
    pub(super) fn read(&self, issuer: &str, claims: &Claims, is_sts: impl Fn(&str) -> bool) -> Result<Named, Why> {
        let named = self.subject_claim.subject(claims)?.filter(|named| is_name(named)).ok_or(Why::Sub)?;
        let sub = Some(format!("{}{named}", self.subject_prefix)).filter(|sub| is_name(sub)).ok_or(Why::Sub)?;
        let act = claims.get("act").map(Act::from_value).transpose().map_err(Why::Act)?;
        if act.iter().flat_map(Act::actors).any(|actor| actor.iss.is_some_and(&is_sts)) {
            return Err(Why::ActClaimsSts);
        }
        let tenants = match (self.service_accounts.get(&*named), &act) {
            (Some(tenants), None) => Tenants::OfServiceAccount(tenants.clone()),
            (Some(_), Some(_)) => return Err(Why::Contradiction),
            // A workload acts for itself: an SVID names no actors.
            (None, Some(_)) if self.is_trust_domain => return Err(Why::Contradiction),
            // The issuer is not an STS: its `tenant_ids` do not grant the account any tenant.
            (None, None) if self.is_of_service_account(claims) => Tenants::OfServiceAccount(Vec::new()),
            (None, _) => Tenants::OfUser(self.tenant(claims)?),
        };
        Ok(Named {
            sub,
            subject: SubjectId { iss: issuer.to_owned(), sub: named.into_owned() },
            act,
            tenants,
            scope: values::scope(claims, &self.scope_claim)?,
            roles: values::roles(claims, &self.roles_claim),
            txn: None,
        })
    }

    /// Returns true if a token without `act` is one that an agent requested for itself. Such a
    /// token has the configured mark or `tenant_ids`, or its `sub` is the client that requested it
    /// (RFC 9068 §2.2).
    fn is_of_service_account(&self, claims: &Claims) -> bool {
        let sub = claims.get("sub").and_then(Value::as_str);
        let names_client = |claim: &&str| sub.is_some() && claims.get(claim).and_then(Value::as_str) == sub;
        self.service_account_claim.as_ref().is_some_and(|mark| mark.is_on(claims))
            || self.is_trust_domain
            || claims.get("tenant_ids").is_some()
            || CLIENT_CLAIMS.iter().any(names_client)
    }

    fn tenant(&self, claims: &Claims) -> Result<Option<Tenant>, Why> {
        let tenant = match &self.tenant {
            TenantSource::None => None,
            TenantSource::Fixed(tenant) => Some(tenant.clone()),
            TenantSource::Claim(claim) => Some(values::tenant(claims, claim)?),
        };
        let is_outside = |tenants: &Vec<Tenant>| !tenant.as_ref().is_some_and(|tenant| tenants.contains(tenant));
        if self.tenants.as_ref().is_some_and(is_outside) { Err(Why::TenantOutside) } else { Ok(tenant) }
    }

    /// Refuses a token that is older than the issuer's maximum age. Without `iat`, refuses a token
    /// that expires later than that age from now.
    pub(super) fn check_age(&self, times: &Times, now: Timestamp) -> Result<(), Why> {
        if times.are_within(self.max_token_age, now) { Ok(()) } else { Err(Why::TooOld) }
    }
}
