//! What happened: a search of the audit log, and a transaction as a tree.

use std::collections::{HashMap, HashSet};

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::audit::{self, From, Search};
use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::event::why_refused;
use super::face::Browser;
use super::page::Frame;
use super::words::{EventRow, path_with};
use crate::admin::{AuditQuery, Denied};
use crate::config::Role;
use crate::record::{Event, event_of};
use crate::storage::{AuditOrder, StoredAuditRow};

/// The maximum number of events of a drawn transaction, and of pages of the log that are searched for
/// them.
const DRAWN: usize = 1000;
const PAGES: usize = 50;

#[derive(Template)]
#[template(path = "console/chains.html")]
struct Found {
    frame: Frame,
    fields: Vec<Field>,
    outcome: String,
    events: Vec<EventRow>,
    next: Option<String>,
}

/// A field of the search.
struct Field {
    name: &'static str,
    label: &'static str,
    value: String,
}

const FIELDS: [(&str, &str); 9] = [
    ("sub", "User"),
    ("agent", "Agent"),
    ("target", "Called agent"),
    ("tenant", "Tenant"),
    ("correlation_id", "Correlation id"),
    ("txn", "Transaction (txn)"),
    ("jti", "Token (jti)"),
    ("since", "Since (15m, 24h, or a time)"),
    ("until", "Until"),
];

/// Searches the audit log, newest first.
pub(super) async fn search(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let Search { query, limit, from } = audit::search(&asked)?;
        let mut filter = api.administration.audit_filter(&query, AuditOrder::NewestFirst);
        if let From::Before(id) = from {
            filter.after_id = Some(id);
        }
        let found = api.administration.audit(&filter, limit).await?;
        let given = asked.query(&audit::PARAMETERS)?;
        let value = |name: &str| given.get(name).unwrap_or_default().to_owned();
        let fields = FIELDS.into_iter().map(|(name, label)| Field { name, label, value: value(name) });
        let fields: Vec<Field> = fields.collect();
        let outcome = value("outcome");
        let next = found.next.map(|next| {
            let cursor = next.to_string();
            let pairs = fields.iter().map(|field| (field.name, field.value.as_str()));
            let pairs: Vec<_> = pairs.chain([("outcome", outcome.as_str()), ("cursor", &cursor)]).collect();
            path_with("/console/chains", &pairs)
        });
        let events = found.rows.iter().map(EventRow::of).collect();
        let page = Found { frame: Frame::new(&api, &asked), fields, outcome, events, next };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Search), act).await
}

#[derive(Template)]
#[template(path = "console/chain.html")]
struct ChainPage {
    frame: Frame,
    txn: String,
    user: String,
    tenant: String,
    nodes: Vec<Node>,
    is_cut: bool,
    stop_href: String,
}

/// A decision in the tree of a transaction.
#[derive(Debug)]
struct Node {
    event: EventRow,
    depth: usize,
    /// The number of levels that end with this node.
    closes: usize,
    /// True if the node has nodes below it.
    opens: bool,
    scope: String,
    /// The scopes of the token above that this one does not have.
    dropped: String,
    life: Option<Life>,
    binding: &'static str,
    jti: String,
    rule: String,
    why_href: Option<String>,
}

/// The life of a token within that of the longest in the tree.
#[derive(Debug)]
struct Life {
    seconds: i64,
    of: i64,
}

/// Draws a transaction as a tree: each token below the token that it was exchanged for.
pub(super) async fn chain(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let txn = asked.id()?;
        let query = AuditQuery { txn: Some(txn.clone()), ..AuditQuery::default() };
        let mut filter = api.administration.audit_filter(&query, AuditOrder::OldestFirst);
        let mut rows: Vec<StoredAuditRow> = Vec::new();
        for _ in 0..PAGES {
            if rows.len() > DRAWN {
                break;
            }
            let found = api.administration.audit(&filter, 1000).await?;
            rows.extend(found.rows);
            filter.after_id = found.next;
            if found.next.is_none() {
                break;
            }
        }
        if rows.is_empty() {
            return Err(Denied::NotFound.into());
        }
        let is_cut = rows.len() > DRAWN;
        rows.truncate(DRAWN);
        let events: Vec<(StoredAuditRow, Event)> =
            rows.into_iter().filter_map(|row| event_of(&row.row).map(|event| (row, event))).collect();
        let of_user = events.iter().map(|(_, event)| event).find(|event| event.sub.is_some());
        let user = of_user.map(|event| {
            let of = event.subject_issuer.as_deref().map(|issuer| format!(" of {issuer}")).unwrap_or_default();
            format!("{}{of}", event.sub.as_deref().unwrap_or_default())
        });
        let tenant = of_user.and_then(|event| event.tenant_id.as_ref()).map(ToString::to_string);
        let page = ChainPage {
            frame: Frame::new(&api, &asked),
            stop_href: path_with("/console/stop", &[("txn", &txn)]),
            txn,
            user: user.unwrap_or_default(),
            tenant: tenant.unwrap_or_default(),
            nodes: tree(&events),
            is_cut,
        };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Search), act).await
}

/// Returns the events of a transaction as a tree, each before the events below it.
fn tree(events: &[(StoredAuditRow, Event)]) -> Vec<Node> {
    let issued: HashMap<&str, &Event> =
        events.iter().filter_map(|(_, event)| Some((event.jti.as_deref()?, event))).collect();
    let parent = |event: &Event| {
        let jti = event.parent_jti.as_deref().filter(|jti| issued.contains_key(jti));
        jti.filter(|jti| Some(*jti) != event.jti.as_deref()).map(str::to_owned)
    };
    let mut below: HashMap<Option<String>, Vec<usize>> = HashMap::new();
    for (index, (_, event)) in events.iter().enumerate() {
        below.entry(parent(event)).or_default().push(index);
    }
    let longest = events.iter().filter_map(|(_, event)| life(event)).max().unwrap_or(1);
    let mut nodes = Vec::new();
    let mut seen = HashSet::new();
    // A stack in place of recursion: a row that was edited in the database may name any parent.
    let mut waiting: Vec<(usize, usize)> =
        below.get(&None).into_iter().flatten().rev().map(|index| (*index, 0)).collect();
    while let Some((index, depth)) = waiting.pop() {
        let Some((row, event)) = events.get(index) else { continue };
        if !seen.insert(index) {
            continue;
        }
        let children = event.jti.clone().and_then(|jti| below.get(&Some(jti)));
        waiting.extend(children.into_iter().flatten().rev().map(|child| (*child, depth + 1)));
        let above = event.parent_jti.as_deref().and_then(|jti| issued.get(jti));
        nodes.push(node(row, event, above.copied(), (depth, children.is_some()), longest));
    }
    let depths: Vec<usize> = nodes.iter().skip(1).map(|node| node.depth).chain([0]).collect();
    for (node, next) in nodes.iter_mut().zip(depths) {
        node.closes = node.depth.saturating_sub(next);
    }
    nodes
}

fn node(
    row: &StoredAuditRow,
    event: &Event,
    above: Option<&Event>,
    (depth, opens): (usize, bool),
    longest: i64,
) -> Node {
    let scope = event.scope.as_ref().map(ToString::to_string).unwrap_or_default();
    let held: HashSet<&str> = scope.split(' ').collect();
    let of_above = above.and_then(|above| above.scope.as_ref()).map(ToString::to_string).unwrap_or_default();
    let dropped: Vec<&str> = of_above.split(' ').filter(|value| !value.is_empty() && !held.contains(value)).collect();
    let cnf = event.cnf.as_ref();
    let binding = match (cnf.is_some_and(|cnf| cnf.jkt.is_some()), cnf.is_some_and(|cnf| cnf.x5t_s256.is_some())) {
        (true, true) => "DPoP key and client certificate",
        (true, false) => "DPoP key",
        (false, true) => "client certificate",
        (false, false) => "none: a bearer token",
    };
    Node {
        event: EventRow::of(row),
        depth,
        closes: 0,
        opens,
        dropped: if event.reason.is_some() { String::new() } else { dropped.join(" ") },
        scope,
        life: life(event).map(|seconds| Life { seconds, of: longest }),
        binding,
        jti: event.jti.clone().unwrap_or_default(),
        rule: event.delegation.clone().unwrap_or_default(),
        why_href: why_refused(event),
    }
}

/// Returns the life of an issued token, in seconds.
fn life(event: &Event) -> Option<i64> {
    event.exp.map(|exp| exp.saturating_sub(event.at.as_second()).max(0))
}
