//! One event of the audit log, and what it leads to.

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::Frame;
use super::words::{at, href, path_with};
use crate::admin::Denied;
use crate::config::Role;
use crate::record::{Event, event_of};
use crate::storage::{AuditFilter, AuditOrder};

/// The members of an event by which a search can select, and the fields of the search.
const SEARCHED: [(&str, &str); 6] = [
    ("sub", "sub"),
    ("target", "target"),
    ("tenant_id", "tenant"),
    ("correlation_id", "correlation_id"),
    ("txn", "txn"),
    ("jti", "jti"),
];

#[derive(Template)]
#[template(path = "console/event.html")]
struct EventPage {
    frame: Frame,
    id: i64,
    at: String,
    word: String,
    members: Vec<Member>,
    /// The reason of a refusal in words.
    why: Option<String>,
    chain_href: Option<String>,
    why_href: Option<String>,
    /// The stops that the event leads to: the words, and the path of the count.
    stops: Vec<(String, String)>,
}

/// A member of an event.
struct Member {
    name: String,
    value: String,
    /// A search of the events with the same value.
    href: Option<String>,
}

/// Shows one event with all its members.
pub(super) async fn event(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let id: i64 = asked.id()?.parse().ok().ok_or(Denied::NotFound)?;
        let filter =
            AuditFilter { order: AuditOrder::OldestFirst, after_id: id.checked_sub(1), ..AuditFilter::default() };
        let found = api.administration.audit(&filter, 1).await?;
        let row = found.rows.into_iter().find(|row| row.id == id).ok_or(Denied::NotFound)?;
        let event = event_of(&row.row).ok_or(Denied::NotFound)?;
        let members = serde_json::to_value(&event).ok();
        let members = members.as_ref().and_then(serde_json::Value::as_object).into_iter().flatten();
        let members = members.map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let field = SEARCHED.iter().find(|(member, _)| member == name).map(|(_, field)| *field);
            let href = field.map(|field| path_with("/console/chains", &[(field, &value)]));
            Member { name: name.clone(), value, href }
        });
        let page = EventPage {
            frame: Frame::new(&api, &asked),
            id,
            at: at(&event),
            word: event.event.word().to_owned(),
            members: members.collect(),
            why: event.reason.as_ref().and(event.detail.clone()),
            chain_href: event.txn.as_deref().map(|txn| href("chains", txn)),
            why_href: why_refused(&event),
            stops: stops(&event),
        };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Search), act).await
}

/// Returns what an operator may stop after an event.
fn stops(event: &Event) -> Vec<(String, String)> {
    let txn = event.txn.as_ref().map(|txn| ("Stop this transaction".to_owned(), vec![("txn", txn.as_str())]));
    let agent = event.client_id.as_ref().or(event.actors.first());
    let agent = agent.map(|agent| (format!("Stop the agent {agent}"), vec![("agent", agent.as_str())]));
    let user = event.sub.as_ref().map(|sub| {
        let issuer = event.subject_issuer.as_deref().unwrap_or_default();
        (format!("Stop the user {sub}"), vec![("sub", sub.as_str()), ("issuer", issuer)])
    });
    let stops = [txn, agent, user].into_iter().flatten();
    stops.map(|(words, pairs)| (words, path_with("/console/stop", &pairs))).collect()
}

/// Returns the path of the explanation of a refused request. `None` if no user is known: the
/// event then says all that is known, because the token was not verified.
pub(super) fn why_refused(event: &Event) -> Option<String> {
    let (Some(_), Some(client), Some(target)) = (&event.reason, &event.client_id, &event.target) else { return None };
    event.sub.as_ref()?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let scope = event.requested_scope.as_ref().map(ToString::to_string).unwrap_or_default();
    let tenant = event.tenant_id.as_ref().map(ToString::to_string).unwrap_or_default();
    // A refusal before step 5 has the chain of the subject token, without the client.
    let before = event.actors.iter().skip(usize::from(event.actors.first() == Some(client)));
    let chain = before.cloned().collect::<Vec<_>>().join(" ");
    let pairs: [(&str, &str); 7] = [
        ("actor", client),
        ("target", target),
        ("scope", &scope),
        ("issuer", &text(&event.subject_issuer)),
        ("sub", &text(&event.sub)),
        ("tenant", &tenant),
        ("chain", &chain),
    ];
    Some(path_with("/console/why", &pairs))
}
