//! An issuer with validated settings and a key source, as the verifier uses it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sts_jose::{
    Algorithm, ClaimSelector, ClaimSelectors, Claims, Clock, Egress, FileKeySet, IssuerName, KeySetClient, KeySource,
    Location, RemoteConfig, RemoteKeySet, Slot, TrustDomain, check_url, http_client_via,
};
use sts_protocol::Tenant;
use url::Url;

use super::issuer::{Authorities, Dialect, Issuer, Keys, Selectors};
use super::outside::{Outside, TenantSource};
use super::why::Why;
use crate::build_error::BuildError;

/// The default maximum age of a token.
const DEFAULT_MAX_TOKEN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer with validated settings and a key source.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    pub(super) issuer: String,
    /// The name of the issuer, followed by its aliases.
    pub(super) names: Vec<IssuerName>,
    pub(super) audience_claim: ClaimSelectors,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) keys: KeySource,
    pub(super) reading: Reading,
}

/// The rules for reading the claims of an issuer.
#[derive(Debug)]
pub(super) enum Reading {
    /// The rules of an STS.
    Sts,
    /// The rules in the issuer's configuration.
    Outside(Box<Outside>),
}

impl TrustedIssuer {
    /// Returns the issuer of the principal of a token with this `iss`.
    ///
    /// # Errors
    /// [`Why::TenantClaim`] if `iss` contains a tenant segment that differs from the tenant claim.
    pub(super) fn principal_iss(&self, iss: &str, claims: &Claims) -> Result<String, Why> {
        let Some(segment) = self.names.iter().find_map(|name| name.tenant_of(iss)) else {
            return Ok(self.issuer.clone());
        };
        let Reading::Outside(outside) = &self.reading else { return Err(Why::TenantClaim) };
        let TenantSource::Claim(selectors) = &outside.tenant else { return Err(Why::TenantClaim) };
        if selectors.one(claims).or(Err(Why::TenantClaim))?.as_deref() != Some(segment) {
            return Err(Why::TenantClaim);
        }
        Ok(self.names.first().map_or_else(|| self.issuer.clone(), |own| own.of_tenant(segment)))
    }

    /// True if its tokens may bear this `typ`.
    pub(super) fn allows_typ(&self, typ: Option<&str>) -> bool {
        match self.reading {
            Reading::Sts => Slot::IssuedToken.accepts(typ),
            Reading::Outside(_) => {
                let is_svid = TrustDomain::of_issuer(&self.issuer).is_some();
                let slot = if is_svid { Slot::JwtSvid } else { Slot::AccessToken };
                slot.accepts(typ)
            }
        }
    }
}

impl Issuer {
    /// Validates the issuer. Opens no connection and reads no keys.
    pub(super) fn trust(
        self,
        service_accounts: HashMap<String, Vec<Tenant>>,
        clock: &Arc<dyn Clock>,
        egress: &Egress,
    ) -> Result<TrustedIssuer, BuildError> {
        if self.algorithms.is_empty() {
            return Err(self.contradiction("may sign with no algorithm"));
        }
        let reading = match self.dialect {
            Dialect::Sts if self.describes_claims() => {
                return Err(self.contradiction("is an STS, whose tokens contain tenant, scope and subject"));
            }
            Dialect::Sts => Reading::Sts,
            Dialect::Outside => Reading::Outside(Box::new(self.outside(service_accounts)?)),
        };
        let audience_claim = self.selectors(self.audience_claim.as_ref(), &["aud"])?;
        let names = self.names()?;
        // All other requests to an STS are sent directly too.
        let direct = Egress::default();
        let keys = self.key_source(clock, if matches!(reading, Reading::Sts) { &direct } else { egress })?;
        Ok(TrustedIssuer { issuer: self.issuer, names, algorithms: self.algorithms, keys, audience_claim, reading })
    }

    fn describes_claims(&self) -> bool {
        let selectors = [&self.roles_claim, &self.scope_claim, &self.audience_claim, &self.subject_claim];
        !matches!(self.tenant, TenantSource::None)
            || self.tenants.is_some()
            || self.service_account_claim.is_some()
            || selectors.into_iter().any(Option::is_some)
            || self.subject_prefix.is_some()
            || self.max_token_age.is_some()
            || !self.aliases.is_empty()
    }

    fn outside(&self, service_accounts: HashMap<String, Vec<Tenant>>) -> Result<Outside, BuildError> {
        let tenant = match &self.tenant {
            TenantSource::None => TenantSource::None,
            TenantSource::Fixed(tenant) => TenantSource::Fixed(tenant.clone()),
            TenantSource::Claim(selectors) => TenantSource::Claim(self.selectors(Some(selectors), &[])?),
        };
        self.check_tenants()?;
        if self.issuer.starts_with("spiffe://") {
            self.check_trust_domain()?;
        }
        let max_token_age = self.max_token_age.unwrap_or(DEFAULT_MAX_TOKEN_AGE);
        Ok(Outside {
            tenant,
            tenants: self.tenants.clone(),
            roles_claim: self.selectors(self.roles_claim.as_ref(), &["roles"])?,
            scope_claim: self.selectors(self.scope_claim.as_ref(), &["scope", "scp"])?,
            service_account_claim: self.service_account_claim.clone(),
            subject_claim: self.selectors(self.subject_claim.as_ref(), &["sub"])?,
            subject_prefix: self.subject_prefix.clone().unwrap_or_default(),
            max_token_age: SignedDuration::try_from(max_token_age).unwrap_or(SignedDuration::MAX),
            service_accounts,
            is_trust_domain: TrustDomain::of_issuer(&self.issuer).is_some(),
        })
    }

    /// The tenants that it may assert need a place where its tokens say theirs.
    fn check_tenants(&self) -> Result<(), BuildError> {
        match (&self.tenants, &self.tenant) {
            (Some(tenants), _) if tenants.is_empty() => {
                Err(self.contradiction("may assert no tenant: tenants is empty"))
            }
            (Some(_), TenantSource::None) => {
                Err(self
                    .contradiction("has tenants, and neither tenant_claim nor tenant: all its tokens would be refused"))
            }
            (Some(tenants), TenantSource::Fixed(tenant)) if !tenants.contains(tenant) => {
                Err(self.contradiction("has a tenant that is not among its tenants"))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// A SPIFFE ID stands in `sub`.
    fn check_trust_domain(&self) -> Result<(), BuildError> {
        if TrustDomain::of_issuer(&self.issuer).is_none() {
            return Err(self.contradiction("is not a SPIFFE trust domain, such as spiffe://shop.example"));
        }
        if self.subject_claim.as_ref().is_some_and(|Selectors(claims)| *claims != ["sub"]) {
            return Err(
                self.contradiction("is a SPIFFE trust domain, whose identities are always in sub (subject_claim)")
            );
        }
        Ok(())
    }

    fn selectors(&self, given: Option<&Selectors>, default: &[&str]) -> Result<ClaimSelectors, BuildError> {
        let parse = |text: &str| {
            let selector: Result<ClaimSelector, _> = text.parse();
            selector.map_err(|error| self.contradiction(&format!("has the claim selector {text:?}: {error}")))
        };
        let parsed = match given {
            Some(Selectors(texts)) => texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?,
            None => default.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?,
        };
        ClaimSelectors::try_from(parsed).map_err(|error| self.contradiction(&format!("has no claim selector: {error}")))
    }

    /// Returns the names of the issuer. A name with a tenant placeholder requires a tenant claim.
    fn names(&self) -> Result<Vec<IssuerName>, BuildError> {
        let names: Vec<IssuerName> =
            std::iter::once(&self.issuer).chain(&self.aliases).map(|name| IssuerName::new(name)).collect();
        let is_odd =
            |name: &str| name.matches("{tenantid}").count() != usize::from(IssuerName::new(name).is_template());
        if let Some(name) = std::iter::once(&self.issuer).chain(&self.aliases).find(|name| is_odd(name)) {
            return Err(self.contradiction(&format!("has the name {name:?}: {{tenantid}} must be one whole segment")));
        }
        let has_template = names.iter().any(|name| name.is_template());
        if has_template && !matches!(self.tenant, TenantSource::Claim(_)) {
            return Err(self.contradiction("has {tenantid}, but no tenant_claim to compare it with"));
        }
        if has_template && !names.iter().all(IssuerName::is_template) {
            return Err(self.contradiction("has {tenantid} in some of its names and not in all"));
        }
        Ok(names)
    }

    fn key_source(&self, clock: &Arc<dyn Clock>, egress: &Egress) -> Result<KeySource, BuildError> {
        let location =
            match &self.keys {
                Keys::Inline(keys) if keys.is_empty() => return Err(self.contradiction("has no key that can be used")),
                Keys::Inline(keys) => return Ok(KeySource::inline(&self.issuer, keys.clone())),
                Keys::File(path) => return Ok(KeySource::File(FileKeySet::new(path, Arc::clone(clock)))),
                Keys::At(url) => {
                    self.check(url)?;
                    Location::JwksUri(url.clone())
                }
                Keys::Discovered if self.issuer.starts_with("spiffe://") => {
                    return Err(self
                        .contradiction("is a SPIFFE trust domain, and its keys are not discovered: give its bundle"));
                }
                Keys::Discovered if IssuerName::new(&self.issuer).is_template() => {
                    return Err(self
                        .contradiction("has {tenantid}, so its keys are not discovered: give jwks_uri or jwks_file"));
                }
                Keys::Discovered => {
                    let url = Url::parse(&self.issuer)
                        .map_err(|error| self.contradiction(&format!("is not a url to discover keys at ({error})")))?;
                    if url.query().is_some() || url.fragment().is_some() {
                        return Err(self.contradiction("has a query or a fragment, so its keys cannot be discovered"));
                    }
                    self.check(&url)?;
                    Location::Discovery
                }
            };
        // A proxy reads what goes through it in clear, and a bearer token is for the origin alone.
        let egress = match &self.bearer_token_file {
            Some(_) => egress.clone().for_https_alone(),
            None => egress.clone(),
        };
        let http = match &self.authorities {
            None => http_client_via(&egress, None)?.into(),
            Some(Authorities::Pem(pem)) => http_client_via(&egress, Some(pem))?.into(),
            Some(Authorities::File(path)) => KeySetClient::with_ca_file(path, &egress),
        };
        Ok(KeySource::Remote(RemoteKeySet::new(RemoteConfig {
            issuer: self.issuer.clone(),
            location,
            http,
            bearer_token_file: self.bearer_token_file.clone(),
            allow_http: self.allow_http,
            clock: Arc::clone(clock),
        })))
    }

    fn check(&self, url: &Url) -> Result<(), BuildError> {
        check_url(url, self.allow_http).map_err(|error| {
            self.contradiction(&format!("has keys at {}: {error}", url.origin().ascii_serialization()))
        })
    }

    fn contradiction(&self, what: &str) -> BuildError {
        BuildError::contradiction(format!("the issuer {:?} {what}", self.issuer))
    }
}
