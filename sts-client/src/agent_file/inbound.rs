//! The `[inbound]` table of `agent.toml`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use sts_jose::{Algorithm, KeySet, http_client};
use sts_protocol::{ScopeToken, Tenant, TenantError};
use url::Url;

use super::files::read_file;
use super::outbound::{HttpTable, StsTable};
use crate::build_error::BuildError;
use crate::dedup::StoreByUrl;
use crate::inbound::{ClientCertificateHeader, Issuer, Keys, Selectors, Verifier, VerifierBuilder};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InboundTable {
    audience: Vec<String>,
    resource: Option<Url>,
    public_url: Option<Url>,
    #[serde(default)]
    dpop_bound_access_tokens_required: bool,
    dpop_nonce_secret_file: Option<PathBuf>,
    replay_store_url_file: Option<PathBuf>,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    client_certificate_header: Option<ClientCertificateHeader>,
    #[serde(default)]
    required_scopes: Vec<ScopeToken>,
    #[serde(default)]
    introspect: bool,
    #[serde(default)]
    service_accounts: Vec<ServiceAccountConfig>,
    issuers: Vec<IssuerConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceAccountConfig {
    issuer: String,
    subject: String,
    tenants: Vec<Tenant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerConfig {
    issuer: String,
    #[serde(default)]
    sts: bool,
    jwks_uri: Option<Url>,
    jwks: Option<serde_json::Map<String, serde_json::Value>>,
    jwks_file: Option<PathBuf>,
    bundle_uri: Option<Url>,
    bundle_file: Option<PathBuf>,
    algorithms: Option<Vec<Algorithm>>,
    #[serde(default)]
    aliases: Vec<String>,
    tenant_claim: Option<OneOrMore>,
    tenant: Option<Tenant>,
    #[serde(default)]
    tenants: TenantList,
    roles_claim: Option<OneOrMore>,
    scope_claim: Option<OneOrMore>,
    service_account_claim: Option<MarkConfig>,
    audience_claim: Option<OneOrMore>,
    subject_claim: Option<OneOrMore>,
    subject_prefix: Option<String>,
    max_token_age: Option<String>,
    ca_file: Option<PathBuf>,
    jwks_bearer_token_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkConfig {
    name: String,
    value: Option<String>,
}

/// The tenants in `tenants`; `["*"]` stands for every tenant.
#[derive(Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
struct TenantList(Option<Vec<Tenant>>);

impl TryFrom<Vec<String>> for TenantList {
    type Error = TenantError;

    fn try_from(names: Vec<String>) -> Result<Self, TenantError> {
        if names == ["*"] {
            return Ok(Self(None));
        }
        names.iter().map(|name| Tenant::new(name)).collect::<Result<_, _>>().map(Some).map(Self)
    }
}

/// A claim selector, or an array of claim selectors.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMore> for Selectors {
    fn from(given: OneOrMore) -> Self {
        match given {
            OneOrMore::One(selector) => selector.into(),
            OneOrMore::More(selectors) => selectors.into(),
        }
    }
}

impl InboundTable {
    /// Makes a verifier builder. `sts` and `http` are the tables beside `[inbound]`.
    pub(super) fn builder(self, sts: Option<StsTable>, http: Option<HttpTable>) -> Result<VerifierBuilder, BuildError> {
        let mut builder = Verifier::builder(self.audience);
        for issuer in self.issuers {
            builder = builder.issuer(issuer.into_issuer()?);
        }
        for scope in self.required_scopes {
            builder = builder.require_scope(scope);
        }
        for ServiceAccountConfig { issuer, subject, tenants } in self.service_accounts {
            builder = builder.service_account(&issuer, &subject, tenants);
        }
        if let Some(resource) = self.resource {
            builder = builder.resource(resource);
        }
        if let Some(url) = self.public_url {
            builder = builder.public_url(url);
        }
        if self.dpop_bound_access_tokens_required {
            builder = builder.require_dpop();
        }
        if let Some(path) = self.dpop_nonce_secret_file {
            builder = builder.dpop_nonce_secret(read_file(&path)?.into());
        }
        if let Some(path) = self.replay_store_url_file {
            builder = builder.replays(Arc::new(replay_store(&path)?));
        }
        builder = self.trusted_proxies.into_iter().fold(builder, VerifierBuilder::trusted_proxy);
        if let Some(header) = self.client_certificate_header {
            builder = builder.client_certificate_header(header);
        }
        if let Some(egress) = http.map(|http| http.egress()).transpose()? {
            builder = builder.egress(egress);
        }
        if self.introspect {
            let sts = sts.ok_or_else(|| BuildError::contradiction("inbound.introspect requires the table [sts]"))?;
            builder = builder.introspect(sts.builder()?.build()?);
        }
        Ok(builder)
    }
}

impl IssuerConfig {
    fn into_issuer(self) -> Result<Issuer, BuildError> {
        let name = self.issuer;
        let both = |what: &str| BuildError::contradiction(format!("the issuer {name:?} has both {what}"));
        let mut issuer = if self.sts { Issuer::sts(&name) } else { Issuer::new(&name) };
        let bundle = [("bundle_uri", self.bundle_uri.is_some()), ("bundle_file", self.bundle_file.is_some())];
        if let Some((key, _)) = bundle.into_iter().find(|(_, given)| *given && !name.starts_with("spiffe://")) {
            let what = format!(
                "the issuer {name:?} has {key} and is not a SPIFFE trust domain, such as spiffe://shop.example"
            );
            return Err(BuildError::contradiction(what));
        }
        let uris = self.jwks_uri.into_iter().chain(self.bundle_uri).map(Keys::At);
        let files = self.jwks_file.into_iter().chain(self.bundle_file).map(Keys::File);
        let inline = self.jwks.map(|jwks| inline(&name, &jwks)).transpose()?;
        let mut sources = uris.chain(files).chain(inline.map(Keys::Inline));
        issuer.keys = sources.next().unwrap_or(Keys::Discovered);
        if sources.next().is_some() {
            return Err(both("two of jwks_uri, jwks, jwks_file, bundle_uri and bundle_file"));
        }
        issuer = match (self.tenant_claim, self.tenant) {
            (None, None) => issuer,
            (Some(claim), None) => issuer.tenant_claim(claim),
            (None, Some(tenant)) => issuer.tenant(tenant),
            (Some(_), Some(_)) => return Err(both("tenant_claim and tenant")),
        };
        if let TenantList(Some(tenants)) = self.tenants {
            issuer = issuer.tenants(tenants);
        }
        if let Some(algorithms) = self.algorithms {
            issuer = issuer.algorithms(algorithms);
        }
        if let Some(claim) = self.roles_claim {
            issuer = issuer.roles_claim(claim);
        }
        if let Some(claim) = self.scope_claim {
            issuer = issuer.scope_claim(claim);
        }
        if let Some(MarkConfig { name, value }) = self.service_account_claim {
            issuer = issuer.service_account_claim(name, value.as_deref());
        }
        if let Some(claim) = self.audience_claim {
            issuer = issuer.audience_claim(claim);
        }
        if let Some(claim) = self.subject_claim {
            issuer = issuer.subject_claim(claim);
        }
        if let Some(prefix) = self.subject_prefix {
            issuer = issuer.subject_prefix(prefix);
        }
        if let Some(age) = self.max_token_age {
            let parsed = age.parse::<SignedDuration>().ok().and_then(|age| Duration::try_from(age).ok());
            let parsed = parsed.filter(|age| !age.is_zero());
            let wrong = || format!("max_token_age of the issuer {name:?} is {age:?}: write a span such as \"24h\"");
            issuer = issuer.max_token_age(parsed.ok_or_else(|| BuildError::contradiction(wrong()))?);
        }
        if !self.aliases.is_empty() {
            issuer = issuer.aliases(self.aliases);
        }
        if let Some(path) = self.ca_file {
            // Report an unusable file now, not at the first fetch. The file is read again when it
            // changes.
            http_client(Some(&read_file(&path)?))?;
            issuer = issuer.ca_file(path);
        }
        if let Some(path) = self.jwks_bearer_token_file {
            issuer = issuer.jwks_bearer_token_file(path);
        }
        Ok(if self.allow_http { issuer.allow_http() } else { issuer })
    }
}

/// Returns the store at the URL in a file. The URL may hold a password, so it is no key of its own.
fn replay_store(path: &Path) -> Result<StoreByUrl, BuildError> {
    let url = String::from_utf8(read_file(path)?).ok().and_then(|url| StoreByUrl::new(url.trim().into()));
    url.ok_or_else(|| {
        BuildError::contradiction(
            "the file of inbound.replay_store_url_file must hold a url that begins with postgres: or sqlite:, of a database whose feature is compiled in",
        )
    })
}

/// Returns the key set that is written in the file.
fn inline(issuer: &str, jwks: &serde_json::Map<String, serde_json::Value>) -> Result<KeySet, BuildError> {
    let text = serde_json::Value::Object(jwks.clone()).to_string();
    KeySet::parse(text.as_bytes())
        .map_err(|error| BuildError::contradiction(format!("jwks of the issuer {issuer:?}: {error}")))
}
