//! The agents: who they are, how they authenticate, whom they may call, who may call them.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use sts_jose::KeySetHealth;

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::BASE;
use super::face::Browser;
use super::page::{self, Frame, posted};
use super::words::{EventRow, RuleRow, age, href, last_use, path_with, tenants, to_the_minute};
use crate::admin::{AuditQuery, Denied, Precondition, PutEntry};
use crate::config::Role;
use crate::registry::{Agent, AgentAuth, Delegation, Registry, SecretHashes};
use crate::storage::{AuditOrder, EntryKind};

/// The number of agents on a page, and of events on the page of an agent.
const AGENTS: usize = 100;
const EVENTS: u32 = 20;

#[derive(Template)]
#[template(path = "console/agents.html")]
struct List {
    frame: Frame,
    query: String,
    agents: Vec<AgentRow>,
    count: usize,
    next: Option<String>,
}

struct AgentRow {
    id: String,
    href: String,
    owner: String,
    is_disabled: bool,
    credentials: String,
    calls: usize,
    called_by: usize,
    last_use: String,
    expires_at: String,
}

#[derive(Template)]
#[template(path = "console/agent.html")]
struct One {
    frame: Frame,
    id: String,
    href: String,
    is_disabled: bool,
    is_disabled_by_admin: bool,
    credentials: Vec<(&'static str, String)>,
    facts: Vec<(&'static str, String)>,
    calls: Vec<RuleRow>,
    called_by: Vec<RuleRow>,
    events: Vec<EventRow>,
}

/// Lists the agents, by id.
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let given = asked.query(&["q", "after"])?;
        let query = given.get("q").unwrap_or_default().to_owned();
        let after = given.get("after").unwrap_or_default();
        let snapshot = api.app.sts.snapshot();
        let registry = &snapshot.registry;
        let is_found = |agent: &&Agent| {
            agent.id.contains(&query) || agent.owner.as_ref().is_some_and(|owner| owner.contains(&query))
        };
        let mut agents: Vec<&Agent> = registry.agents().map(Arc::as_ref).filter(is_found).collect();
        agents.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        let count = agents.len();
        let shown: Vec<&Agent> =
            agents.into_iter().filter(|agent| agent.id.as_str() > after).take(AGENTS + 1).collect();
        let next = (shown.len() > AGENTS)
            .then(|| shown.get(AGENTS - 1))
            .flatten()
            .map(|agent| path_with(BASE, &[("q", &query), ("after", &agent.id)]));
        let shown: Vec<&Agent> = shown.into_iter().take(AGENTS).collect();
        let rules: Vec<&Delegation> = shown.iter().flat_map(|agent| rules_of(registry, &agent.id)).collect();
        let uses = api.administration.uses(&rules).await?;
        let now = api.app.sts.now();
        let agents = shown.into_iter().map(|agent| AgentRow {
            href: href("agents", &agent.id),
            id: agent.id.clone(),
            owner: agent.owner.clone().unwrap_or_default(),
            is_disabled: agent.disabled,
            credentials: kinds(agent.auth.as_ref()),
            calls: registry.calls_of(&agent.id).count(),
            called_by: registry.calls_to(&agent.id).count(),
            last_use: last_use(uses.last(rules_of(registry, &agent.id)), now),
            expires_at: agent.expires_at.map(to_the_minute).unwrap_or_default(),
        });
        let agents = agents.collect();
        let page = List { frame: Frame::new(&api, &asked), query, agents, count, next };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Search), act).await
}

/// Returns the delegations by which an agent may call, and by which it may be called.
fn rules_of<'r>(registry: &'r Registry, agent: &'r str) -> impl Iterator<Item = &'r Delegation> {
    registry.calls_of(agent).chain(registry.calls_to(agent))
}

/// Shows one agent.
pub(super) async fn one(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let id = asked.id()?;
        let snapshot = api.app.sts.snapshot();
        let registry = &snapshot.registry;
        let agent = registry.agent(&id).ok_or(Denied::NotFound)?;
        let query = AuditQuery { agent: Some(id.clone()), ..AuditQuery::default() };
        let filter = api.administration.audit_filter(&query, AuditOrder::NewestFirst);
        let found = api.administration.audit(&filter, EVENTS).await?;
        let rules: Vec<&Delegation> = rules_of(registry, &id).collect();
        let uses = api.administration.uses(&rules).await?;
        let now = api.app.sts.now();
        let shown = |rules: &mut dyn Iterator<Item = &Delegation>| {
            let mut rules: Vec<&Delegation> = rules.collect();
            rules.sort_unstable_by(|left, right| left.id.cmp(&right.id));
            rules.into_iter().map(|rule| RuleRow::used(rule, registry, &uses, now)).collect()
        };
        let page = One {
            frame: Frame::new(&api, &asked),
            href: href("agents", &id),
            is_disabled: agent.disabled,
            is_disabled_by_admin: registry.is_disabled_by_admin(&id),
            credentials: credentials(agent.auth.as_ref(), snapshot.trusted.agent_health(&id), now),
            facts: facts(agent, last_use(uses.last(rules.iter().copied()), now)),
            calls: shown(&mut registry.calls_of(&id)),
            called_by: shown(&mut registry.calls_to(&id)),
            events: found.rows.iter().map(EventRow::of).collect(),
            id: id.clone(),
        };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Search), act).await
}

/// Disables or enables an agent, as an administrator.
pub(super) async fn disable(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let form = posted(&api, &asked)?;
        let id = asked.segment(1)?;
        let is_disabled = form.get("disabled") == Some("true");
        let entry = api.administration.entry(EntryKind::Agent, &id).await?;
        let mut body = entry.entry;
        body.insert("disabled".to_owned(), is_disabled.into());
        let put = PutEntry {
            kind: EntryKind::Agent,
            id: &id,
            body: &body,
            precondition: &Precondition::Is(vec![entry.etag]),
            role: asked.operator.role,
        };
        api.administration.put_entry(&put, &asked.by).await?;
        api.app.sts.refresh().await.map_err(Denied::from)?;
        Ok::<_, Refused>(page::see(&href("agents", &id)))
    };
    call::answer_as(Browser, api, request, (Role::Operator, Turn::Act), act).await
}

/// Returns the credentials of an agent, each with what is known of it, never a value. The registry
/// does not know when a secret was made.
fn credentials(auth: Option<&AgentAuth>, keys: Option<KeySetHealth>, now: Timestamp) -> Vec<(&'static str, String)> {
    let Some(auth) = auth else { return vec![("None", "it only receives".to_owned())] };
    let secrets = |hashes: &SecretHashes| match hashes.as_slice().len() {
        1 => "one".to_owned(),
        count => format!("{count}: one replaces the other"),
    };
    let secret = auth.client_secret_hash.as_ref().or(auth.client_secret_sha256.as_ref()).map(secrets);
    let key = match (&auth.jwks_uri, &auth.jwks) {
        (Some(url), _) => {
            let read = keys.and_then(|keys| keys.fetched_at).map(|at| format!("read {} ago", age(now, at)));
            let failing = keys.filter(|keys| keys.failing).map(|_| ", the last read failed").unwrap_or_default();
            Some(format!("keys of {url}, {}{failing}", read.unwrap_or_else(|| "never read".to_owned())))
        }
        (None, Some(_)) => Some("keys in the registry".to_owned()),
        (None, None) => None,
    };
    let certificate = auth.certificate_names().map(|(_, name)| name.to_owned()).next();
    let workloads = auth.workload.iter().map(|workload| format!("{} of {}", workload.subject, workload.issuer));
    let one = [("Secret", secret), ("Private key", key), ("Client certificate", certificate)];
    let one = one.into_iter().filter_map(|(kind, what)| Some((kind, what?)));
    one.chain(workloads.map(|workload| ("Workload token", workload))).collect()
}

/// Returns the kinds of credentials of an agent.
fn kinds(auth: Option<&AgentAuth>) -> String {
    let Some(auth) = auth else { return "none: it only receives".to_owned() };
    let has_certificate = auth.tls_client_auth_san_uri.is_some()
        || auth.tls_client_auth_san_dns.is_some()
        || auth.tls_client_auth_subject_dn.is_some();
    let kinds = [
        (auth.client_secret_hash.is_some() || auth.client_secret_sha256.is_some(), "secret"),
        (auth.jwks.is_some() || auth.jwks_uri.is_some(), "private key"),
        (has_certificate, "client certificate"),
        (!auth.workload.is_empty(), "workload token"),
    ];
    let kinds: Vec<&str> = kinds.into_iter().filter_map(|(has, kind)| has.then_some(kind)).collect();
    kinds.join(", ")
}

/// Returns what an agent's entry says of the agent and of tokens.
fn facts(agent: &Agent, last_use: String) -> Vec<(&'static str, String)> {
    let bound = match (agent.dpop_bound_access_tokens, agent.tls_client_certificate_bound_access_tokens) {
        (true, true) => "to a DPoP key and a client certificate",
        (true, false) => "to a DPoP key",
        (false, true) => "to a client certificate",
        (false, false) => "if it sends a proof",
    };
    let for_it = match (agent.dpop_bound_access_tokens_required, agent.bearer_only) {
        (true, _) => "always bound",
        (false, true) => "never bound: it cannot check proofs",
        (false, false) => "bound if the caller proves a key",
    };
    let expires_at = agent.expires_at.map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    let said = [("Owner", agent.owner.clone()), ("Purpose", agent.purpose.clone()), ("Expires", expires_at)];
    let said = said.into_iter().map(|(name, value)| (name, value.unwrap_or_else(|| "not said".to_owned())));
    let facts = [
        ("Last use", last_use),
        ("Audience", agent.audience().join(" ")),
        ("Tenants", tenants(&agent.tenants)),
        ("Longest token for it", agent.token_ttl.to_string()),
        ("Its own tokens are bound", bound.to_owned()),
        ("Tokens for it are", for_it.to_owned()),
    ];
    said.chain(facts).collect()
}
