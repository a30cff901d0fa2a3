//! Agents: the parties that request tokens or receive them.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::Algorithm;
use sts_protocol::Tenant;
use url::Url;
use utoipa::ToSchema;

use super::workload::is_matched;
use super::{SecretHashes, Tenants, Workload};
use crate::ttl::Ttl;

/// The longest agent id, in characters. The id becomes a `sub`.
pub const MAX_AGENT_ID_CHARS: usize = 255;

/// The suffix of a class's id.
const CLASS: &str = "/*";

/// Returns the id of the class that `id` would be an instance of. Does not check that the class
/// exists.
#[must_use]
pub fn class_of(id: &str) -> Option<String> {
    let (prefix, instance) = id.rsplit_once('/')?;
    (!prefix.is_empty() && is_matched(instance)).then(|| format!("{prefix}{CLASS}"))
}

/// An agent, as its registry entry describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The `client_id`, and the `act.sub` of tokens with which the agent acts.
    pub id: String,
    /// The `aud` values of tokens for the agent. Minted tokens carry the first. Empty means the id
    /// alone; read it with [`Agent::audience`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    audience: Vec<String>,
    /// Further `aud` values that outside tokens may have when the agent presents them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepts: Vec<String>,
    /// The tenants in which the agent acts and receives.
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
    /// The longest lifetime of a token for the agent.
    #[serde(default = "default_token_ttl")]
    #[schema(value_type = String)]
    pub token_ttl: Ttl,
    /// The algorithm that signs tokens for the agent: ES256, RS256 or `EdDSA`.
    #[serde(default = "default_signing_alg")]
    #[schema(value_type = String)]
    pub signing_alg: Algorithm,
    /// True if every token that is issued to the agent is bound to a DPoP key (RFC 9449 §5.2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dpop_bound_access_tokens: bool,
    /// True if every token that is issued to the agent is bound to its client certificate (RFC 8705 §3.4).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// True if every token for the agent is bound to a DPoP key (RFC 9728 §2).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dpop_bound_access_tokens_required: bool,
    /// True if no token for the agent is bound, because it cannot check proofs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bearer_only: bool,
    /// The credentials that the agent authenticates with. Without them, it can only receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AgentAuth>,
    /// The person or team that answers for the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The purpose of the agent, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The time from which the agent counts as disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// True if the agent may neither request nor receive tokens.
    #[serde(default)]
    pub disabled: bool,
    /// The id of the class, in an instance of a class. No registry entry sets it.
    #[serde(skip)]
    class: Option<String>,
}

/// The credentials that an agent may authenticate with. Debug output contains no hash.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentAuth {
    /// The argon2id hash of its secret in PHC form, or an array of two. Excludes
    /// `client_secret_sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_hash: Option<SecretHashes>,
    /// The SHA-256 of a random 256-bit secret, in hexadecimal, or an array of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_sha256: Option<SecretHashes>,
    /// The URL of the keys that sign its client assertions. Excludes `jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_uri: Option<Url>,
    /// The keys that sign its client assertions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Map<String, Value>>,
    /// The accepted audience of its client assertions.
    #[serde(default, skip_serializing_if = "AssertionAudience::is_default")]
    pub assertion_audience: AssertionAudience,
    /// The furthest `exp` of its client assertions: 5 minutes ahead by default, 1 hour at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub max_assertion_lifetime: Option<Ttl>,
    /// The CA certificates for `jwks_uri`, in PEM. Without them, those of the system apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// The URI in its client certificate (RFC 8705 §2.1.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_uri: Option<String>,
    /// The DNS name in its client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_san_dns: Option<String>,
    /// The subject of its client certificate, in the form of RFC 4514.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_client_auth_subject_dn: Option<String>,
    /// The workloads that authenticate as this agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workload: Vec<Workload>,
}

/// The accepted audience of an agent's client assertions (RFC 7523 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionAudience {
    /// Our issuer alone.
    #[default]
    Issuer,
    /// Our issuer, our token endpoint, or both: for client libraries that cannot send the issuer
    /// alone.
    IssuerOrTokenEndpoint,
}

impl Agent {
    /// Returns the part of a class's id before `/*`, or `None` if the agent is no class.
    #[must_use]
    pub fn class_prefix(&self) -> Option<&str> {
        self.id.strip_suffix(CLASS)
    }

    /// Returns the instance of this class for `matched`, or `None` if its id would be too long.
    #[must_use]
    pub fn instance(&self, matched: &str) -> Option<Self> {
        let id = format!("{}/{matched}", self.class_prefix()?);
        let audience = self.audience().to_vec();
        (id.len() <= MAX_AGENT_ID_CHARS).then(|| Self { id, audience, class: Some(self.id.clone()), ..self.clone() })
    }

    /// Returns the id of the registry entry, which limits and metrics use. For an instance, it is
    /// the id of its class.
    #[must_use]
    pub fn entry_id(&self) -> &str {
        self.class.as_deref().unwrap_or(&self.id)
    }

    /// Returns the `aud` values of tokens for the agent: one or more. Minted tokens carry the
    /// first.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        if self.audience.is_empty() { std::slice::from_ref(&self.id) } else { &self.audience }
    }

    /// Returns the `aud` of a token minted for the agent.
    #[must_use]
    pub fn minted_audience(&self) -> &str {
        self.audience.first().unwrap_or(&self.id)
    }

    /// Returns true if a token addressed to `audience` is addressed to the agent.
    #[must_use]
    pub fn is_addressed_by(&self, audience: &str) -> bool {
        self.audience().iter().any(|own| own == audience)
    }

    /// Returns true if the agent may present a token of an outside issuer that is addressed to
    /// `audience`.
    #[must_use]
    pub fn may_present(&self, audience: &str) -> bool {
        self.is_addressed_by(audience) || self.accepts.iter().any(|accepted| accepted == audience)
    }
}

impl AssertionAudience {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl AgentAuth {
    /// The longest lifetime of a client assertion if the entry sets none.
    pub const DEFAULT_ASSERTION_LIFETIME: Ttl = Ttl::from_minutes(5);
    /// The longest lifetime of a client assertion that an entry may allow.
    pub const LONGEST_ASSERTION_LIFETIME: Ttl = Ttl::from_minutes(60);

    /// Returns the argon2id hashes of its secret.
    #[must_use]
    pub fn argon2_hashes(&self) -> &[String] {
        self.client_secret_hash.as_ref().map_or(&[], SecretHashes::as_slice)
    }

    /// Returns the SHA-256 hashes of its secret.
    #[must_use]
    pub fn sha256_hashes(&self) -> &[String] {
        self.client_secret_sha256.as_ref().map_or(&[], SecretHashes::as_slice)
    }

    /// Returns true if there is a credential to authenticate with.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        let has_secret = self.client_secret_hash.is_some() || self.client_secret_sha256.is_some();
        has_secret || self.has_keys() || !self.workload.is_empty() || self.certificate_names().next().is_some()
    }

    /// Returns the keys that name its client certificate, each with its value.
    pub fn certificate_names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = [
            ("tls_client_auth_san_uri", &self.tls_client_auth_san_uri),
            ("tls_client_auth_san_dns", &self.tls_client_auth_san_dns),
            ("tls_client_auth_subject_dn", &self.tls_client_auth_subject_dn),
        ];
        names.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }

    /// Returns true if the agent may sign client assertions.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.jwks.is_some() || self.jwks_uri.is_some()
    }

    /// Returns the longest lifetime of its client assertions.
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
            .field("certificate", &self.certificate_names().collect::<Vec<_>>())
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
