//! The keys of others: of outside issuers, and of agents that authenticate with a signature.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use sts_jose::{
    Claims, Clock, Egress, FetchError, FileKeySet, HttpClientError, KeyLookupError, KeySet, KeySetClient, KeySetError,
    KeySetHealth, KeySource, KeyVerifyError, Location, RemoteConfig, RemoteKeySet, SignatureMemo, TimeError, Times,
    UnverifiedToken, VerifiedToken, VerifyError, http_client_via,
};
use thiserror::Error;
use url::Url;

use crate::registry::{Agent, Issuer, IssuerNameError, NamedIssuer, Registry};

/// Where the keys of every issuer and agent of one registry come from. Rebuilt with the registry; what did not change keeps its cache.
#[derive(Debug, Default)]
pub struct TrustedKeys {
    issuers: HashMap<String, Source>,
    agents: HashMap<String, Source>,
    memo: Arc<SignatureMemo>,
}

/// A key source with the description that it was made from.
#[derive(Debug, Clone)]
struct Source {
    description: Description,
    keys: Result<KeySource, Arc<SourceError>>,
}

/// How keys are fetched.
#[derive(Debug, Clone)]
pub struct KeyAccess {
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// The proxies that requests go by.
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

/// A key source could not be made of its entry: the operator's to mend.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The inline key set is none.
    #[error("the inline key set is malformed")]
    Inline(#[source] KeySetError),
    /// The inline key set cannot be written as JSON.
    #[error("the inline key set is not JSON")]
    Json(#[source] serde_json::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Http(#[source] HttpClientError),
}

/// A token of an outside issuer that we believe.
#[derive(Debug)]
pub struct OutsideToken {
    /// Who signed it.
    pub issuer: NamedIssuer,
    /// The token.
    pub token: VerifiedToken,
    /// Its times.
    pub times: Times,
}

/// A token is not believed.
#[derive(Debug, Error)]
pub enum TrustError {
    /// The token names no registered issuer, or one that it cannot be of.
    #[error("the token is of no issuer that is believed")]
    Issuer(#[from] IssuerNameError),
    /// The registry names the issuer, and its keys are not known here: the two are being replaced.
    #[error("the keys of the issuer are not known yet")]
    NotYetKnown,
    /// The issuer is disabled.
    #[error("the issuer of the token is disabled")]
    IssuerDisabled,
    /// The issuer does not sign with this algorithm.
    #[error("the issuer of the token may not use this algorithm")]
    Algorithm,
    /// No key of the issuer is the one that the token names.
    #[error("no key of the issuer fits the token")]
    UnknownKey,
    /// The issuer publishes a key set, and no key of it can be used: a refusal, not an outage.
    #[error("the issuer publishes no key that can be used")]
    KeysUnusable,
    /// The key set is out of reach: an outage, not a refusal.
    #[error("the keys of the issuer are out of reach")]
    KeysUnavailable(#[source] KeyLookupError),
    /// The entry of the issuer cannot be used: an outage, not a refusal.
    #[error("the entry of the issuer cannot be used")]
    Source(#[source] Arc<SourceError>),
    /// The signature is not of that key.
    #[error("the signature of the token is not valid")]
    Signature(#[source] VerifyError),
    /// The token is not alive now.
    #[error("the token is not alive now")]
    Time(#[source] TimeError),
    /// The token is older than the issuer's tokens may be, or lives longer.
    #[error("the token is older, or lives longer, than tokens of its issuer may")]
    Age,
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

    /// Whether the token may be good, and only cannot be checked now.
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
    /// Key sources for a registry. A source whose entry did not change is taken over from `previous`, with what it has cached.
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

    /// Believes a token of a registered issuer, or says why not: issuer, algorithm, key, signature, times, age.
    ///
    /// # Errors
    /// [`TrustError`]; of these `KeysUnavailable` and `Source` are outages.
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

    /// Believes a token that an agent signed with its own key; `UnknownKey` when it has none.
    ///
    /// # Errors
    /// [`TrustError`]; of these `KeysUnavailable` and `Source` are outages.
    pub async fn believe_agent(
        &self,
        agent: &Agent,
        token: UnverifiedToken<'_>,
        now: Timestamp,
    ) -> Result<(VerifiedToken, Times), TrustError> {
        self.verify(self.agents.get(&agent.id).ok_or(TrustError::UnknownKey)?, token, now).await
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

    /// The keys of an issuer as they were read last, for an operator who asks. Reads them if none are known; an empty set if that fails.
    pub async fn keys_of_issuer(&self, issuer: &str) -> KeySet {
        held(self.issuers.get(issuer)).await
    }

    /// The keys of an agent, as [`Self::keys_of_issuer`] gives those of an issuer.
    pub async fn keys_of_agent(&self, agent: &str) -> KeySet {
        held(self.agents.get(agent)).await
    }

    /// How the keys of each issuer fare; a source that could not be made of its entry is failing.
    pub fn issuer_health(&self) -> impl Iterator<Item = (&str, KeySetHealth)> {
        self.issuers.iter().map(|(issuer, source)| (issuer.as_str(), source.health()))
    }

    /// How many agents' own keys could not be read the last time.
    #[must_use]
    pub fn failing_agents(&self) -> usize {
        self.agents.values().filter(|source| source.health().failing).count()
    }

    /// Reads all key sets that are not inline: at start, so that the first requests need not wait, and now and then, so that a key
    /// that was withdrawn is believed no longer though nobody presents another. Failures are left to the requests.
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

    /// Reads all key sets and says what came of each, in the order of the names: for an operator who asks.
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

/// Whose keys a key set holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyOwner {
    /// An issuer's.
    Issuer(String),
    /// An agent's, for its client assertions.
    Agent(String),
}

/// What came of reading one key set.
#[derive(Debug)]
pub struct Inspected {
    /// Whose it is.
    pub owner: KeyOwner,
    /// The keys.
    pub keys: Result<KeySet, InspectError>,
}

/// A key set cannot be read.
#[derive(Debug, Error)]
pub enum InspectError {
    /// It cannot be fetched, or its file not be read.
    #[error("its keys cannot be read")]
    Fetch(#[source] Arc<FetchError>),
    /// Its entry cannot be used.
    #[error("its entry cannot be used")]
    Source(#[source] Arc<SourceError>),
}

impl Source {
    /// A source that could not be made of its entry was told of when it was.
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

async fn held(source: Option<&Source>) -> KeySet {
    let Some(Source { keys: Ok(keys), .. }) = source else { return KeySet::empty() };
    if keys.held().is_empty() {
        // The steps of the explanation say why keys are out of reach.
        let _ = keys.refresh().await;
    }
    keys.held()
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
        // A proxy reads what goes through it in clear, and a bearer token is for the origin alone.
        let egress = match &self.jwks_bearer_token_file {
            Some(_) => egress.clone().for_https_alone(),
            None => egress.clone(),
        };
        // The file is read by each fetch: one that cannot be read fails the tokens of this issuer alone.
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
