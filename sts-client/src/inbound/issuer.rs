//! Who is believed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use sts_jose::{
    Algorithm, Clock, FileKeySet, KeySet, KeySource, Location, RemoteConfig, RemoteKeySet, check_url, http_client,
};
use sts_protocol::{Tenant, TokenType};
use url::Url;

use super::outside::{Mark, Outside, TenantSource};
use crate::build_error::BuildError;

/// What an issuer may sign with when nobody says otherwise.
const DEFAULT_ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

/// The `typ` of the tokens of an STS (RFC 9068 §2.1).
const STS_TYP: &[&str] = &["at+jwt"];

/// An issuer whose tokens are believed.
///
/// ```
/// # use sts_client::inbound::Issuer;
/// let issuer = Issuer::new("https://login.example.com").tenant_claim("org_id");
/// ```
#[derive(Debug, Clone)]
pub struct Issuer {
    pub(super) issuer: String,
    pub(super) dialect: Dialect,
    keys: Keys,
    algorithms: Vec<Algorithm>,
    tenant: TenantSource,
    scope_claim: Option<String>,
    service_account_claim: Option<Mark>,
    ca_pem: Option<Vec<u8>>,
    bearer_token_file: Option<PathBuf>,
    allow_http: bool,
}

/// What the claims of an issuer mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// What an STS means by them: actors, principal, tenants.
    Sts,
    /// What the issuer's entry says.
    Outside,
}

#[derive(Debug, Clone)]
enum Keys {
    Discovered,
    At(Url),
    Inline(KeySet),
    File(PathBuf),
}

impl Issuer {
    /// The STS: its tokens are RFC 9068 access tokens with `act`, `tenant_id`, or `tenant_ids`. Keys by its metadata.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let sts = Issuer::sts("https://sts.example.com");
    /// ```
    #[must_use]
    pub fn sts(issuer: impl Into<String>) -> Self {
        Self::of(issuer.into(), Dialect::Sts)
    }

    /// Any other issuer, byte for byte its `iss`. Keys by its metadata.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com");
    /// ```
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self::of(issuer.into(), Dialect::Outside)
    }

    fn of(issuer: String, dialect: Dialect) -> Self {
        Self {
            issuer,
            dialect,
            keys: Keys::Discovered,
            algorithms: DEFAULT_ALGORITHMS.to_vec(),
            tenant: TenantSource::None,
            scope_claim: None,
            service_account_claim: None,
            ca_pem: None,
            bearer_token_file: None,
            allow_http: false,
        }
    }

    /// Where its keys are, instead of where its metadata says.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com").jwks_uri("https://login.example.com/jwks".parse().unwrap());
    /// ```
    #[must_use]
    pub fn jwks_uri(mut self, jwks_uri: Url) -> Self {
        self.keys = Keys::At(jwks_uri);
        self
    }

    /// Its keys themselves.
    ///
    /// ```
    /// # use sts_client::{KeySet, inbound::Issuer};
    /// fn issuer(keys: KeySet) -> Issuer {
    ///     Issuer::new("https://login.example.com").jwks(keys)
    /// }
    /// ```
    #[must_use]
    pub fn jwks(mut self, keys: KeySet) -> Self {
        self.keys = Keys::Inline(keys);
        self
    }

    /// The file that holds its keys, which is followed.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com").jwks_file("/etc/agent/jwks.json");
    /// ```
    #[must_use]
    pub fn jwks_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keys = Keys::File(path.into());
        self
    }

    /// What it may sign with. Default RS256, ES256, `EdDSA`.
    ///
    /// ```
    /// # use sts_client::{Algorithm, inbound::Issuer};
    /// let issuer = Issuer::new("https://login.example.com").algorithms([Algorithm::Rs256]);
    /// ```
    #[must_use]
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// The claim that holds the tenant, by its literal name. A token without it is refused. Replaces [`Issuer::tenant`].
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com").tenant_claim("org_id");
    /// ```
    #[must_use]
    pub fn tenant_claim(mut self, claim: impl Into<String>) -> Self {
        self.tenant = TenantSource::Claim(claim.into());
        self
    }

    /// The tenant of all its users. Replaces [`Issuer::tenant_claim`]; with neither its tokens have no tenant.
    ///
    /// ```
    /// # use sts_client::{Tenant, inbound::Issuer};
    /// let issuer = Issuer::new("https://login.example.com").tenant(Tenant::new("acme").unwrap());
    /// ```
    #[must_use]
    pub fn tenant(mut self, tenant: Tenant) -> Self {
        self.tenant = TenantSource::Fixed(tenant);
        self
    }

    /// The claim that holds the scope, as a string or an array. Default `scope`, and where that is absent `scp`.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com").scope_claim("permissions");
    /// ```
    #[must_use]
    pub fn scope_claim(mut self, claim: impl Into<String>) -> Self {
        self.scope_claim = Some(claim.into());
        self
    }

    /// The claim that marks the token of a service account, which an agent got for itself and no user stands behind: with that value, or
    /// with any value where `None`. Auth0: `gty`, `client-credentials`. Entra ID: `idtyp`, `app`. Keycloak: `client_id`, `None`. A token
    /// with `tenant_ids`, or whose `sub` is its `client_id`, `azp` or `cid`, is a service account's without that.
    ///
    /// Such an account may name the tenants that [`VerifierBuilder::service_account`](super::VerifierBuilder::service_account) gives it,
    /// and without an entry there no tenant.
    ///
    /// ```
    /// use sts_client::inbound::Issuer;
    ///
    /// let auth0 = Issuer::new("https://shop.eu.auth0.com/").service_account_claim("gty", Some("client-credentials"));
    /// ```
    #[must_use]
    pub fn service_account_claim(mut self, claim: impl Into<String>, value: Option<&str>) -> Self {
        self.service_account_claim = Some(Mark { claim: claim.into(), value: value.map(str::to_owned) });
        self
    }

    /// Trusts exactly these certificate authorities, in PEM, where its keys are fetched.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// fn issuer(pem: Vec<u8>) -> Issuer {
    ///     Issuer::new("https://login.internal").ca_pem(pem)
    /// }
    /// ```
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem);
        self
    }

    /// A file whose content is sent as a bearer token where its keys are fetched (Kubernetes): to a `jwks_uri` that was set, or else to
    /// the origin of the issuer, and to no other origin that discovery names.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let cluster = Issuer::new("https://kubernetes.default.svc")
    ///     .jwks_bearer_token_file("/var/run/secrets/kubernetes.io/serviceaccount/token");
    /// ```
    #[must_use]
    pub fn jwks_bearer_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.bearer_token_file = Some(path.into());
        self
    }

    /// Lets its keys be fetched over plain http, though it is not loopback.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("http://idp.test:8080").allow_http();
    /// ```
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Checks the entry. Opens no connection and reads no keys yet.
    pub(super) fn trust(
        self,
        service_accounts: HashMap<String, Vec<Tenant>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<TrustedIssuer, BuildError> {
        if self.algorithms.is_empty() {
            return Err(self.contradiction("may sign with no algorithm"));
        }
        let reading = match (self.dialect, &self.tenant, &self.scope_claim, &self.service_account_claim) {
            (Dialect::Sts, TenantSource::None, None, None) => Reading::Sts,
            (Dialect::Sts, _, _, _) => {
                return Err(self.contradiction("is an STS, whose tokens say tenant, scope and kind themselves"));
            }
            (Dialect::Outside, tenant, scope_claim, service_account_claim) => Reading::Outside(Outside {
                tenant: tenant.clone(),
                scope_claim: scope_claim.clone(),
                service_account_claim: service_account_claim.clone(),
                service_accounts,
            }),
        };
        let keys = self.key_source(clock)?;
        Ok(TrustedIssuer { issuer: self.issuer, algorithms: self.algorithms, keys, reading })
    }

    fn key_source(&self, clock: &Arc<dyn Clock>) -> Result<KeySource, BuildError> {
        let location = match &self.keys {
            Keys::Inline(keys) if keys.is_empty() => return Err(self.contradiction("has no key that can be used")),
            Keys::Inline(keys) => return Ok(KeySource::Inline(keys.clone())),
            Keys::File(path) => return Ok(KeySource::File(FileKeySet::new(path, Arc::clone(clock)))),
            Keys::At(url) => {
                self.check(url)?;
                Location::JwksUri(url.clone())
            }
            Keys::Discovered => {
                let url = Url::parse(&self.issuer)
                    .map_err(|error| self.contradiction(&format!("is no url to discover keys at ({error})")))?;
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(self.contradiction("has a query or a fragment, and keys are to be discovered"));
                }
                self.check(&url)?;
                Location::Discovery
            }
        };
        Ok(KeySource::Remote(RemoteKeySet::new(RemoteConfig {
            issuer: self.issuer.clone(),
            location,
            http: http_client(self.ca_pem.as_deref())?.into(),
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

/// An issuer as the verifier knows it.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    pub(super) issuer: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) keys: KeySource,
    pub(super) reading: Reading,
}

/// How the claims of an issuer are read.
#[derive(Debug)]
pub(super) enum Reading {
    /// As those of an STS.
    Sts,
    /// As its entry says.
    Outside(Outside),
}

impl TrustedIssuer {
    /// The `typ` that its tokens may bear.
    pub(super) fn allowed_typ(&self) -> &'static [&'static str] {
        match self.reading {
            Reading::Sts => STS_TYP,
            Reading::Outside(_) => TokenType::AccessToken.allowed_typ(),
        }
    }
}
