//! The rules of agents.

use sts_jose::Algorithm;
use url::Url;

use super::context::Context;
use super::keys::{PlainHttp, check_key_set, check_key_url};
use crate::config::{Argon2idCost, argon2id_cost};
use crate::fault::Fault;
use crate::registry::located::{Located, Place};
use crate::registry::{Agent, AgentAuth, AssertionAudience, MAX_AGENT_ID_CHARS, SecretHashes, Tenants, Workload};
use crate::ttl::Ttl;

/// The number of hexadecimal digits in a SHA-256.
const SHA256_HEX_CHARS: usize = 64;

/// The SHA-256 of the empty string.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The default `token_ttl`. It causes no warning if `limits.max_ttl` is shorter.
const DEFAULT_TOKEN_TTL: Ttl = Ttl::from_minutes(5);

pub(super) fn rules(context: &Context<'_>, agent: &Located<Agent>, faults: &mut Vec<Fault>) {
    names(context, agent, faults);
    class(agent, faults);
    tenants(agent, faults);
    tokens(context, agent, faults);
    if let Some(auth) = &agent.entry.auth {
        let checked = Auth { id: &agent.entry.id, auth, place: &agent.place };
        checked.secrets(faults);
        checked.keys(faults);
        checked.assertions(faults);
        checked.certificate(context, faults);
        for (index, workload) in auth.workload.iter().enumerate() {
            checked.workload(context, index, workload, faults);
        }
    }
}

fn names(context: &Context<'_>, Located { entry, place }: &Located<Agent>, faults: &mut Vec<Fault>) {
    let id = &entry.id;
    if id.is_empty() || id.len() > MAX_AGENT_ID_CHARS || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("agent id {id:?}: 1 to {MAX_AGENT_ID_CHARS} printable ASCII characters without space");
        faults.push(place.error("id", message));
    }
    for (index, audience) in entry.audience().iter().enumerate() {
        let path = format!("audience[{index}]");
        let reason = if audience.is_empty() {
            "is empty"
        } else if audience.chars().any(char::is_control) {
            "contains a control character"
        } else if Url::parse(audience).is_ok_and(|url| url.fragment().is_some()) {
            "has a fragment, so no resource parameter can name it (RFC 8707 section 2)"
        } else if context.config.is_some_and(|config| config.issuer == *audience) {
            "is this service itself"
        } else {
            continue;
        };
        faults.push(place.error(&path, format!("audience {audience:?} of agent {id:?} {reason}")));
    }
    if let Some(index) = entry.accepts.iter().position(String::is_empty) {
        faults
            .push(place.error(&format!("accepts[{index}]"), format!("accepts of agent {id:?} contains an empty text")));
    }
    if let Some(target) = entry.default_target.as_ref().filter(|target| !context.knows_name(target)) {
        let fault = place.error("default_target", format!("default_target {target:?} of agent {id:?} is not an agent"));
        faults.push(context.with_agent_meant(fault, target));
    }
}

/// Checks that a class authenticates only by workload patterns, and that only a class has a `*` in
/// its id.
fn class(Located { entry, place }: &Located<Agent>, faults: &mut Vec<Fault>) {
    let id = &entry.id;
    let Some(prefix) = entry.class_prefix() else {
        if id.contains('*') {
            let fault = place.error("id", format!("agent id {id:?} contains a '*' that is not its last segment"));
            faults.push(fault.with_help("the id of a class ends with /*, as in \"batch/*\""));
        }
        return;
    };
    if prefix.is_empty() || prefix.contains('*') {
        faults.push(place.error("id", format!("agent id {id:?}: a class has a name without '*' before its /*")));
    }
    let Some(auth) = &entry.auth else { return };
    let others = [
        ("auth.client_secret_hash", auth.client_secret_hash.is_some()),
        ("auth.client_secret_sha256", auth.client_secret_sha256.is_some()),
        ("auth.jwks", auth.jwks.is_some()),
        ("auth.jwks_uri", auth.jwks_uri.is_some()),
        ("auth.tls_client_auth_san_uri", auth.tls_client_auth_san_uri.is_some()),
        ("auth.tls_client_auth_san_dns", auth.tls_client_auth_san_dns.is_some()),
        ("auth.tls_client_auth_subject_dn", auth.tls_client_auth_subject_dn.is_some()),
    ];
    for (key, _) in others.into_iter().filter(|(_, given)| *given) {
        let message = format!("agent {id:?} is a class, whose instances authenticate only as workloads");
        faults.push(place.error(key, message));
    }
}

fn tenants(Located { entry, place }: &Located<Agent>, faults: &mut Vec<Fault>) {
    let id = &entry.id;
    match &entry.tenants {
        Tenants::Only(tenants) if tenants.is_empty() && place.reads(&["tenants"]) => {
            let fault =
                place.error("tenants", format!("tenants of agent {id:?} is empty: it could neither ask nor receive"));
            faults.push(fault.with_help("leave it out for every tenant, or say disabled = true"));
        }
        tenants => {
            for (index, tenant) in entry.forward_tenants.iter().enumerate() {
                if !tenants.contain(Some(tenant)) && place.reads(&["tenants"]) {
                    let message =
                        format!("forward_tenants of agent {id:?}: {:?} is not among its tenants", tenant.as_str());
                    faults.push(place.error(&format!("forward_tenants[{index}]"), message));
                }
            }
        }
    }
}

fn tokens(context: &Context<'_>, Located { entry, place }: &Located<Agent>, faults: &mut Vec<Fault>) {
    let id = &entry.id;
    match entry.signing_alg {
        Algorithm::Es256 | Algorithm::Rs256 | Algorithm::EdDsa => {}
        other => {
            let message = format!(
                "signing_alg {:?} of agent {id:?}: tokens are signed with ES256, RS256 or EdDSA",
                other.as_str()
            );
            faults.push(place.error("signing_alg", message));
        }
    }
    if entry.bearer_only && entry.dpop_bound_access_tokens_required {
        let message = format!("agent {id:?} has both bearer_only and dpop_bound_access_tokens_required");
        faults.push(place.error("bearer_only", message).with_help("keep one of them"));
    }
    if let Some(limits) = context.config.map(|config| &config.limits)
        && entry.token_ttl > limits.max_ttl
        && entry.token_ttl != DEFAULT_TOKEN_TTL
    {
        let message =
            format!("token_ttl {} of agent {id:?} is cut to limits.max_ttl, {}", entry.token_ttl, limits.max_ttl);
        faults.push(place.warning("token_ttl", message));
    }
}

/// The credentials of an agent, with its id and its place.
struct Auth<'a> {
    id: &'a str,
    auth: &'a AgentAuth,
    place: &'a Place,
}

impl Auth<'_> {
    fn secrets(&self, faults: &mut Vec<Fault>) {
        let Self { id, auth, place } = self;
        if !auth.has_credential() && place.reads(&["auth"]) {
            let fault = place.error("auth", format!("auth of agent {id:?} names no credential"));
            faults.push(fault.with_help("leave it out for an agent that only receives"));
        }
        if auth.client_secret_hash.is_some() && auth.client_secret_sha256.is_some() {
            let message = format!("agent {id:?} has both client_secret_hash and client_secret_sha256");
            faults.push(place.error("auth.client_secret_sha256", message).with_help("keep one of them"));
        }
        self.number_of_hashes("client_secret_hash", auth.client_secret_hash.as_ref(), faults);
        self.number_of_hashes("client_secret_sha256", auth.client_secret_sha256.as_ref(), faults);
        for hash in auth.argon2_hashes() {
            if let Err(reason) = argon2id_cost(hash) {
                let message = format!("client_secret_hash of agent {id:?} {reason}");
                faults.push(place.error("auth.client_secret_hash", message));
            }
        }
        for hash in auth.sha256_hashes() {
            if !is_sha256_hex(hash) {
                let message =
                    format!("client_secret_sha256 of agent {id:?} is not {SHA256_HEX_CHARS} hexadecimal digits");
                faults.push(place.error("auth.client_secret_sha256", message));
            } else if hash.eq_ignore_ascii_case(EMPTY_SHA256) {
                faults.push(place.error("auth.client_secret_sha256", of_an_empty_secret("client_secret_sha256", id)));
            }
        }
    }

    /// Checks that there is one hash, or two while a secret is being replaced.
    fn number_of_hashes(&self, key: &str, hashes: Option<&SecretHashes>, faults: &mut Vec<Fault>) {
        let Self { id, place, .. } = self;
        let Some(count) = hashes.map(|hashes| hashes.as_slice().len()) else { return };
        if count == 0 || count > SecretHashes::MAX {
            let message = format!("{key} of agent {id:?} has {count} hashes; 1 or {} are allowed", SecretHashes::MAX);
            faults.push(place.error(&format!("auth.{key}"), message));
        }
    }

    /// Checks that one name at most identifies the client certificate (RFC 8705 §2.1.2), and that
    /// certificates are verified.
    fn certificate(&self, context: &Context<'_>, faults: &mut Vec<Fault>) {
        if let (Some((key, _)), Some(config)) = (self.auth.certificate_names().next(), context.config)
            && !config.verifies_client_certificates()
        {
            let message = format!("{key} of agent {:?}: the server verifies no client certificates", self.id);
            let fault = self.place.warning(&format!("auth.{key}"), message);
            faults.push(fault.with_help("set tls.client_ca_file, or listen.client_certificate_header"));
        }
        for (index, (key, value)) in self.auth.certificate_names().enumerate() {
            let message = match (value.trim().is_empty(), index) {
                (true, _) => format!("{key} of agent {:?} is empty", self.id),
                (false, 0) => continue,
                (false, _) => format!("agent {:?} has several names of its certificate; keep one of them", self.id),
            };
            faults.push(self.place.error(&format!("auth.{key}"), message));
        }
    }

    /// Checks the options for client libraries whose assertions break the default rules.
    fn assertions(&self, faults: &mut Vec<Fault>) {
        let Self { id, auth, place } = self;
        let lifetime = auth.max_assertion_lifetime;
        let has_audience = auth.assertion_audience != AssertionAudience::default();
        let keys = [("assertion_audience", has_audience), ("max_assertion_lifetime", lifetime.is_some())];
        for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set && !auth.has_keys() && place.reads(&["auth"])) {
            let message = format!("{key} of agent {id:?}: it has no key to sign client assertions with");
            faults.push(place.error(&format!("auth.{key}"), message).with_help("name its jwks or jwks_uri"));
        }
        if has_audience {
            let message = format!(
                "client assertions of agent {id:?} may be addressed to the token endpoint: keep it to our issuer alone, if its library can"
            );
            faults.push(place.warning("auth.assertion_audience", message));
        }
        match lifetime {
            Some(longer) if longer > AgentAuth::LONGEST_ASSERTION_LIFETIME => {
                let message = format!(
                    "max_assertion_lifetime {longer} of agent {id:?} is longer than {}",
                    AgentAuth::LONGEST_ASSERTION_LIFETIME
                );
                faults.push(place.error("auth.max_assertion_lifetime", message));
            }
            Some(longer) if longer > AgentAuth::DEFAULT_ASSERTION_LIFETIME => {
                let message = format!(
                    "client assertions of agent {id:?} may live for {longer}, and {} is the default: keep it, if its library can",
                    AgentAuth::DEFAULT_ASSERTION_LIFETIME
                );
                faults.push(place.warning("auth.max_assertion_lifetime", message));
            }
            Some(_) | None => {}
        }
    }

    fn keys(&self, faults: &mut Vec<Fault>) {
        let Self { id, auth, place } = self;
        if auth.jwks.is_some() && auth.jwks_uri.is_some() {
            let message = format!("agent {id:?} has both jwks and jwks_uri");
            faults.push(place.error("auth.jwks_uri", message).with_help("keep one of them"));
        }
        match auth.jwks.as_ref().map(check_key_set) {
            Some(Err(reason)) => faults.push(place.error("auth.jwks", format!("jwks of agent {id:?}: {reason}"))),
            lost => {
                let lost = lost.into_iter().flatten().flatten();
                faults.extend(lost.map(|lost| place.warning("auth.jwks", format!("jwks of agent {id:?}: {lost}"))));
            }
        }
        if auth.ca_file.is_some() && auth.jwks_uri.is_none() {
            let message = format!("ca_file of agent {id:?} has no effect: its keys are not fetched");
            faults.push(place.warning("auth.ca_file", message));
        }
        if let Some(url) = &auth.jwks_uri
            && let Err(reason) = check_key_url(url, PlainHttp::LoopbackOnly)
        {
            let message = format!("jwks_uri {:?} of agent {id:?}: {reason}", url.as_str());
            faults.push(place.error("auth.jwks_uri", message));
        }
    }

    fn workload(&self, context: &Context<'_>, index: usize, workload: &Workload, faults: &mut Vec<Fault>) {
        let Self { id, place, .. } = self;
        let path = |key: &str| format!("auth.workload[{index}].{key}");
        let Workload { issuer, subject, audience, claims } = workload;
        if !context.knows_issuer(issuer) {
            let fault =
                place.warning(&path("issuer"), format!("workload issuer {issuer:?} of agent {id:?} is not registered"));
            faults.push(context.with_issuer_meant(fault, issuer));
        }
        if let Some(entry) = context.issuer_of_alias(issuer) {
            let message = format!("workload issuer {issuer:?} of agent {id:?} is an alias of issuer {entry:?}");
            faults.push(place.error(&path("issuer"), message).with_help(format!("write {entry:?}")));
        }
        if subject.is_empty() {
            faults.push(place.error(&path("subject"), format!("workload subject of agent {id:?} is empty")));
        }
        self.pattern(&path("subject"), workload, faults);
        for (selector, value) in claims {
            if value.is_object() || value.is_array() || value.is_null() {
                let message = format!(
                    "workload claim {:?} of agent {id:?} must be a text, a number or a boolean",
                    selector.to_string()
                );
                faults.push(place.error(&path("claims"), message));
            }
        }
        if let (Some(audience), Some(config)) = (audience, context.config)
            && *audience != config.issuer
        {
            let message = format!(
                "workload audience {audience:?} of agent {id:?} is not this service: others that this audience names can present its tokens here"
            );
            faults.push(
                place.warning(&path("audience"), message).with_help("project tokens for our issuer alone, if you can"),
            );
        }
    }
}

impl Auth<'_> {
    /// Checks that a `*` stands only at the end of the subject of a class.
    fn pattern(&self, path: &str, workload: &Workload, faults: &mut Vec<Fault>) {
        let Self { id, place, .. } = self;
        let subject = &workload.subject;
        let is_class = id.ends_with("/*");
        let before = workload.pattern().unwrap_or(subject);
        let (reason, help) = if before.contains('*') {
            ("contains a '*' before its end", "a '*' is allowed only at the end of the last segment")
        } else if workload.pattern().is_some() && !is_class {
            (
                "ends with '*', but the agent is not a class",
                "give the agent an id that ends with /*, as in \"batch/*\", or name exact values in claims",
            )
        } else if workload.pattern().is_some() && !before.contains([':', '/']) {
            ("has no ':' or '/' before its '*'", "a '*' is allowed only within one segment, after ':' or '/'")
        } else if workload.pattern().is_none() && is_class && !subject.is_empty() {
            ("does not end with '*', and the agent is a class", "the '*' is what tells its instances apart")
        } else {
            return;
        };
        let message = format!("workload subject {subject:?} of agent {id:?} {reason}");
        faults.push(place.error(path, message).with_help(help));
    }
}

/// Warns of hashes with different costs. The response time would then reveal which ids exist.
pub(super) fn costs(agents: &[Located<Agent>], faults: &mut Vec<Fault>) {
    let Some(costliest) = agents.iter().flat_map(costs_of).max_by_key(Argon2idCost::work) else { return };
    for agent in agents {
        let Some(cost) = costs_of(agent).find(|cost| *cost != costliest) else { continue };
        let message = format!(
            "client_secret_hash of agent {:?} costs {cost}, and another agent's {costliest}: the time of an answer tells which ids there are",
            agent.entry.id
        );
        let fault = agent.place.warning("auth.client_secret_hash", message);
        faults.push(fault.with_help("make all hashes with the same parameters"));
    }
}

/// Returns the costs of an agent's readable hashes.
fn costs_of(agent: &Located<Agent>) -> impl Iterator<Item = Argon2idCost> {
    let hashes = agent.entry.auth.as_ref().map_or(&[][..], AgentAuth::argon2_hashes);
    hashes.iter().filter_map(|hash| argon2id_cost(hash).ok())
}

/// Returns the message for the hash of an empty secret. A shell produces it from an unset variable.
pub(super) fn of_an_empty_secret(key: &str, id: &str) -> String {
    format!("{key} of agent {id:?} is the hash of an empty secret: was $SECRET set?")
}

fn is_sha256_hex(hash: &str) -> bool {
    hash.len() == SHA256_HEX_CHARS && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}
