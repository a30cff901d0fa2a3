//! `GET /admin/v1/audit`: the audit log.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use sts_protocol::Form;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::ReadProblems;
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{AuditQuery, Denied};
use crate::config::Role;
use crate::document::FieldFault;
use crate::record::{Event, cut, event_of};
use crate::storage::{self, AuditOrder};

/// The maximum number of events in a response. [`DEFAULT_EVENTS`] applies without `limit`.
const MAX_EVENTS: u32 = 1000;
const DEFAULT_EVENTS: u32 = 100;

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// The events of the page.
    events: Vec<Event>,
    /// The cursor of each of these events, for `after`.
    cursors: Vec<String>,
    /// The rows among them that are not valid events, because they were edited. Details:
    /// `sts-server audit verify`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    malformed: Vec<MalformedRow>,
    /// The `cursor` for the next page. Absent if there were no more events. With `after`, the
    /// `after` of the next page, and never absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The cursor of the first event of the page: `after` for the events after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
}

/// A row of the audit log that is not a valid event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MalformedRow {
    /// The id of the row in the database.
    id: i64,
    /// The chain of the row, at most 256 characters.
    writer: String,
    /// The position of the row in its chain.
    writer_sequence: i64,
    /// The text of the row, at most 256 characters.
    body: String,
}

/// Searches the audit log, newest first.
///
/// To read all pages, repeat the request with `next` as `cursor` until `next` is absent. A page
/// covers a bounded part of the log, so a page without events can have a next page. To follow the
/// log, oldest first, send the last `next` as `after`, starting with the `first` of a page or with 0.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "list_audit",
    tag = "audit",
    params(
        ("sub" = Option<String>, Query, description = "Only events about this user, as named in minted tokens."),
        ("agent" = Option<String>, Query, description = "Only events of this agent: its requests, and its revocations."),
        ("tenant" = Option<String>, Query, description = "Only events of this tenant."),
        ("target" = Option<String>, Query, description = "Only events about tokens for this agent."),
        ("correlation_id" = Option<String>, Query, description = "Only events of this `X-Correlation-ID`."),
        ("txn" = Option<String>, Query, description = "Only events of this transaction."),
        ("jti" = Option<String>, Query, description = "Only events of this token."),
        ("outcome" = Option<String>, Query, description = "Only events with this outcome: `allowed` or `refused`."),
        ("since" = Option<String>, Query, description = "Only events since a time, or of a recent period: `2026-01-31T12:00:00Z`, `15m` or `24h`."),
        ("until" = Option<String>, Query, description = "Only events until a time, or before a recent period."),
        ("limit" = Option<u32>, Query, description = "The maximum number of events.", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next` of the answer before."),
        ("after" = Option<String>, Query, description = "Only events after this cursor, oldest first. Not with `cursor`.")
    ),
    responses((status = 200, description = "A page of events.", body = AuditPage), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let Search { query, limit, from } = search(&asked)?;
        let order = match from {
            From::Newest | From::Before(_) => AuditOrder::NewestFirst,
            From::After(_) => AuditOrder::OldestFirst,
        };
        let mut filter = api.administration.audit_filter(&query, order);
        filter.after_id = match from {
            From::Newest => None,
            From::Before(id) | From::After(id) => Some(id),
        };
        let mut found = api.administration.audit(&filter, limit).await?;
        if let From::After(id) = from {
            found.next = found.next.or_else(|| found.rows.last().map(|row| row.id)).or(Some(id));
        }
        Ok::<_, Refused>(answer::json(&page(found)))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// The parameters of a search.
pub(super) struct Search {
    pub(super) query: AuditQuery,
    pub(super) limit: u32,
    pub(super) from: From,
}

/// The beginning of a page.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// At the latest event.
    Newest,
    /// Before this event, newest first.
    Before(i64),
    /// After this event, oldest first.
    After(i64),
}

pub(super) const PARAMETERS: [&str; 13] = [
    "sub",
    "agent",
    "tenant",
    "target",
    "correlation_id",
    "txn",
    "jti",
    "outcome",
    "since",
    "until",
    "limit",
    "cursor",
    "after",
];

pub(super) fn search(asked: &Asked) -> Result<Search, Denied> {
    let given = asked.query(&PARAMETERS)?;
    let mut faults = Vec::new();
    let limit = match given.get("limit").map(str::parse::<u32>) {
        None => DEFAULT_EVENTS,
        Some(Ok(limit @ 1..=MAX_EVENTS)) => limit,
        Some(Ok(_) | Err(_)) => {
            faults.push(FieldFault::of("limit", "must be 1 to 1000"));
            DEFAULT_EVENTS
        }
    };
    let outcome = parsed(&given, "outcome", &mut faults);
    let (since, until) = (parsed(&given, "since", &mut faults), parsed(&given, "until", &mut faults));
    let mut cursor = |name: &'static str| {
        given.get(name).map(str::parse::<i64>).transpose().unwrap_or_else(|_| {
            faults.push(FieldFault::of(name, "must be a cursor of an answer"));
            None
        })
    };
    let from = match (cursor("cursor"), cursor("after")) {
        (None, None) => From::Newest,
        (Some(before), None) => From::Before(before),
        (None, Some(after)) => From::After(after),
        (Some(_), Some(_)) => {
            faults.push(FieldFault::of("after", "must not be sent with cursor"));
            From::Newest
        }
    };
    if !faults.is_empty() {
        return Err(Denied::Parameters(faults));
    }
    let text = |name: &str| given.get(name).map(str::to_owned);
    let query = AuditQuery {
        sub: text("sub"),
        agent: text("agent"),
        tenant: text("tenant"),
        target: text("target"),
        correlation_id: text("correlation_id"),
        txn: text("txn"),
        jti: text("jti"),
        outcome,
        since,
        until,
    };
    Ok(Search { query, limit, from })
}

/// Returns the value of a parameter, or adds its fault.
fn parsed<T>(given: &Form, name: &'static str, faults: &mut Vec<FieldFault>) -> Option<T>
where
    T: FromStr,
    T::Err: Display,
{
    match given.get(name)?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            faults.push(FieldFault::of(name, error.to_string()));
            None
        }
    }
}

fn page(found: storage::AuditPage) -> AuditPage {
    let first = found.rows.first().map(|row| row.id.to_string());
    let (mut events, mut cursors, mut malformed) = (Vec::new(), Vec::new(), Vec::new());
    for row in found.rows {
        match event_of(&row.row) {
            Some(event) => {
                events.push(event);
                cursors.push(row.id.to_string());
            }
            None => malformed.push(MalformedRow {
                id: row.id,
                writer: cut(&row.row.writer).into_owned(),
                writer_sequence: row.row.writer_sequence,
                body: cut(&row.row.body).into_owned(),
            }),
        }
    }
    AuditPage { events, cursors, malformed, next: found.next.map(|id| id.to_string()), first }
}
