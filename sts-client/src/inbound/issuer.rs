//! Who is believed.

use std::path::PathBuf;
use std::time::Duration;

use sts_jose::{Algorithm, KeySet};
use sts_protocol::Tenant;
use url::Url;

use super::outside::{Mark, TenantSource};

/// What an issuer may sign with when nobody says otherwise.
const DEFAULT_ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

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
    pub(super) keys: Keys,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) aliases: Vec<String>,
    pub(super) tenant: TenantSource<Selectors>,
    pub(super) roles_claim: Option<Selectors>,
    pub(super) scope_claim: Option<Selectors>,
    pub(super) service_account_claim: Option<Mark>,
    pub(super) audience_claim: Option<Selectors>,
    pub(super) subject_claim: Option<Selectors>,
    pub(super) subject_prefix: Option<String>,
    pub(super) max_token_age: Option<Duration>,
    pub(super) authorities: Option<Authorities>,
    pub(super) bearer_token_file: Option<PathBuf>,
    pub(super) allow_http: bool,
}

/// The claims that an issuer puts a value into, of which the first with a value counts: literal names, or JSON Pointers, which begin with
/// `/`.
///
/// ```
/// use sts_client::inbound::Selectors;
///
/// let one = Selectors::from("org_id");
/// let several = Selectors::from(["organization", "/organization/*"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors(pub(super) Vec<String>);

impl From<&str> for Selectors {
    fn from(selector: &str) -> Self {
        Self(vec![selector.to_owned()])
    }
}

impl From<String> for Selectors {
    fn from(selector: String) -> Self {
        Self(vec![selector])
    }
}

impl From<Vec<String>> for Selectors {
    fn from(selectors: Vec<String>) -> Self {
        Self(selectors)
    }
}

impl<const N: usize> From<[&str; N]> for Selectors {
    fn from(selectors: [&str; N]) -> Self {
        Self(selectors.map(str::to_owned).to_vec())
    }
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
pub(super) enum Authorities {
    Pem(Vec<u8>),
    File(PathBuf),
}

#[derive(Debug, Clone)]
pub(super) enum Keys {
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
            aliases: Vec::new(),
            tenant: TenantSource::None,
            roles_claim: None,
            scope_claim: None,
            service_account_claim: None,
            audience_claim: None,
            subject_claim: None,
            subject_prefix: None,
            max_token_age: None,
            authorities: None,
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

    /// Other `iss` values of the same issuer. Their tokens name the principals of the issuer itself. `{tenantid}` in the issuer and in
    /// its aliases stands for one segment of the path, which must be the tenant.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let google = Issuer::new("https://accounts.google.com").aliases(["accounts.google.com"]);
    /// ```
    #[must_use]
    pub fn aliases<A: Into<String>>(mut self, aliases: impl IntoIterator<Item = A>) -> Self {
        self.aliases = aliases.into_iter().map(Into::into).collect();
        self
    }

    /// The claim that holds the tenant, by its literal name or a JSON Pointer, or several of which the first with a value counts. A
    /// token without it is refused. Replaces [`Issuer::tenant`].
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let entra = Issuer::new("https://login.example.com").tenant_claim("tid");
    /// let keycloak = Issuer::new("https://login.example.com").tenant_claim(["organization", "/organization/*"]);
    /// ```
    #[must_use]
    pub fn tenant_claim(mut self, claim: impl Into<Selectors>) -> Self {
        self.tenant = TenantSource::Claim(claim.into());
        self
    }

    /// The claim that says whom a token is for. Default `aud`.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let cognito = Issuer::new("https://cognito.example").audience_claim(["aud", "client_id"]);
    /// ```
    #[must_use]
    pub fn audience_claim(mut self, claim: impl Into<Selectors>) -> Self {
        self.audience_claim = Some(claim.into());
        self
    }

    /// The claim that names the user. Default `sub`. The principal is the issuer with its value.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let entra = Issuer::new("https://login.example.com").subject_claim(["oid", "sub"]);
    /// ```
    #[must_use]
    pub fn subject_claim(mut self, claim: impl Into<Selectors>) -> Self {
        self.subject_claim = Some(claim.into());
        self
    }

    /// The text that is put before the names of its users where a name stands without its issuer. Default none. The subject of a
    /// [`Caller`](crate::Caller) keeps the name that the issuer gives.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let partner = Issuer::new("https://login.partner.example").subject_prefix("partner:");
    /// ```
    #[must_use]
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.subject_prefix = Some(prefix.into());
        self
    }

    /// The greatest age of its tokens by `iat`. A token without `iat` may live no longer than that. Default 24 hours.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com").max_token_age(Duration::from_secs(3600));
    /// ```
    #[must_use]
    pub fn max_token_age(mut self, age: Duration) -> Self {
        self.max_token_age = Some(age);
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

    /// The claim that holds the roles of a user: a string, or an array of strings or of objects with a `name`. Default `roles`.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let keycloak = Issuer::new("https://login.example.com").roles_claim("/realm_access/roles");
    /// ```
    #[must_use]
    pub fn roles_claim(mut self, claim: impl Into<Selectors>) -> Self {
        self.roles_claim = Some(claim.into());
        self
    }

    /// The claim that holds the scope, as a string or an array. Default `scope`, and where that is absent `scp`.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com").scope_claim("permissions");
    /// ```
    #[must_use]
    pub fn scope_claim(mut self, claim: impl Into<Selectors>) -> Self {
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
        self.authorities = Some(Authorities::Pem(pem));
        self
    }

    /// Trusts exactly the certificate authorities of this PEM file where its keys are fetched. The file is read again when it changes.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com").ca_file("/etc/ssl/private-ca.pem");
    /// ```
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities = Some(Authorities::File(path.into()));
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
}
