//! Trusted issuers.

use std::path::PathBuf;
use std::time::Duration;

use sts_jose::{Algorithm, KeySet};
use sts_protocol::Tenant;
use url::Url;

use super::outside::{Mark, TenantSource};

/// The default signature algorithms of an issuer.
const DEFAULT_ALGORITHMS: [Algorithm; 3] = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

/// A trusted issuer of inbound tokens.
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
    pub(super) tenants: Option<Vec<Tenant>>,
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

/// One or more claim selectors. The first selector that finds a value applies. A selector is the
/// literal name of a claim, or a JSON Pointer, which starts with `/`.
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

/// The meaning of an issuer's claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The claims of an STS: actors, principal, tenants.
    Sts,
    /// The claims that the issuer's configuration describes.
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
    /// Returns an STS. Its tokens are RFC 9068 access tokens with `act`, `tenant_id`, or
    /// `tenant_ids`. Its metadata names the keys.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let sts = Issuer::sts("https://sts.example.com");
    /// ```
    #[must_use]
    pub fn sts(issuer: impl Into<String>) -> Self {
        Self::of(issuer.into(), Dialect::Sts)
    }

    /// Returns an issuer that is not an STS. `issuer` must equal the `iss` of its tokens byte for
    /// byte. Its metadata names the keys.
    ///
    /// `spiffe://trust-domain` is a SPIFFE trust domain, whose tokens (JWT-SVIDs) name it in `sub` and need no `iss`. Its bundle is its key
    /// set, and must be given. Its identities are workloads: each is a service account.
    ///
    /// ```
    /// # use sts_client::inbound::Issuer;
    /// let issuer = Issuer::new("https://login.example.com");
    /// let domain = Issuer::new("spiffe://shop.example").jwks_file("/run/spire/bundle.json");
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
            tenants: None,
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

    /// Sets the URL of the keys and disables discovery.
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

    /// Sets the keys directly, so that no keys are fetched.
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

    /// Sets the file that holds the keys. The file is read again when it changes.
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

    /// Sets the allowed signature algorithms. Default RS256, ES256, `EdDSA`.
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

    /// Sets other `iss` values of the same issuer. Their tokens name principals of the issuer
    /// itself.
    ///
    /// `{tenantid}` in the issuer and in its aliases matches a single path segment, which must be
    /// the tenant.
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

    /// Sets the claim that holds the tenant: a literal name, a JSON Pointer, or several selectors,
    /// of which the first with a value applies. A token without the claim is refused. Replaces
    /// [`Issuer::tenant`].
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

    /// Sets the claim that holds the audience of a token. Default `aud`.
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

    /// Sets the claim that names the user. Default `sub`. The principal is the pair of the issuer
    /// and this value.
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

    /// Sets a prefix for user names in places that show a name without its issuer. Default none.
    /// The subject of a [`Delegation`](crate::Delegation) keeps the name that the issuer gives.
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

    /// Sets the maximum age of tokens by `iat`. A token without `iat` is refused if it expires
    /// later than this age from now. Default 24 hours.
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

    /// Sets a fixed tenant for all users of the issuer. Replaces [`Issuer::tenant_claim`]. Without
    /// either, the tokens have no tenant.
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

    /// The tenants that it may assert. A token of another tenant, or of none, is refused. Default: every tenant, and tokens without one.
    ///
    /// ```
    /// # use sts_client::{Tenant, inbound::Issuer};
    /// let tenants = ["11111111-2222-3333-4444-555555555555"].map(|tenant| Tenant::new(tenant).unwrap());
    /// let entra = Issuer::new("https://login.microsoftonline.com/{tenantid}/v2.0").tenant_claim("tid").tenants(tenants);
    /// ```
    #[must_use]
    pub fn tenants(mut self, tenants: impl IntoIterator<Item = Tenant>) -> Self {
        self.tenants = Some(tenants.into_iter().collect());
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

    /// Sets the claim that holds the scope, as a string or an array. Default `scope`, or `scp` if
    /// `scope` is absent.
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

    /// Sets the claim that marks the token of a service account: a token that an agent requested
    /// for itself, without a user. The claim must have this value; with `None`, any value but
    /// `null` and `false` counts. Examples: Auth0 `gty`, `client-credentials`; Entra ID `idtyp`,
    /// `app`; Keycloak `client_id`, `None`.
    ///
    /// Two kinds of token belong to a service account even without this setting: a token with
    /// `tenant_ids`, and a token whose `sub` equals its `client_id`, `azp` or `cid`.
    ///
    /// Such an account may name the tenants that
    /// [`VerifierBuilder::service_account`](super::VerifierBuilder::service_account) grants.
    /// Without an entry there, it may name no tenant.
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

    /// Trusts only these certificate authorities, in PEM, when fetching the keys.
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

    /// Trusts only the certificate authorities of this PEM file when fetching the keys. The file is
    /// read again when it changes.
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

    /// Sets a file whose content is sent as a bearer token when fetching the keys (Kubernetes). The
    /// token is sent to a configured `jwks_uri`, or else to the origin of the issuer. It is never
    /// sent to another origin that discovery names.
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

    /// Allows fetching the keys over plain http from a host that is not loopback.
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
