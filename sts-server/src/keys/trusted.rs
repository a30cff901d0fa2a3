//! The keys of other parties: of outside issuers, and of agents that authenticate with a signature.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use sts_jose::{
    Claims, Clock, Egress, FetchError, FileKeySet, HttpClientError, KeyLookupError, KeySet, KeySetClient, KeySetError,
    KeySetFaults, KeySetHealth, KeySource, KeyVerifyError, Location, RemoteConfig, RemoteKeySet, SignatureMemo,
    TimeError, Times, TrustDomain, UnverifiedToken, VerifiedToken, VerifyError, error_chain, http_client_via,
};
use thiserror::Error;
use url::Url;

use super::certificate_chain::CertificateChain;
use crate::registry::{Agent, Issuer, IssuerNameError, NamedIssuer, Registry};

/// The key sources of every issuer and agent of a registry. Rebuilt with the registry; sources with
/// unchanged entries keep their cache.
#[derive(Debug, Default)]
pub struct TrustedKeys {
    issuers: HashMap<String, Source>,
    agents: HashMap<String, Source>,
    memo: Arc<SignatureMemo>,
}

/// A key source and the description that it was made from.
#[derive(Debug, Clone)]
struct Source {
    description: Description,
    keys: Result<KeySource, Arc<SourceError>>,
}

/// The means to fetch keys.
#[derive(Debug, Clone)]
pub struct KeyAccess {
    /// The clock for cache ages.
    pub clock: Arc<dyn Clock>,
    /// The proxies that requests go through.
    pub egress: Egress,
}

#[derive(Debug, Clone, PartialEq)]
struct Description {
    issuer: String,
    jwks: Option<Map<String, Value>>,
    jwks_file: Option<std::path::PathBuf>,
    jwks_uri: Option<Url>,
    ca_file: Option<std::path::PathBuf>,
    jwks_bearer_token_file: Option<std::path::PathBuf>,
    allow_http: bool,
}

/// A registry entry from which no key source could be made. The operator must fix it.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The inline key set is malformed.
    #[error("the inline key set is malformed")]
    Inline(#[source] KeySetError),
    /// The inline key set cannot be written as JSON.
    #[error("the inline key set is not JSON")]
    Json(#[source] serde_json::Error),
    /// The HTTP client cannot be created.
    #[error("failed to create the HTTP client")]
    Http(#[source] HttpClientError),
}

/// A verified token of a trusted outside issuer.
#[derive(Debug)]
pub struct OutsideToken {
    /// The issuer that signed the token.
    pub issuer: NamedIssuer,
    /// The token, with a verified signature.
    pub token: VerifiedToken,
    /// The checked times of the token.
    pub times: Times,
}

/// The reason why a token is not trusted.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The token names no registered issuer, or an issuer to which it cannot belong.
    #[error("the issuer of the token is not trusted")]
    Issuer(#[from] IssuerNameError),
    /// The registry has the issuer, but this set of keys does not yet: both are being replaced.
    #[error("the keys of the issuer are not known yet")]
    NotYetKnown,
    /// The registry disables the issuer.
    #[error("the issuer of the token is disabled")]
    IssuerDisabled,
    /// The issuer does not sign with this algorithm.
    #[error("the issuer of the token may not use this algorithm")]
    Algorithm,
    /// The issuer has no key that the token names.
    #[error("no key of the issuer fits the token")]
    UnknownKey,
    /// The issuer publishes a key set without a usable key. This is a refusal, not an outage.
    #[error("the issuer publishes no usable key")]
    KeysUnusable,
    /// The key set is unreachable. This is an outage, not a refusal.
    #[error("the keys of the issuer cannot be fetched")]
    KeysUnavailable(#[source] KeyLookupError),
    /// The entry of the issuer cannot be used. This is an outage, not a refusal.
    #[error("the entry of the issuer cannot be used")]
    Source(#[source] Arc<SourceError>),
    /// The signature was not made with that key.
    #[error("the signature of the token is not valid")]
    Signature(#[source] VerifyError),
    /// The token is expired or not yet valid.
    #[error("the token is not valid now")]
    Time(#[source] TimeError),
    /// The token is older than the issuer's tokens may be, or lives longer.
    #[error("the token is older, or has a longer lifetime, than the issuer's max_token_age allows")]
    Age,
}

/// The reason why a certificate is not trusted.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The authorities of the trust domain are not known or not trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No authority of the trust domain has signed the certificate for a client, or it is not valid now.
    #[error("no authority of the trust domain has signed the certificate, or it is not valid now")]
    Certificate(#[source] webpki::Error),
}

impl TrustError {
    fn of_keys(error: KeyVerifyError) -> Self {
        match error {
            KeyVerifyError::Lookup(KeyLookupError::Unknown) => Self::UnknownKey,
            KeyVerifyError::Lookup(KeyLookupError::Unusable) => Self::KeysUnusable,
            KeyVerifyError::Lookup(unavailable @ KeyLookupError::Unavailable(_)) => Self::KeysUnavailable(unavailable),
            KeyVerifyError::Signature(error) => Self::Signature(error),
        }
    }

    /// Returns true if the token may be valid but cannot be checked now.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::KeysUnavailable(_) | Self::Source(_) | Self::NotYetKnown => true,
            Self::Issuer(_)
            | Self::IssuerDisabled
            | Self::Algorithm
            | Self::UnknownKey
            | Self::KeysUnusable
            | Self::Signature(_)
            | Self::Time(_)
            | Self::Age => false,
        }
    }
}

impl TrustedKeys {
    /// Creates the key sources of a registry. A source whose entry did not change is taken from
    /// `previous` with its cache.
    #[must_use]
    pub fn new(registry: &Registry, previous: &Self, access: &KeyAccess) -> Self {
        let issuers = registry.issuers().map(|issuer| {
            let source = take_over(Description::of_issuer(issuer), previous.issuers.get(&issuer.issuer), access);
            (issuer.issuer.clone(), source)
        });
        let agents = registry.agents().filter_map(|agent| {
            let description = Description::of_agent(agent)?;
            Some((agent.id.clone(), take_over(description, previous.agents.get(&agent.id), access)))
        });
        Self { issuers: issuers.collect(), agents: agents.collect(), memo: Arc::clone(&previous.memo) }
    }

    /// Verifies a token of a registered issuer: issuer, algorithm, key, signature, times and age.
    ///
    /// # Errors
    /// [`TrustError`], of which `KeysUnavailable`, `Source` and `NotYetKnown` are outages.
    pub async fn believe(
        &self,
        registry: &Registry,
        token: UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<OutsideToken, TrustError> {
        let named = registry.issuer_of(token.claims())?;
        let issuer = &named.issuer;
        if issuer.disabled {
            return Err(TrustError::IssuerDisabled);
        }
        if !issuer.algorithms.contains(&token.header().algorithm) {
            return Err(TrustError::Algorithm);
        }
        let source = self.issuers.get(&issuer.issuer).ok_or(TrustError::NotYetKnown)?;
        let (token, times) = self.verify(source, token, now).await?;
        if !times.are_within(SignedDuration::from_secs(issuer.max_token_age.as_seconds()), now) {
            return Err(TrustError::Age);
        }
        Ok(OutsideToken { issuer: named, token, times })
    }

    /// Verifies a token that an agent signed with its own key. `UnknownKey` if the agent has no
    /// key.
    ///
    /// # Errors
    /// [`TrustError`], of which `KeysUnavailable` and `Source` are outages.
    pub async fn believe_agent(
        &self,
        agent: &Agent,
        token: UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<(VerifiedToken, Times), TrustError> {
        self.verify(self.agents.get(&agent.id).ok_or(TrustError::UnknownKey)?, token, now).await
    }

    /// Checks that an authority of a trust domain has signed a certificate. Authorities that the bundle has gained
    /// since its last read count too: only a certificate that no known authority has signed may cause a refetch.
    ///
    /// # Errors
    /// [`ChainError`]. Its `Trust` may be an outage.
    pub async fn believe_chain(
        &self,
        registry: &Registry,
        domain: TrustDomain<'_>,
        chain: &CertificateChain,
        now: Timestamp,
    ) -> Result<(), ChainError> {
        let unknown = || TrustError::Issuer(IssuerNameError::Unknown);
        let issuer = registry.issuer(&domain.issuer()).ok_or_else(unknown)?;
        if issuer.disabled {
            return Err(TrustError::IssuerDisabled.into());
        }
        let source = self.issuers.get(&issuer.issuer).ok_or(TrustError::NotYetKnown)?;
        let keys = source.keys.as_ref().map_err(|error| TrustError::Source(Arc::clone(error)))?;
        let of_lookup = |error: KeyLookupError| TrustError::of_keys(error.into());
        let authorities = keys.authorities(None).await.map_err(of_lookup)?;
        let Err(refused) = chain.verify(&authorities, now) else { return Ok(()) };
        if !is_of_unknown_authority(&refused) {
            return Err(ChainError::Certificate(refused));
        }
        match keys.authorities(Some(&authorities)).await {
            Ok(others) => chain.verify(&others, now).map_err(ChainError::Certificate),
            // The known authorities are the answer, also while the bundle cannot be fetched.
            Err(_) => Err(ChainError::Certificate(refused)),
        }
    }

    async fn verify(
        &self,
        source: &Source,
        token: UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<(VerifiedToken, Times), TrustError> {
        let keys = source.keys.as_ref().map_err(|error| TrustError::Source(Arc::clone(error)))?;
        let token = keys.verify(token, Some(&self.memo)).await.map_err(TrustError::of_keys)?;
        let times = Claims::times(token.claims(), now).map_err(TrustError::Time)?;
        Ok((token, times))
    }

    /// Returns the cached keys of an issuer; an empty set if none are known.
    #[must_use]
    pub fn keys_of_issuer(&self, issuer: &str) -> KeySet {
        held(self.issuers.get(issuer))
    }

    /// Returns the cached keys of an agent; an empty set if none are known.
    #[must_use]
    pub fn keys_of_agent(&self, agent: &str) -> KeySet {
        held(self.agents.get(agent))
    }

    /// Returns the health of each issuer's keys. An issuer whose key source could not be created from
    /// its entry counts as failing.
    pub fn issuer_health(&self) -> impl Iterator<Item = (&str, KeySetHealth)> {
        self.issuers.iter().map(|(issuer, source)| (issuer.as_str(), source.health()))
    }

    /// Returns the faults of each issuer's keys, in words: the error of the last read, the keys that
    /// cannot be used, and those that have gone.
    pub fn issuer_faults(&self) -> impl Iterator<Item = (&str, KeySetFaults, Option<String>)> {
        self.issuers.iter().map(|(issuer, source)| match &source.keys {
            Ok(keys) => {
                let faults = keys.faults();
                let error = faults.error.as_ref().map(|error| error_chain(&**error));
                (issuer.as_str(), faults, error)
            }
            Err(error) => (issuer.as_str(), KeySetFaults::default(), Some(error_chain(&**error))),
        })
    }

    /// Returns the health of an agent's own keys. `None` if its entry names no keys.
    #[must_use]
    pub fn agent_health(&self, agent: &str) -> Option<KeySetHealth> {
        self.agents.get(agent).map(Source::health)
    }

    /// Returns the number of agents whose own keys could not be read the last time.
    #[must_use]
    pub fn failing_agents(&self) -> usize {
        self.agents.values().filter(|source| source.health().failing).count()
    }

    /// Reads all key sets that are not inline. Failures are logged and left to the requests.
    ///
    /// Runs at startup, so that the first requests need not wait. Runs periodically, so that a
    /// withdrawn key is dropped even if no token names another key.
    pub async fn refresh(&self) {
        let issuers = self.issuers.iter().map(|(issuer, source)| (Some(issuer.as_str()), None, source));
        let agents = self.agents.iter().map(|(agent, source)| (None, Some(agent.as_str()), source));
        let reads = issuers.chain(agents).map(async |(issuer, agent, source)| (issuer, agent, source.refresh().await));
        for (issuer, agent, outcome) in futures_util::future::join_all(reads).await {
            if let Err(error) = outcome {
                tracing::warn!(issuer, agent, error = &*error as &dyn std::error::Error, "failed to read a key set");
            }
        }
    }

    /// Reads all key sets for an operator. Returns the result of each, ordered by name.
    pub async fn inspect(&self) -> Vec<Inspected> {
        let of = |owner: KeyOwner, source: &Source| (owner, source.clone());
        let issuers = self.issuers.iter().map(|(name, source)| of(KeyOwner::Issuer(name.clone()), source));
        let agents = self.agents.iter().map(|(name, source)| of(KeyOwner::Agent(name.clone()), source));
        let mut sources: Vec<(KeyOwner, Source)> = issuers.chain(agents).collect();
        sources.sort_by(|(one, _), (other, _)| one.cmp(other));
        let reads = sources.into_iter().map(async |(owner, source)| {
            let keys = match &source.keys {
                Ok(keys) => keys.refresh().await.map(|()| keys.held()).map_err(InspectError::Fetch),
                Err(error) => Err(InspectError::Source(Arc::clone(error))),
            };
            Inspected { owner, keys }
        });
        futures_util::future::join_all(reads).await
    }
}

/// The owner of a key set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyOwner {
    /// An issuer, by its name.
    Issuer(String),
    /// An agent, whose keys verify its client assertions.
    Agent(String),
}

/// The result of reading a key set.
#[derive(Debug)]
pub struct Inspected {
    /// The owner of the key set.
    pub owner: KeyOwner,
    /// The keys, or the reason why they cannot be read.
    pub keys: Result<KeySet, InspectError>,
}

/// A failure to read a key set.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The key set cannot be fetched, or its file cannot be read.
    #[error("its keys cannot be read")]
    Fetch(#[source] Arc<FetchError>),
    /// The registry entry cannot be used.
    #[error("its entry cannot be used")]
    Source(#[source] Arc<SourceError>),
}

impl Source {
    /// Reads the keys again. Returns `Ok` for a source that could not be made, because its failure
    /// is already reported.
    async fn refresh(&self) -> Result<(), Arc<FetchError>> {
        match &self.keys {
            Ok(keys) => keys.refresh().await,
            Err(_) => Ok(()),
        }
    }

    fn health(&self) -> KeySetHealth {
        match &self.keys {
            Ok(keys) => keys.health(),
            Err(_) => KeySetHealth { failing: true, ..KeySetHealth::default() },
        }
    }
}

/// Returns true if no known authority has signed the chain. Authorities of one trust domain often share their name, so
/// the key of the known one may be another, also of another algorithm.
fn is_of_unknown_authority(error: &webpki::Error) -> bool {
    matches!(
        error,
        webpki::Error::UnknownIssuer
            | webpki::Error::InvalidSignatureForPublicKey
            | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
    )
}

fn held(source: Option<&Source>) -> KeySet {
    source.and_then(|source| source.keys.as_ref().ok()).map(KeySource::held).unwrap_or_default()
}

fn take_over(description: Description, previous: Option<&Source>, access: &KeyAccess) -> Source {
    match previous {
        Some(source) if source.description == description && source.keys.is_ok() => source.clone(),
        Some(_) | None => {
            let keys = description.source(access).map_err(Arc::new);
            Source { description, keys }
        }
    }
}

impl Description {
    fn of_issuer(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            jwks: issuer.jwks.clone(),
            jwks_file: issuer.jwks_file.as_ref().or(issuer.bundle_file.as_ref()).cloned(),
            jwks_uri: issuer.jwks_uri.as_ref().or(issuer.bundle_uri.as_ref()).cloned(),
            ca_file: issuer.ca_file.clone(),
            jwks_bearer_token_file: issuer.jwks_bearer_token_file.clone(),
            allow_http: issuer.allow_http,
        }
    }

    fn of_agent(agent: &Agent) -> Option<Self> {
        let auth = agent.auth.as_ref().filter(|auth| auth.jwks.is_some() || auth.jwks_uri.is_some())?;
        Some(Self {
            issuer: agent.id.clone(),
            jwks: auth.jwks.clone(),
            jwks_file: None,
            jwks_uri: auth.jwks_uri.clone(),
            ca_file: auth.ca_file.clone(),
            jwks_bearer_token_file: None,
            allow_http: false,
        })
    }

    fn source(&self, KeyAccess { clock, egress }: &KeyAccess) -> Result<KeySource, SourceError> {
        if let Some(jwks) = &self.jwks {
            let bytes = serde_json::to_vec(jwks).map_err(SourceError::Json)?;
            let keys = KeySet::parse(&bytes).map_err(SourceError::Inline)?;
            return Ok(KeySource::inline(&self.issuer, keys));
        }
        if let Some(file) = &self.jwks_file {
            return Ok(KeySource::File(FileKeySet::new(file, Arc::clone(clock))));
        }
        // A proxy reads plain HTTP traffic, and a bearer token must reach only the origin.
        let egress = match &self.jwks_bearer_token_file {
            Some(_) => egress.clone().for_https_alone(),
            None => egress.clone(),
        };
        // Each fetch reads the CA file, so an unreadable file only fails the tokens of this issuer.
        let http = match &self.ca_file {
            Some(ca_file) => KeySetClient::with_ca_file(ca_file, &egress),
            None => http_client_via(&egress, None).map_err(SourceError::Http)?.into(),
        };
        Ok(KeySource::Remote(RemoteKeySet::new(RemoteConfig {
            issuer: self.issuer.clone(),
            location: self.jwks_uri.clone().map_or(Location::Discovery, Location::JwksUri),
            http,
            bearer_token_file: self.jwks_bearer_token_file.clone(),
            allow_http: self.allow_http,
            clock: Arc::clone(clock),
        })))
    }
}
