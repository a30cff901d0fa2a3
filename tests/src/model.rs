//! A registry in plain terms, from which the registry file of a test is written.
//!
//! The types are the tests' own, so that what a test expects is worked out from what the file says and not from the server's reading
//! of it. All spans are in seconds.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use sts_jose::Algorithm;
use sts_server::config::Config;
use sts_server::registry::{RegistryFile, check};

use crate::TestKey;

/// The issuer of every server that serves a [`Model`].
pub const OUR_ISSUER: &str = "https://sts.example.com";

/// A registry, and the limits of the server that serves it.
#[derive(Debug, Clone)]
pub struct Model {
    /// `limits.chain_depth`.
    pub chain_depth: usize,
    /// `limits.max_ttl`.
    pub max_ttl: i64,
    /// The outside issuers.
    pub issuers: Vec<Issuer>,
    /// The agents.
    pub agents: Vec<Agent>,
    /// The delegations.
    pub delegations: Vec<Delegation>,
}

/// An outside issuer.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its `iss`.
    pub name: String,
    /// Which of the keys of the run it signs with.
    pub key: usize,
    /// Where the tenant of its tokens comes from.
    pub tenant: TenantSource,
    /// The tenants that it may assert; none for all.
    pub tenants: Option<BTreeSet<String>>,
    /// What its tokens hold.
    pub scopes: ScopeSource,
    /// The claim that says whom its tokens are addressed to.
    pub audience_claim: String,
    /// What is put before its subjects.
    pub subject_prefix: String,
    /// How old its tokens may be.
    pub max_token_age: i64,
    /// Whether it is disabled.
    pub disabled: bool,
}

/// Where the tenant of a token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantSource {
    /// A claim.
    Claim(String),
    /// The issuer's entry.
    Fixed(String),
    /// Nowhere.
    None,
}

/// What the tokens of an issuer hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeSource {
    /// All plain scopes of the delegation.
    Delegation,
    /// What this claim says.
    Claim(String),
}

/// An agent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// What tokens for it say; never empty.
    pub audience: Vec<String>,
    /// The outside audiences that it may present.
    pub accepts: Vec<String>,
    /// Its tenants; none for all.
    pub tenants: Option<BTreeSet<String>>,
    /// What its service account may forward.
    pub forward_tenants: BTreeSet<String>,
    /// The target of a request that names none.
    pub default_target: Option<String>,
    /// How long tokens for it live.
    pub token_ttl: i64,
    /// What tokens for it are signed with.
    pub signing_alg: Algorithm,
    /// How it authenticates.
    pub credential: Credential,
    /// The keys about bindings that are true in its entry.
    pub binding_keys: Vec<&'static str>,
    /// Whether it is disabled.
    pub disabled: bool,
}

/// How an agent authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// It only receives.
    None,
    /// With [`Agent::secret`].
    Secret,
    /// With [`Agent::key`].
    Key,
    /// With [`Agent::certificate`].
    Certificate,
    /// With tokens of the issuer of this index, whose subject is [`Agent::workload`].
    Workload(usize),
}

/// A delegation.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// The index of the actor.
    pub actor: usize,
    /// The index of the target.
    pub target: usize,
    /// The scopes that the subject must hold.
    pub plain: BTreeSet<String>,
    /// The scopes that others entitle to.
    pub derived: Vec<(String, BTreeSet<String>)>,
    /// The indices of the issuers whose users it covers; none for all.
    pub issuers: Option<BTreeSet<usize>>,
    /// The tenants that it covers; none for all.
    pub tenants: Option<BTreeSet<String>>,
    /// The roles that pass.
    pub roles: BTreeSet<String>,
    /// How long tokens live.
    pub max_ttl: Option<i64>,
    /// Whether the actor may call on its own behalf.
    pub service_account: bool,
    /// Whether the actor may act again.
    pub reentrant: bool,
    /// Whether it is disabled.
    pub disabled: bool,
}

impl Issuer {
    /// The key that it signs with.
    #[must_use]
    pub fn signer(&self) -> Arc<TestKey> {
        key_of_run(self.key)
    }
}

impl Agent {
    /// Its client secret: no secret to anybody.
    #[must_use]
    pub fn secret(&self) -> String {
        format!("the secret of {}", self.id)
    }

    /// The key that it signs client assertions with.
    #[must_use]
    pub fn key() -> Arc<TestKey> {
        key_of_run(AGENT_KEY)
    }

    /// The key that the agent of this index makes DPoP proofs with.
    #[must_use]
    pub fn proof_key(index: usize) -> Arc<TestKey> {
        key_of_run(index % ISSUER_KEYS)
    }

    /// The client certificate of the agent of this index, in DER. Its one name is that of the agent with this index in its id.
    #[must_use]
    pub fn certificate(index: usize) -> Vec<u8> {
        static CERTIFICATES: OnceLock<Mutex<HashMap<usize, Vec<u8>>>> = OnceLock::new();
        let mut certificates = CERTIFICATES.get_or_init(Mutex::default).lock().expect("no panic holds it");
        let made = certificates.entry(index).or_insert_with(|| {
            let mut params = CertificateParams::new(vec![host(&format!("agent-{index}"))]).expect("a DNS name");
            params.not_after = rcgen::date_time_ymd(2100, 1, 1);
            let key = KeyPair::generate().expect("a key");
            params.self_signed(&key).expect("a certificate").der().to_vec()
        });
        made.clone()
    }

    /// Returns true if a key about bindings is true in its entry.
    #[must_use]
    pub fn says(&self, key: &str) -> bool {
        self.binding_keys.contains(&key)
    }

    /// The subject of its workload tokens.
    #[must_use]
    pub fn workload(&self) -> String {
        format!("workload of {}", self.id)
    }
}

/// How many keys the issuers of the run have among them.
pub const ISSUER_KEYS: usize = 4;
const AGENT_KEY: usize = ISSUER_KEYS;
const STRANGER_KEY: usize = ISSUER_KEYS + 1;

/// A key that nobody knows.
#[must_use]
pub fn key_of_a_stranger() -> Arc<TestKey> {
    key_of_run(STRANGER_KEY)
}

fn key_of_run(index: usize) -> Arc<TestKey> {
    static KEYS: OnceLock<Vec<Arc<TestKey>>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| (0..=STRANGER_KEY).map(|_| TestKey::new(Algorithm::Es256)).collect());
    Arc::clone(&keys[index])
}

impl Model {
    /// The registry file.
    ///
    /// # Panics
    /// When it cannot be written as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let file = json!({
            "issuers": self.issuers.iter().map(issuer).collect::<Vec<_>>(),
            "agents": self.agents.iter().map(|entry| agent(entry, self)).collect::<Vec<_>>(),
            "delegations": self.delegations.iter().map(|entry| delegation(entry, self)).collect::<Vec<_>>(),
        });
        toml::to_string(&file).expect("TOML")
    }

    /// The registry file as the server reads it.
    ///
    /// # Panics
    /// When the server finds an error in it: whatever a test makes up is valid.
    #[must_use]
    pub fn to_file(&self, config: &Config) -> RegistryFile {
        let text = self.to_toml();
        let file = RegistryFile::parse(Path::new("registry.toml"), &text);
        let errors: Vec<_> = check(&file, Some(config)).into_iter().filter(|fault| fault.is_error()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{text}");
        file
    }
}

fn issuer(issuer: &Issuer) -> Value {
    let mut entry = json!({
        "issuer": issuer.name,
        "jwks": { "keys": [issuer.signer().jwk()] },
        "tenants": tenants(issuer.tenants.as_ref()),
        "audience_claim": issuer.audience_claim,
        "subject_prefix": issuer.subject_prefix,
        "max_token_age": span(issuer.max_token_age),
        "disabled": issuer.disabled,
    });
    match &issuer.tenant {
        TenantSource::Claim(claim) => entry["tenant_claim"] = json!(claim),
        TenantSource::Fixed(tenant) => entry["tenant"] = json!(tenant),
        TenantSource::None => {}
    }
    if let ScopeSource::Claim(claim) = &issuer.scopes {
        entry["scopes_from"] = json!("token");
        entry["scope_claim"] = json!(claim);
    }
    entry
}

fn agent(agent: &Agent, model: &Model) -> Value {
    let mut entry = json!({
        "id": agent.id,
        "audience": agent.audience,
        "accepts": agent.accepts,
        "tenants": tenants(agent.tenants.as_ref()),
        "forward_tenants": agent.forward_tenants,
        "token_ttl": span(agent.token_ttl),
        "signing_alg": agent.signing_alg.as_str(),
        "disabled": agent.disabled,
    });
    for key in &agent.binding_keys {
        entry[key] = json!(true);
    }
    if let Some(target) = &agent.default_target {
        entry["default_target"] = json!(target);
    }
    match agent.credential {
        Credential::None => {}
        Credential::Secret => entry["auth"] = json!({ "client_secret_sha256": sha256(&agent.secret()) }),
        Credential::Key => entry["auth"] = json!({ "jwks": { "keys": [Agent::key().jwk()] } }),
        Credential::Certificate => entry["auth"] = json!({ "tls_client_auth_san_dns": host(&agent.id) }),
        Credential::Workload(issuer) => {
            let workload = json!({ "issuer": model.issuers[issuer].name, "subject": agent.workload() });
            entry["auth"] = json!({ "workload": [workload] });
        }
    }
    entry
}

fn delegation(delegation: &Delegation, model: &Model) -> Value {
    let derived = delegation.derived.iter().map(|(scope, from)| json!({ "scope": scope, "from": from }));
    let scopes: Vec<Value> = delegation.plain.iter().map(|scope| json!(scope)).chain(derived).collect();
    let mut entry = json!({
        "actor": model.agents[delegation.actor].id,
        "target": model.agents[delegation.target].id,
        "scopes": scopes,
        "tenants": tenants(delegation.tenants.as_ref()),
        "roles": delegation.roles,
        "service_account": delegation.service_account,
        "reentrant": delegation.reentrant,
        "disabled": delegation.disabled,
    });
    if let Some(issuers) = &delegation.issuers {
        entry["issuers"] = issuers.iter().map(|index| json!(model.issuers[*index].name)).collect();
    }
    if let Some(max_ttl) = delegation.max_ttl {
        entry["max_ttl"] = json!(span(max_ttl));
    }
    entry
}

/// The name in an agent's certificate.
fn host(id: &str) -> String {
    format!("{id}.agents.example")
}

fn tenants(tenants: Option<&BTreeSet<String>>) -> Value {
    tenants.map_or_else(|| json!(["*"]), |tenants| json!(tenants))
}

fn span(seconds: i64) -> String {
    format!("{seconds}s")
}

fn sha256(secret: &str) -> String {
    sts_jose::hex(digest(&SHA256, secret.as_bytes()).as_ref())
}
