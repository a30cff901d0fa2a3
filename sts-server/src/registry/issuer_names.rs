//! The names of issuers: own names, aliases, and names with a placeholder for the tenant.

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
    /// Sorted by text, so that all servers find the same match.
    templates: Vec<(IssuerName, Arc<Issuer>)>,
}

/// The issuer that an unverified token names.
#[derive(Debug, Clone)]
pub struct NamedIssuer {
    /// The registry entry of the issuer.
    pub issuer: Arc<Issuer>,
    /// The `iss` of the principal, if the entry has a placeholder for the tenant. Otherwise the own
    /// name of the entry applies.
    iss: Option<String>,
}

/// The token names no registered issuer, or an issuer that it cannot come from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssuerNameError {
    /// The token has no `iss`.
    #[error("the token has no iss")]
    Missing,
    /// The issuer is not registered.
    #[error("the issuer of the token is not registered")]
    Unknown,
    /// The tenant segment of `iss` differs from the tenant claim.
    #[error("the tenant in iss is not the one of the issuer's tenant_claim")]
    Tenant,
    /// `sub` is not an identity of the trust domain.
    #[error("sub is not a SPIFFE ID of the trust domain")]
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

    /// Returns the entry with this name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Issuer>> {
        let by_template = || self.templates.iter().find(|(template, _)| template.is(name));
        self.exact.get(name).or_else(|| by_template().map(|(_, issuer)| issuer))
    }

    /// Returns the issuer that a token names by its `iss`, or by the trust domain of its `sub`.
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
        // If another entry has exactly this name, only that entry may assert its principals.
        let is_of_another = |iss: &str| self.exact.get(iss).is_some_and(|other| other.issuer != issuer.issuer);
        if iss.as_deref().is_some_and(is_of_another) {
            return Err(IssuerNameError::Unknown);
        }
        Ok(NamedIssuer { issuer, iss })
    }
}

impl Issuer {
    /// Returns the `iss` of the principal for a token of this tenant that names the issuer by
    /// `name`.
    #[must_use]
    pub fn supposed_iss(&self, name: &str, tenant: Option<&Tenant>) -> String {
        match self.tenant_in(name).or(tenant.map(Tenant::as_str)) {
            Some(tenant) => IssuerName::new(&self.issuer).of_tenant(tenant),
            None => self.issuer.clone(),
        }
    }

    /// Returns the tenant that a name of this issuer contains.
    fn tenant_in<'n>(&self, iss: &'n str) -> Option<&'n str> {
        let mut templates = self.names().filter(|name| has_placeholder(name)).map(IssuerName::new);
        templates.find_map(|template| template.tenant_of(iss))
    }

    /// Returns the `iss` of the principal for a token with this `iss`, if the name has a
    /// placeholder.
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
    /// Returns the issuer of the principal: the own name of the entry, with the tenant in place of
    /// the placeholder.
    #[must_use]
    pub fn iss(&self) -> &str {
        self.iss.as_deref().unwrap_or(&self.issuer.issuer)
    }
}

/// True if the name of an issuer has a placeholder for the tenant.
#[must_use]
pub fn has_placeholder(name: &str) -> bool {
    name.contains("{tenantid}")
}
