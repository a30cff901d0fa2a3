//! Why a request is allowed or refused: the form of an explanation, and its steps.

use std::borrow::Cow;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use sts_protocol::{AuthorizationDetail, Form};

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::{Frame, posted};
use crate::admin::{Denied, ExplainRequest};
use crate::config::Role;
use crate::document::FieldFault;
use crate::exchange::{ComparedClaim, Explained, Explanation};

#[derive(Template)]
#[template(path = "console/why.html")]
struct Why {
    frame: Frame,
    agents: Vec<String>,
    fields: Vec<Field>,
    explained: Option<Shown>,
}

/// A field of the form. The pasted token is never shown again.
struct Field {
    name: &'static str,
    label: &'static str,
    value: String,
    help: &'static str,
    is_agent: bool,
}

/// The names of the fields, their labels and their help.
const FIELDS: [(&str, &str, &str); 8] = [
    ("actor", "Agent that asks", ""),
    ("target", "Agent to be called", ""),
    ("scope", "Scope", "Separated by spaces. All that is allowed, if empty."),
    ("issuer", "Issuer of the user", "Without a token: the issuer and the user are supposed."),
    ("sub", "User", "As the issuer names it."),
    ("tenant", "Tenant of the user", ""),
    ("subject_scope", "Scope of the user's token", "What the issuer's entry defines, if empty."),
    ("chain", "Agents that acted before", "Separated by spaces, the latest first."),
];

/// An explanation as the page shows it.
struct Shown {
    steps: Vec<(Cow<'static, str>, String)>,
    tokens: Vec<(String, Vec<Compared>)>,
    is_allowed: bool,
    summary: String,
    facts: Vec<(&'static str, String)>,
}

struct Compared {
    claim: String,
    token_says: String,
    registry_expects: String,
    nearest: String,
    fits: bool,
}

/// Shows the form, with the fields that the query gives.
pub(super) async fn ask(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let names: Vec<&str> = FIELDS.iter().map(|(name, ..)| *name).collect();
        let given = asked.query(&names)?;
        Ok::<_, Refused>(answer::page(&Why::new(&api, &asked, &given, None)))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Act), act).await
}

/// Explains the request in the form. Issues, stores and logs nothing.
pub(super) async fn explain(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let form = posted(&api, &asked)?;
        let explanation = question(&form).explain(&api.app.sts).await;
        let explanation =
            explanation.map_err(|wrong| Denied::Faults(vec![FieldFault::of(wrong.parameter, wrong.to_string())]))?;
        let page = Why::new(&api, &asked, &form, Some(shown(explanation)));
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Act), act).await
}

impl Why {
    fn new(api: &AdminApi, asked: &Asked, given: &Form, explained: Option<Shown>) -> Self {
        let fields = FIELDS.into_iter().map(|(name, label, help)| Field {
            name,
            label,
            value: given.get(name).unwrap_or_default().to_owned(),
            help,
            is_agent: matches!(name, "actor" | "target"),
        });
        let snapshot = api.app.sts.snapshot();
        let mut agents: Vec<String> = snapshot.registry.agents().map(|agent| agent.id.clone()).collect();
        agents.sort_unstable();
        agents.truncate(MAX_OFFERED);
        Self { frame: Frame::new(api, asked), agents, fields: fields.collect(), explained }
    }
}

/// The maximum number of agents that the form offers.
const MAX_OFFERED: usize = 1000;

fn question(form: &Form) -> ExplainRequest {
    let text = |name: &str| form.get(name).map(|value| value.trim().to_owned());
    let words = |name: &str| form.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    ExplainRequest {
        actor: text("actor"),
        target: text("target").into_iter().collect(),
        scope: text("scope"),
        subject_token: text("subject_token"),
        issuer: text("issuer"),
        sub: text("sub"),
        tenant: text("tenant"),
        subject_scope: text("subject_scope"),
        chain: words("chain"),
        dpop: form.get("dpop").is_some(),
        ..ExplainRequest::default()
    }
}

fn details(details: &[AuthorizationDetail]) -> impl Iterator<Item = (&'static str, String)> {
    details.iter().map(|detail| ("Detail", serde_json::to_string(detail).unwrap_or_default()))
}

fn shown(explanation: Explanation) -> Shown {
    let compared = |claim: ComparedClaim| Compared {
        claim: claim.claim.to_string(),
        token_says: claim.token_says.unwrap_or_else(|| "absent".to_owned()),
        registry_expects: claim.registry_expects.to_string(),
        nearest: claim.nearest.map(|nearest| nearest.to_string()).unwrap_or_default(),
        fits: claim.fits,
    };
    let tokens = explanation.tokens.into_iter().map(|token| {
        (format!("{}: {}", token.parameter, token.protection), token.claims.into_iter().map(compared).collect())
    });
    let (is_allowed, summary, facts) = match explanation.outcome {
        Explained::Allowed {
            delegation,
            sub,
            audience,
            scope,
            authorization_details,
            roles,
            tenant_id,
            actors,
            bound_to,
            expires_at,
        } => {
            let mut facts = vec![
                ("User (sub)", sub),
                ("Acting (act)", actors.join(", called by ")),
                ("For (aud)", audience),
                ("Scope", scope),
                ("Roles", roles.join(" ")),
                ("Tenant", tenant_id.unwrap_or_else(|| "none".to_owned())),
                ("Bound to", if bound_to.is_empty() { "no key".to_owned() } else { bound_to.join(" and ") }),
                ("Expires at", expires_at.to_string()),
            ];
            facts.extend(details(&authorization_details));
            (true, format!("Allowed by the delegation {delegation}"), facts)
        }
        Explained::Authenticated { client_id, method } => {
            (true, format!("Authenticated as {client_id} by {method}"), Vec::new())
        }
        Explained::ApprovalRequired {
            delegation,
            by,
            approval,
            sub,
            target,
            scope,
            authorization_details,
            tenant_id,
        } => {
            let mut facts = vec![
                ("Decides", by.into_owned()),
                ("Approval", approval.unwrap_or_else(|| "none yet".to_owned())),
                ("User (sub)", sub),
                ("Target", target),
                ("Scope", scope),
                ("Tenant", tenant_id.unwrap_or_else(|| "none".to_owned())),
            ];
            facts.extend(details(&authorization_details));
            (false, format!("Approval required by the delegation {delegation}"), facts)
        }
        Explained::Refused { error, reason, detail } => {
            let facts = vec![("Error", error.into_owned()), ("Reason", reason.into_owned()), ("Cause", detail)];
            (false, "Refused".to_owned(), facts)
        }
    };
    let steps = explanation.steps.into_iter().map(|step| (step.step, step.decision)).collect();
    Shown { steps, tokens: tokens.collect(), is_allowed, summary, facts }
}
