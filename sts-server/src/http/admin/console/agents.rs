//! The agents: who they are, how they authenticate, whom they may call, who may call them.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::BASE;
use super::face::Browser;
use super::page::{self, Frame, posted};
use super::words::{EventRow, RuleRow, href, path_with, tenants};
use crate::admin::{AuditQuery, Denied, Precondition, PutEntry};
use crate::config::Role;
use crate::registry::{Agent, AgentAuth};
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
}

#[derive(Template)]
#[template(path = "console/agent.html")]
struct One {
    frame: Frame,
    id: String,
    href: String,
    is_disabled: bool,
    is_disabled_by_admin: bool,
    credentials: String,
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
        let (mut calls, mut called_by) = (HashMap::new(), HashMap::new());
        for rule in registry.all_delegations() {
            *calls.entry(rule.actor.as_str()).or_insert(0_usize) += 1;
            *called_by.entry(rule.target.as_str()).or_insert(0_usize) += 1;
        }
        let agents = shown.into_iter().take(AGENTS).map(|agent| AgentRow {
            href: href("agents", &agent.id),
            id: agent.id.clone(),
            owner: agent.owner.clone().unwrap_or_default(),
            is_disabled: agent.disabled,
            credentials: credentials(agent.auth.as_ref()),
            calls: calls.get(agent.id.as_str()).copied().unwrap_or_default(),
            called_by: called_by.get(agent.id.as_str()).copied().unwrap_or_default(),
        });
        let agents = agents.collect();
        let page = List { frame: Frame::new(&api, &asked), query, agents, count, next };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Act), act).await
}

/// Shows one agent.
pub(super) async fn one(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let id = asked.id()?;
        let entry = api.administration.entry(EntryKind::Agent, &id).await?;
        let query = AuditQuery { agent: Some(id.clone()), ..AuditQuery::default() };
        let filter = api.administration.audit_filter(&query, AuditOrder::NewestFirst);
        let found = api.administration.audit(&filter, EVENTS).await?;
        let snapshot = api.app.sts.snapshot();
        let registry = &snapshot.registry;
        let agent = registry.agents().map(Arc::as_ref).find(|agent| agent.id == id);
        let mut calls: Vec<_> = registry.all_delegations().filter(|rule| rule.actor == id).map(RuleRow::of).collect();
        let mut called_by: Vec<_> =
            registry.all_delegations().filter(|rule| rule.target == id).map(RuleRow::of).collect();
        for rules in [&mut calls, &mut called_by] {
            rules.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        }
        let page = One {
            frame: Frame::new(&api, &asked),
            href: href("agents", &id),
            is_disabled: agent.is_none_or(|agent| agent.disabled),
            is_disabled_by_admin: entry.disabled_by_admin,
            credentials: credentials(agent.and_then(|agent| agent.auth.as_ref())),
            facts: agent.map(facts).unwrap_or_default(),
            calls,
            called_by,
            events: found.rows.iter().map(EventRow::of).collect(),
            id,
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

/// Returns the kinds of credentials of an agent.
fn credentials(auth: Option<&AgentAuth>) -> String {
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
fn facts(agent: &Agent) -> Vec<(&'static str, String)> {
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
        ("Audience", agent.audience().join(" ")),
        ("Tenants", tenants(&agent.tenants)),
        ("Longest token for it", agent.token_ttl.to_string()),
        ("Its own tokens are bound", bound.to_owned()),
        ("Tokens for it are", for_it.to_owned()),
    ];
    said.chain(facts).collect()
}
