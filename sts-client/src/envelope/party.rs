//! An agent that seals and opens envelopes: its identity, its peers, and its requirements.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sts_jose::{
    Clock, Entropy, KeySource, Location, RemoteConfig, RemoteKeySet, SystemClock, SystemEntropy, check_url, http_client,
};
use sts_protocol::{Scope, ScopeToken};
use url::Url;

use super::approvals::Approvals;
use super::capability::{Capability, Needs, Policy};
use super::keys::AgentKeys;
use crate::build_error::BuildError;
use crate::dedup::{DedupStore, MemoryDedupStore, MemoryLimits};
use crate::events::{ConfiguredName, EventSinks};

/// The default lifetime of an own message; the next constant is the maximum for other agents'
/// messages.
const LIFE: Duration = Duration::from_secs(60);
const MAX_LIFE: Duration = Duration::from_secs(5 * 60);

/// The default time for which an idempotency key and its answer are remembered.
const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

/// The default time after which another process may take over an operation whose process ended.
const LEASE: Duration = Duration::from_secs(5 * 60);

/// Another agent: its id, the audience of its tokens, and the source of its keys.
///
/// ```
/// use sts_client::envelope::Peer;
///
/// let billing = Peer::at("billing", "https://billing.shop.example/jwks".parse()?).audience("https://billing.shop.example/");
/// # Ok::<(), sts_client::url::ParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Peer {
    service_id: String,
    audience: String,
    keys: PeerKeys,
}

#[derive(Debug, Clone)]
enum PeerKeys {
    Source(KeySource),
    At(Url),
}

impl Peer {
    /// Makes a peer from its id at the STS and the source of its keys. Its audience is its id.
    #[must_use]
    pub fn new(service_id: impl Into<String>, keys: KeySource) -> Self {
        Self::of(service_id.into(), PeerKeys::Source(keys))
    }

    /// Makes a peer from its id at the STS and the URL of its key set: https, or http on the
    /// loopback.
    #[must_use]
    pub fn at(service_id: impl Into<String>, jwks_uri: Url) -> Self {
        Self::of(service_id.into(), PeerKeys::At(jwks_uri))
    }

    fn of(service_id: String, keys: PeerKeys) -> Self {
        Self { audience: service_id.clone(), service_id, keys }
    }

    /// Sets the audience of its tokens and messages, if it is not its id.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }
}

/// A peer with a usable key source.
#[derive(Debug)]
pub(super) struct KnownPeer {
    pub(super) name: ConfiguredName,
    pub(super) audience: String,
    pub(super) keys: KeySource,
}

/// Seals the messages that an agent sends, and opens those that it receives. Cloning is cheap and
/// shares keys, stores and counters.
///
/// ```
/// use sts_client::envelope::{AgentKeys, Capability, Envelopes, Needs, Peer};
/// use sts_client::ScopeToken;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("agent-keys.json");
/// let keys = AgentKeys::load_or_create(&path)?; // published: serve `keys.jwks()`
/// let envelopes = Envelopes::builder("ledger", keys)
///     .audience("https://ledger.shop.example/")
///     .peer(Peer::at("billing", "https://billing.shop.example/jwks".parse()?))
///     .capability(Capability::ToolCall, Needs::scopes([ScopeToken::new("refund:draft")?]).approval())
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Envelopes(pub(super) Arc<Party>);

#[derive(Debug)]
pub(super) struct Party {
    pub(super) service_id: String,
    pub(super) audiences: Vec<String>,
    pub(super) keys: AgentKeys,
    pub(super) peers: HashMap<String, Arc<KnownPeer>>,
    pub(super) required: Scope,
    pub(super) policy: Policy,
    pub(super) once: Arc<dyn DedupStore>,
    pub(super) approvals: Option<Arc<dyn Approvals>>,
    pub(super) sinks: EventSinks,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) life: Duration,
    pub(super) max_life: Duration,
    pub(super) remember: Duration,
    pub(super) lease: Duration,
    pub(super) attempted: AtomicU64,
    pub(super) decrypted: AtomicU64,
}

/// The numbers of payloads that an agent decrypted.
///
/// ```
/// use sts_client::envelope::{AgentKeys, Envelopes};
///
/// let envelopes = Envelopes::builder("ledger", AgentKeys::generate()?).build()?;
/// let counted = envelopes.decryptions();
/// assert_eq!((counted.attempted, counted.succeeded), (0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decryptions {
    /// The number of payloads to decrypt: all other checks had passed.
    pub attempted: u64,
    /// The number of payloads that were decrypted.
    pub succeeded: u64,
}

impl Envelopes {
    /// Starts the setup of an agent, with its id at the STS and its keys.
    pub fn builder(service_id: impl Into<String>, keys: AgentKeys) -> EnvelopesBuilder {
        let service_id = service_id.into();
        EnvelopesBuilder {
            audiences: Vec::new(),
            service_id,
            keys,
            peers: Vec::new(),
            required: Vec::new(),
            policy: Policy::new(),
            once: None,
            approvals: None,
            sinks: EventSinks::default(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            life: LIFE,
            max_life: MAX_LIFE,
            remember: REMEMBER,
            lease: LEASE,
        }
    }

    /// Returns the agent's own keys.
    #[must_use]
    pub fn keys(&self) -> &AgentKeys {
        &self.0.keys
    }

    /// Returns the numbers of attempted and successful decryptions.
    #[must_use]
    pub fn decryptions(&self) -> Decryptions {
        Decryptions {
            attempted: self.0.attempted.load(Ordering::Relaxed),
            succeeded: self.0.decrypted.load(Ordering::Relaxed),
        }
    }
}

/// The builder of [`Envelopes`]: peers, capabilities, stores and lifetimes.
#[derive(Debug)]
pub struct EnvelopesBuilder {
    service_id: String,
    audiences: Vec<String>,
    keys: AgentKeys,
    peers: Vec<Peer>,
    required: Vec<ScopeToken>,
    policy: Policy,
    once: Option<Arc<dyn DedupStore>>,
    approvals: Option<Arc<dyn Approvals>>,
    sinks: EventSinks,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    life: Duration,
    max_life: Duration,
    remember: Duration,
    lease: Duration,
}

impl EnvelopesBuilder {
    /// Sets an audience of messages to this agent. Default its id.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Adds another agent. Envelopes of unknown agents are refused.
    #[must_use]
    pub fn peer(mut self, peer: Peer) -> Self {
        self.peers.push(peer);
        self
    }

    /// Refuses messages without this scope, for every capability.
    #[must_use]
    pub fn require_scope(mut self, scope: ScopeToken) -> Self {
        self.required.push(scope);
        self
    }

    /// Serves a capability for callers that meet its requirements. A capability that is not
    /// declared is refused; the last declaration of a capability applies.
    #[must_use]
    pub fn capability(mut self, capability: Capability, needs: Needs) -> Self {
        self.policy.insert(capability, needs);
        self
    }

    /// Sets the store of seen messages and stored answers. Default: in memory, for one process.
    #[must_use]
    pub fn once(mut self, once: Arc<dyn DedupStore>) -> Self {
        self.once = Some(once);
        self
    }

    /// Sets the source of approvals. Without it no operation is approved.
    #[must_use]
    pub fn approvals(mut self, approvals: Arc<dyn Approvals>) -> Self {
        self.approvals = Some(approvals);
        self
    }

    /// Sets the sinks for events of messages.
    #[must_use]
    pub fn events(mut self, sinks: EventSinks) -> Self {
        self.sinks = sinks;
        self
    }

    /// Uses this clock instead of the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Uses another source of randomness for message ids. OpenSSL generates the keys of payloads.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Sets the lifetime of this agent's messages. Default one minute.
    #[must_use]
    pub fn life(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }

    /// Sets the maximum lifetime of other agents' messages. Default five minutes.
    #[must_use]
    pub fn max_life(mut self, max_life: Duration) -> Self {
        self.max_life = max_life;
        self
    }

    /// Sets the time for which an idempotency key and its answer are remembered. Default a day.
    #[must_use]
    pub fn remember(mut self, remember: Duration) -> Self {
        self.remember = remember;
        self
    }

    /// Sets the time after which another process may take over an operation whose process ended.
    /// The lease is renewed while the operation is in progress. Default five minutes.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Builds the [`Envelopes`]. Opens no connection yet.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sts_client::BuildError;
    /// use sts_client::envelope::{AgentKeys, Envelopes};
    ///
    /// let keys = AgentKeys::generate()?;
    /// assert!(Envelopes::builder("ledger", keys.clone()).life(Duration::from_secs(30)).build().is_ok());
    /// // Other agents refuse a message that lives longer than five minutes.
    /// let refused = Envelopes::builder("ledger", keys).life(Duration::from_secs(600)).build();
    /// assert!(matches!(refused, Err(BuildError::Contradiction(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Contradiction`] for a duplicate peer, a peer whose keys may not be fetched, or
    /// a lifetime above the maximum for other agents' messages. [`BuildError::Http`].
    pub fn build(self) -> Result<Envelopes, BuildError> {
        if self.life > self.max_life {
            return Err(BuildError::contradiction("messages would live longer than those of others may"));
        }
        let mut peers = HashMap::new();
        for peer in self.peers {
            let service_id = peer.service_id.clone();
            let keys = key_source(peer.keys, &service_id, &self.clock)?;
            let known = KnownPeer { name: ConfiguredName::new(&service_id), audience: peer.audience, keys };
            if peers.insert(service_id.clone(), Arc::new(known)).is_some() {
                return Err(BuildError::contradiction(format!("the peer {service_id:?} is there twice")));
            }
        }
        let audiences = if self.audiences.is_empty() { vec![self.service_id.clone()] } else { self.audiences };
        let in_memory = || Arc::new(MemoryDedupStore::new(Arc::clone(&self.clock), MemoryLimits::default()));
        let once = self.once.unwrap_or_else(|| in_memory());
        Ok(Envelopes(Arc::new(Party {
            service_id: self.service_id,
            audiences,
            keys: self.keys,
            peers,
            required: self.required.into_iter().collect(),
            policy: self.policy,
            once,
            approvals: self.approvals,
            sinks: self.sinks,
            clock: self.clock,
            entropy: self.entropy,
            life: self.life,
            max_life: self.max_life,
            remember: self.remember,
            lease: self.lease,
            attempted: AtomicU64::default(),
            decrypted: AtomicU64::default(),
        })))
    }
}

fn key_source(keys: PeerKeys, service_id: &str, clock: &Arc<dyn Clock>) -> Result<KeySource, BuildError> {
    let url = match keys {
        PeerKeys::Source(keys) => return Ok(keys),
        PeerKeys::At(url) => url,
    };
    check_url(&url, false).map_err(|error| {
        let origin = url.origin().ascii_serialization();
        BuildError::contradiction(format!("the peer {service_id:?} has keys at {origin}: {error}"))
    })?;
    Ok(KeySource::Remote(RemoteKeySet::new(RemoteConfig {
        issuer: service_id.to_owned(),
        location: Location::JwksUri(url),
        http: http_client(None)?.into(),
        bearer_token_file: None,
        allow_http: false,
        clock: Arc::clone(clock),
    })))
}
