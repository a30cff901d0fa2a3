//! The names of issuers: an entry's own, its aliases, and those with a place for the tenant.

use std::collections::HashMap;
use std::sync::Arc;

use sts_jose::{Claims, IssuerName, TrustDomain};
use sts_protocol::Tenant;
use thiserror::Error;

use super::Issuer;

/// All names of issuers, indexed.
#[derive(Debug, Default)]
pub(super) struct IssuerNames {
    exact: HashMap<String, Arc<Issuer>>,
    /// In the order of their texts, so that servers agree.
    templates: Vec<(IssuerName, Arc<Issuer>)>,
}

/// The issuer that a token names, before anything of the token is verified.
#[derive(Debug, Clone)]
pub struct NamedIssuer {
    /// Its entry.
    pub issuer: Arc<Issuer>,
    /// The issuer of the principal, if the entry has a place for the tenant; else it is the entry's own name.
    iss: Option<String>,
}

/// A token names no issuer that is registered, or one that it cannot be of.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssuerNameError {
    /// It has no `iss`.
    #[error("the token has no iss")]
    Missing,
    /// The issuer is not registered.
    #[error("the issuer of the token is not registered")]
    Unknown,
    /// The segment of `iss` that is the tenant is not what the tenant claim says.
    #[error("the tenant in iss is not the one of the issuer's tenant_claim")]
    Tenant,
    /// `sub` is no identity of the trust domain.
    #[error("sub is no SPIFFE ID of the trust domain")]
    TrustDomain,
}

impl IssuerNames {
    pub(super) fn add(&mut self, issuer: &Arc<Issuer>) {
        for name in issuer.names() {
            let parsed = IssuerName::new(name);
            if parsed.is_template() {
                self.templates.push((parsed, Arc::clone(issuer)));
            } else {
                self.exact.insert(name.to_owned(), Arc::clone(issuer));
            }
        }
        self.templates.sort_by(|(one, _), (other, _)| one.cmp(other));
    }

    /// The entry that a name stands for.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Issuer>> {
        let by_template = || self.templates.iter().find(|(template, _)| template.is(name));
        self.exact.get(name).or_else(|| by_template().map(|(_, issuer)| issuer))
    }

    /// The issuer that a token names by its `iss`, or by the trust domain of its `sub`.
    pub(super) fn of(&self, claims: &Claims) -> Result<NamedIssuer, IssuerNameError> {
        let iss = claims.string("iss").or(Err(IssuerNameError::Unknown))?;
        let by_name = iss.and_then(|iss| Some((iss, self.find(iss)?)));
        let Some((iss, issuer)) = by_name else {
            let lacks = if iss.is_none() { IssuerNameError::Missing } else { IssuerNameError::Unknown };
            let of_domain = TrustDomain::of_claims(claims).and_then(|domain| self.exact.get(&domain.issuer()));
            return of_domain.map(|issuer| NamedIssuer { issuer: Arc::clone(issuer), iss: None }).ok_or(lacks);
        };
        if issuer.trust_domain().is_some_and(|domain| TrustDomain::of_claims(claims) != Some(domain)) {
            return Err(IssuerNameError::TrustDomain);
        }
        let issuer = Arc::clone(issuer);
        let iss = issuer.principal_iss(iss, claims)?;
        // A principal of an issuer with an entry of its own comes by that entry alone.
        let is_of_another = |iss: &str| self.exact.get(iss).is_some_and(|other| other.issuer != issuer.issuer);
        if iss.as_deref().is_some_and(is_of_another) {
            return Err(IssuerNameError::Unknown);
        }
        Ok(NamedIssuer { issuer, iss })
    }
}

impl Issuer {
    /// The issuer of the principal of a token that names this issuer by `name`, of a tenant.
    #[must_use]
    pub fn supposed_iss(&self, name: &str, tenant: Option<&Tenant>) -> String {
        match self.tenant_in(name).or(tenant.map(Tenant::as_str)) {
            Some(tenant) => IssuerName::new(&self.issuer).of_tenant(tenant),
            None => self.issuer.clone(),
        }
    }

    /// The tenant that stands in a name of this issuer.
    fn tenant_in<'n>(&self, iss: &'n str) -> Option<&'n str> {
        let mut templates = self.names().filter(|name| has_placeholder(name)).map(IssuerName::new);
        templates.find_map(|template| template.tenant_of(iss))
    }

    /// The issuer of the principal of a token with this `iss`, if a place for the tenant is filled in.
    fn principal_iss(&self, iss: &str, claims: &Claims) -> Result<Option<String>, IssuerNameError> {
        let Some(segment) = self.tenant_in(iss) else { return Ok(None) };
        let tenant = self.tenant_claim.as_ref().and_then(|selectors| selectors.one(claims).ok().flatten());
        if tenant.as_deref() != Some(segment) {
            return Err(IssuerNameError::Tenant);
        }
        Ok(Some(IssuerName::new(&self.issuer).of_tenant(segment)))
    }
}

impl NamedIssuer {
    /// The issuer of the principal: the entry's own name, with the tenant in its place.
    #[must_use]
    pub fn iss(&self) -> &str {
        self.iss.as_deref().unwrap_or(&self.issuer.issuer)
    }
}

/// True if a name of an issuer has a place for the tenant.
#[must_use]
pub fn has_placeholder(name: &str) -> bool {
    name.contains("{tenantid}")
}
