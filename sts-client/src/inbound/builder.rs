//! The builder of a verifier.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use secrecy::SecretSlice;
use sts_jose::{Clock, Egress, Entropy, SystemClock, SystemEntropy, check_url};
use sts_protocol::{Scope, ScopeToken, Tenant};
use url::Url;

use super::binding::Bindings;
use super::certificate::{ClientCertificateHeader, TrustedProxies};
use super::dpop::{self, Dpop};
use super::introspected::Introspected;
use super::issuer::{Dialect, Issuer};
use super::metadata::ProtectedResource;
use super::nonces::OwnNonces;
use super::refusal_log::RefusalLog;
use super::subject_prefixes::SubjectPrefixes;
use super::tickets::Tickets;
use super::{Verifier, VerifierInner};
use crate::build_error::BuildError;
use crate::call::Challenges;
use crate::dedup::{DedupStore, MemoryDedupStore, MemoryLimits};
use crate::events::EventSinks;
use crate::exchange::Sts;

/// Sets up a [`Verifier`].
///
/// ```
/// # use sts_client::{Verifier, inbound::Issuer};
/// let builder = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts("https://sts.example.com"));
/// ```
#[derive(Debug)]
pub struct VerifierBuilder {
    audiences: Vec<String>,
    issuers: Vec<Issuer>,
    required: Vec<ScopeToken>,
    service_accounts: Vec<ServiceAccountEntry>,
    resource: Option<Url>,
    introspection: Option<Sts>,
    public_url: Option<Url>,
    is_dpop_required: bool,
    dpop_nonce_secret: Option<SecretSlice<u8>>,
    replays: Option<Arc<dyn DedupStore>>,
    trusted_proxies: Vec<String>,
    client_certificate_header: ClientCertificateHeader,
    egress: Egress,
    sinks: EventSinks,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

#[derive(Debug)]
struct ServiceAccountEntry {
    issuer: String,
    subject: String,
    tenants: Vec<Tenant>,
}

impl VerifierBuilder {
    pub(super) fn new(audiences: Vec<String>) -> Self {
        Self {
            audiences,
            issuers: Vec::new(),
            required: Vec::new(),
            service_accounts: Vec::new(),
            resource: None,
            introspection: None,
            public_url: None,
            is_dpop_required: false,
            dpop_nonce_secret: None,
            replays: None,
            trusted_proxies: Vec::new(),
            client_certificate_header: ClientCertificateHeader::default(),
            egress: Egress::default(),
            sinks: EventSinks::default(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Adds a trusted issuer.
    ///
    /// ```
    /// # use sts_client::{Verifier, inbound::Issuer};
    /// let builder = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts("https://sts.example.com"));
    /// ```
    #[must_use]
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Refuses tokens that lack this scope.
    ///
    /// ```
    /// # use sts_client::{ScopeToken, Verifier};
    /// let builder = Verifier::builder(["inventory-agent"]).require_scope(ScopeToken::new("stock:read").unwrap());
    /// ```
    #[must_use]
    pub fn require_scope(mut self, scope: ScopeToken) -> Self {
        self.required.push(scope);
        self
    }

    /// Declares a subject of an issuer other than the STS as a service account that may name these
    /// tenants.
    ///
    /// ```
    /// # use sts_client::{Tenant, Verifier};
    /// let tenants = [Tenant::new("acme").unwrap()];
    /// let builder = Verifier::builder(["inventory-agent"]).service_account("https://login.example.com", "nightly", tenants);
    /// ```
    #[must_use]
    pub fn service_account(mut self, issuer: &str, subject: &str, tenants: impl IntoIterator<Item = Tenant>) -> Self {
        self.service_accounts.push(ServiceAccountEntry {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            tenants: tenants.into_iter().collect(),
        });
        self
    }

    /// Sets the URI of this agent as a protected resource (RFC 9728 §1.2). Its metadata is served
    /// and named in refusals. Must be an http(s) URL without query and fragment.
    ///
    /// ```
    /// # use sts_client::Verifier;
    /// let builder = Verifier::builder(["inventory-agent"]).resource("https://inventory.shop.example/".parse().unwrap());
    /// ```
    #[must_use]
    pub fn resource(mut self, resource: Url) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Introspects every token of this STS once per request. While the STS is unreachable, requests
    /// with such tokens are refused with 503.
    ///
    /// ```
    /// # use sts_client::{Sts, Verifier};
    /// fn introspecting(sts: Sts) -> sts_client::inbound::VerifierBuilder {
    ///     Verifier::builder(["inventory-agent"]).introspect(sts)
    /// }
    /// ```
    #[must_use]
    pub fn introspect(mut self, sts: Sts) -> Self {
        self.introspection = Some(sts);
        self
    }

    /// Sets the URL at which callers reach the root of this agent, and accepts tokens that are bound to
    /// a key (DPoP, RFC 9449): the proof of a request must name this URL with the path of the request
    /// behind it. Behind a proxy it is the URL of the proxy. Must be an http(s) URL without query and
    /// fragment.
    ///
    /// ```
    /// # use sts_client::Verifier;
    /// let builder = Verifier::builder(["inventory-agent"]).public_url("https://inventory.shop.example/".parse().unwrap());
    /// ```
    #[must_use]
    pub fn public_url(mut self, url: Url) -> Self {
        self.public_url = Some(url);
        self
    }

    /// Refuses bearer tokens: every token must be bound to a key, and every request must prove it.
    /// Needs [`Self::public_url`].
    ///
    /// ```
    /// # use sts_client::Verifier;
    /// let url = "https://inventory.shop.example/".parse().unwrap();
    /// let builder = Verifier::builder(["inventory-agent"]).public_url(url).require_dpop();
    /// ```
    #[must_use]
    pub fn require_dpop(mut self) -> Self {
        self.is_dpop_required = true;
        self
    }

    /// Demands a nonce of this agent in each proof (RFC 9449 §9), so that no proof can be made in
    /// advance. The nonces are made of this secret of 32 bytes or more, and change each minute. All
    /// replicas need the same secret. Needs [`Self::public_url`].
    ///
    /// ```
    /// # use sts_client::{Entropy as _, SystemEntropy, Verifier, secrecy::SecretSlice};
    /// let mut secret = vec![0; 32];
    /// SystemEntropy.fill(&mut secret);
    /// let url = "https://inventory.shop.example/".parse().unwrap();
    /// let builder = Verifier::builder(["inventory-agent"]).public_url(url).dpop_nonce_secret(SecretSlice::from(secret));
    /// ```
    #[must_use]
    pub fn dpop_nonce_secret(mut self, secret: SecretSlice<u8>) -> Self {
        self.dpop_nonce_secret = Some(secret);
        self
    }

    /// Sets the store in which the proofs of requests are spent. Default: the memory of this process.
    /// Replicas need one that they share, or a proof can be replayed at another replica. Needs
    /// [`Self::public_url`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sts_client::{Verifier, dedup::DedupStore};
    /// fn shared(store: Arc<dyn DedupStore>) -> sts_client::inbound::VerifierBuilder {
    ///     let url = "https://inventory.shop.example/".parse().unwrap();
    ///     Verifier::builder(["inventory-agent"]).public_url(url).replays(store)
    /// }
    /// ```
    #[must_use]
    pub fn replays(mut self, store: Arc<dyn DedupStore>) -> Self {
        self.replays = Some(store);
        self
    }

    /// Adds a proxy, or a network of proxies, whose header names the client certificate of the caller:
    /// `Client-Cert` (RFC 9440), or that of [`Self::client_certificate_header`]. The proxy must remove this header from the requests that it
    /// receives. The agent must know the address of its peer
    /// ([`PeerConnection`](super::PeerConnection)).
    ///
    /// ```
    /// # use sts_client::Verifier;
    /// let builder = Verifier::builder(["inventory-agent"]).trusted_proxy("10.0.0.0/8");
    /// ```
    #[must_use]
    pub fn trusted_proxy(mut self, network: impl Into<String>) -> Self {
        self.trusted_proxies.push(network.into());
        self
    }

    /// Sets the header in which the trusted proxies name the client certificate of the caller. Needs
    /// [`Self::trusted_proxy`].
    ///
    /// ```
    /// # use sts_client::Verifier;
    /// use sts_client::inbound::ClientCertificateHeader;
    ///
    /// let header = ClientCertificateHeader::XForwardedClientCert;
    /// let builder = Verifier::builder(["inventory-agent"]).trusted_proxy("10.0.0.0/8").client_certificate_header(header);
    /// ```
    #[must_use]
    pub fn client_certificate_header(mut self, header: ClientCertificateHeader) -> Self {
        self.client_certificate_header = header;
        self
    }

    /// Sets the proxies for fetching the keys of outside issuers; default none. The keys of an STS are
    /// fetched directly. [`Verifier::from_toml`] takes the proxies of the table `[http]`.
    ///
    /// ```
    /// use sts_client::{Egress, Verifier};
    ///
    /// let egress = Egress::from_environment(std::env::vars())?;
    /// let builder = Verifier::builder(["inventory-agent"]).egress(egress);
    /// # Ok::<(), sts_client::EgressError>(())
    /// ```
    #[must_use]
    pub fn egress(mut self, egress: Egress) -> Self {
        self.egress = egress;
        self
    }

    /// Says what happens to requests at each boundary.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sts_client::{Verifier, events::{EventSinks, ToTracing}};
    /// let builder = Verifier::builder(["inventory-agent"]).events(EventSinks::to(Arc::new(ToTracing)));
    /// ```
    #[must_use]
    pub fn events(mut self, sinks: EventSinks) -> Self {
        self.sinks = sinks;
        self
    }

    /// Sets the clock. Default [`SystemClock`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sts_client::{SystemClock, Verifier};
    /// let builder = Verifier::builder(["inventory-agent"]).clock(Arc::new(SystemClock));
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness. Default [`SystemEntropy`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sts_client::{SystemEntropy, Verifier};
    /// let builder = Verifier::builder(["inventory-agent"]).entropy(Arc::new(SystemEntropy));
    /// ```
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Builds the verifier. Opens no connection.
    ///
    /// ```
    /// # use sts_client::{Verifier, inbound::Issuer};
    /// let verifier = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts("https://sts.example.com")).build()?;
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Contradiction`] if:
    /// - there is no audience, or an empty audience;
    /// - there is no issuer, an issuer appears twice, or the keys of an issuer may not be fetched;
    /// - a service account belongs to an STS or to an issuer that the verifier does not trust;
    /// - the resource is not an http(s) URL;
    /// - the STS for introspection is not a trusted issuer;
    /// - the public URL is not an http(s) URL, or a setting that needs it is there without it;
    /// - a trusted proxy is no address and no network, or a header is set without any.
    ///
    /// [`BuildError::Http`] if the HTTP client cannot be built.
    pub fn build(self) -> Result<Verifier, BuildError> {
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(BuildError::contradiction("a verifier needs an audience, and none may be empty"));
        }
        if self.issuers.is_empty() {
            return Err(BuildError::contradiction("a verifier needs an issuer"));
        }
        if let Some(sts) = &self.introspection {
            let is_it = |issuer: &Issuer| issuer.dialect == Dialect::Sts && issuer.issuer == sts.issuer();
            if !self.issuers.iter().any(is_it) {
                let what =
                    format!("introspection is configured for {:?}, which is not an STS of this verifier", sts.issuer());
                return Err(BuildError::contradiction(what));
            }
        }
        let required: Scope = self.required.into_iter().collect();
        let dpop = match self.public_url {
            Some(url) => {
                check_plain_url("public url", &url)?;
                let nonces = self.dpop_nonce_secret.as_ref().map(OwnNonces::new).transpose()?;
                let in_memory = || Arc::new(MemoryDedupStore::new(Arc::clone(&self.clock), MemoryLimits::default()));
                let replays = self.replays.unwrap_or_else(|| in_memory());
                Some(Dpop::new(&url, self.is_dpop_required, nonces, replays))
            }
            None if self.is_dpop_required || self.dpop_nonce_secret.is_some() || self.replays.is_some() => {
                return Err(BuildError::contradiction(
                    "proofs of possession name the url of this agent: set its public url (inbound.public_url in agent.toml)",
                ));
            }
            None => None,
        };
        let proxies = TrustedProxies::parse(&self.trusted_proxies, self.client_certificate_header)?;
        let resource = match self.resource {
            None => None,
            Some(resource) => {
                check_resource(&resource)?;
                let issuers = self.issuers.iter().map(|issuer| issuer.issuer.as_str());
                Some(ProtectedResource::new(resource, issuers, &required, (dpop.as_ref(), &proxies)))
            }
        };
        let challenges = Challenges {
            resource_metadata: resource.as_ref().map(ProtectedResource::metadata_url),
            algs: dpop.as_ref().map(|_| dpop::algs()),
            is_dpop_required: self.is_dpop_required,
        };
        let mut accounts = by_issuer(self.service_accounts, &self.issuers)?;
        let prefixes = SubjectPrefixes::of(&self.issuers)?;
        let (mut issuers, mut names) = (HashMap::new(), BTreeMap::new());
        for issuer in self.issuers {
            let accounts = accounts.remove(&issuer.issuer).unwrap_or_default();
            let issuer = issuer.trust(accounts, &self.clock, &self.egress)?;
            if !issuer.names.iter().all(|name| names.insert(name.clone(), issuer.issuer.clone()).is_none()) {
                let what = format!("the issuer {:?} is there twice, or has a name that another has", issuer.issuer);
                return Err(BuildError::contradiction(what));
            }
            issuers.insert(issuer.issuer.clone(), issuer);
        }
        Ok(Verifier(Arc::new(VerifierInner {
            audiences: self.audiences,
            issuers,
            names: names.into_iter().collect(),
            prefixes,
            required,
            resource,
            introspection: self.introspection.map(Introspected::new),
            bindings: Bindings { dpop, proxies },
            challenges: Arc::new(challenges),
            tickets: Tickets::default(),
            log: RefusalLog::default(),
            sinks: self.sinks,
            clock: self.clock,
            entropy: self.entropy,
        })))
    }
}

/// The tenants of each service account. The outer key is the issuer, the inner key is the `sub`.
type ServiceAccounts = HashMap<String, HashMap<String, Vec<Tenant>>>;

fn by_issuer(entries: Vec<ServiceAccountEntry>, issuers: &[Issuer]) -> Result<ServiceAccounts, BuildError> {
    let mut accounts = ServiceAccounts::new();
    for ServiceAccountEntry { issuer, subject, tenants } in entries {
        let dialect = issuers.iter().find(|known| known.issuer == issuer).map(|known| known.dialect);
        let fault = match dialect {
            Some(Dialect::Outside) => None,
            Some(Dialect::Sts) => Some("of an STS, whose tokens name the service account themselves"),
            None => Some("of an issuer that is not trusted"),
        };
        if let Some(fault) = fault {
            return Err(BuildError::contradiction(format!("the service account {subject:?} of {issuer:?} is {fault}")));
        }
        if let Entry::Vacant(vacant) = accounts.entry(issuer.clone()).or_default().entry(subject) {
            vacant.insert(tenants);
        } else {
            return Err(BuildError::contradiction(format!("a service account of {issuer:?} is there twice")));
        }
    }
    Ok(accounts)
}

/// Checks the resource URL. Plain http is allowed, because the agent sends nothing to this URL.
/// Refuses path segments that routers read as a pattern, because the metadata would not be served.
fn check_resource(resource: &Url) -> Result<(), BuildError> {
    let is_pattern = |segment: &str| segment.starts_with([':', '*']);
    let has_pattern = resource.path_segments().is_some_and(|mut segments| segments.any(is_pattern));
    if has_pattern {
        return Err(BuildError::contradiction(format!(
            "the resource {:?} has a segment that begins with ':' or '*'",
            resource.origin().ascii_serialization()
        )));
    }
    check_plain_url("resource", resource)
}

fn check_plain_url(what: &str, url: &Url) -> Result<(), BuildError> {
    if check_url(url, true).is_err() || url.query().is_some() || url.fragment().is_some() {
        return Err(BuildError::contradiction(format!(
            "the {what} {:?} is no http(s) url without user, query and fragment",
            url.origin().ascii_serialization()
        )));
    }
    Ok(())
}
