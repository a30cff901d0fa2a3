//! Agents: whoever asks for tokens or receives them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::Algorithm;
use sts_protocol::Tenant;
use url::Url;
use utoipa::ToSchema;

use super::workload::is_matched;
use super::{SecretHashes, Tenants, Workload};
use crate::ttl::Ttl;

/// The longest id of an agent, in characters: it becomes a `sub`.
pub const MAX_AGENT_ID_CHARS: usize = 255;

/// What the id of a class ends with.
const CLASS: &str = "/*";

/// The id of the class that an agent of this id is an instance of, if there is such a class.
#[must_use]
pub fn class_of(id: &str) -> Option<String> {
    let (prefix, instance) = id.rsplit_once('/')?;
    (!prefix.is_empty() && is_matched(instance)).then(|| format!("{prefix}{CLASS}"))
}

/// An agent, as its registry entry describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its `client_id`, and `act.sub` where it acts.
    pub id: String,
    /// What tokens for it say in `aud`; the first is minted. Empty stands for its id alone: read it with [`Agent::audience`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audience: Vec<String>,
    /// `aud` values of outside tokens that it may present besides its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<String>,
    /// The tenants within which it acts and receives.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub tenants: Tenants,
    /// The tenants that its service account may name in `X-Tenant-ID`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub forward_tenants: Vec<Tenant>,
    /// The target of a request that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_target: Option<String>,
    /// How long a token for it lives at most.
    #[serde(default = "default_token_ttl")]
    #[schema(value_type = String)]
    pub token_ttl: Ttl,
    /// What tokens for it are signed with: ES256, RS256 or `EdDSA`.
    #[serde(default = "default_signing_alg")]
    #[schema(value_type = String)]
    pub signing_alg: Algorithm,
    /// How it authenticates; absent, it can only receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AgentAuth>,
    /// Whether it may neither ask nor receive.
    #[serde(default)]
    pub disabled: bool,
    /// The id of the class that it is an instance of; no entry has one.
    #[serde(skip)]
    class: Option<String>,
}

/// The credentials that an agent may authenticate with. Debug shows no hash.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentAuth {
    /// An argon2id hash of its secret, in PHC form, or an array of two; not together with `client_secret_sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_hash: Option<SecretHashes>,
    /// The SHA-256 of a random 256-bit secret, in hexadecimal, or an array of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_sha256: Option<SecretHashes>,
    /// Where the keys of its client assertions are; not together with `jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_uri: Option<Url>,
    /// The keys of its client assertions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Map<String, Value>>,
    /// What its client assertions may be addressed to.
    #[serde(default, skip_serializing_if = "AssertionAudience::is_default")]
    pub assertion_audience: AssertionAudience,
    /// How far ahead `exp` of its client assertions may be: 5 minutes unless said otherwise, 1 hour at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub max_assertion_lifetime: Option<Ttl>,
    /// The certificates of the authority of `jwks_uri`, in PEM; absent for those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// The workloads that are this agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<Workload>,
}

/// What the client assertions of an agent may be addressed to (RFC 7523 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// Our issuer alone.
    #[default]
    Issuer,
    /// Our issuer, our token endpoint, or both: for client libraries that can do nothing else.
    IssuerOrTokenEndpoint,
}

impl Agent {
    /// The part of a class's id before `/*`; none of an agent that is no class.
    #[must_use]
    pub fn class_prefix(&self) -> Option<&str> {
        self.id.strip_suffix(CLASS)
    }

    /// The instance of this class that stands for `matched`; none if its id would be too long.
    #[must_use]
    pub fn instance(&self, matched: &str) -> Option<Self> {
        let id = format!("{}/{matched}", self.class_prefix()?);
        let audience = self.audience().to_vec();
        (id.len() <= MAX_AGENT_ID_CHARS).then(|| Self { id, audience, class: Some(self.id.clone()), ..self.clone() })
    }

    /// The id of its entry, which limits and metrics go by: that of its class, if it is an instance of one.
    #[must_use]
    pub fn entry_id(&self) -> &str {
        self.class.as_deref().unwrap_or(&self.id)
    }

    /// What tokens for the agent say in `aud`: one or more values, of which the first is minted.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        if self.audience.is_empty() { std::slice::from_ref(&self.id) } else { &self.audience }
    }

    /// The `aud` of a token minted for the agent.
    #[must_use]
    pub fn minted_audience(&self) -> &str {
        self.audience.first().unwrap_or(&self.id)
    }

    /// Whether a token addressed to `audience` is addressed to the agent.
    #[must_use]
    pub fn is_addressed_by(&self, audience: &str) -> bool {
        self.audience().iter().any(|own| own == audience)
    }
}

impl AssertionAudience {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl AgentAuth {
    /// The life of a client assertion where the entry sets none.
    pub const DEFAULT_ASSERTION_LIFETIME: Ttl = Ttl::from_minutes(5);
    /// The longest life that an entry may allow.
    pub const LONGEST_ASSERTION_LIFETIME: Ttl = Ttl::from_minutes(60);

    /// The argon2id hashes of its secret.
    #[must_use]
    pub fn argon2_hashes(&self) -> &[String] {
        self.client_secret_hash.as_ref().map_or(&[], SecretHashes::as_slice)
    }

    /// The SHA-256 hashes of its secret.
    #[must_use]
    pub fn sha256_hashes(&self) -> &[String] {
        self.client_secret_sha256.as_ref().map_or(&[], SecretHashes::as_slice)
    }

    /// Returns true if there is a credential to authenticate with.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        let has_secret = self.client_secret_hash.is_some() || self.client_secret_sha256.is_some();
        has_secret || self.has_keys() || !self.workload.is_empty()
    }

    /// Returns true if the agent may sign client assertions.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.jwks.is_some() || self.jwks_uri.is_some()
    }

    /// The longest life of its client assertions.
    #[must_use]
    pub fn assertion_lifetime(&self) -> Ttl {
        self.max_assertion_lifetime.unwrap_or(Self::DEFAULT_ASSERTION_LIFETIME)
    }
}

impl fmt::Debug for AgentAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentAuth")
            .field("client_secret_hash", &self.client_secret_hash.is_some())
            .field("client_secret_sha256", &self.client_secret_sha256.is_some())
            .field("jwks_uri", &self.jwks_uri.as_ref().map(Url::as_str))
            .field("jwks", &self.jwks.is_some())
            .field("assertion_audience", &self.assertion_audience)
            .field("max_assertion_lifetime", &self.max_assertion_lifetime)
            .field("ca_file", &self.ca_file)
            .field("workload", &self.workload)
            .finish()
    }
}

fn default_token_ttl() -> Ttl {
    Ttl::from_minutes(5)
}

fn default_signing_alg() -> Algorithm {
    Algorithm::Es256
}
