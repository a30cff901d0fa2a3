//! Agents: whoever asks for tokens or receives them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::Algorithm;
use sts_protocol::Tenant;
use url::Url;
use utoipa::ToSchema;

use super::Tenants;
use crate::ttl::Ttl;

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
}

/// The credentials that an agent may authenticate with. Debug shows no hash.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentAuth {
    /// An argon2id hash of its secret, in PHC form; not together with `client_secret_sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_hash: Option<String>,
    /// The SHA-256 of a random 256-bit secret, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_sha256: Option<String>,
    /// Where the keys of its client assertions are; not together with `jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_uri: Option<Url>,
    /// The keys of its client assertions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Map<String, Value>>,
    /// The workloads that are this agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<Workload>,
}

/// A workload identity: a subject of an outside issuer that is one of our agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The issuer of its tokens; while it is not registered, none of them is believed.
    pub issuer: String,
    /// The `sub` of its tokens.
    pub subject: String,
    /// The `aud` that its tokens must hold; absent, our issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

impl Agent {
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

impl fmt::Debug for AgentAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentAuth")
            .field("client_secret_hash", &self.client_secret_hash.is_some())
            .field("client_secret_sha256", &self.client_secret_sha256.is_some())
            .field("jwks_uri", &self.jwks_uri.as_ref().map(Url::as_str))
            .field("jwks", &self.jwks.is_some())
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
