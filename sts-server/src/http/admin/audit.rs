//! `GET /admin/v1/audit`: the audit log.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::ReadProblems;
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{AuditQuery, Denied};
use crate::config::Role;
use crate::document::FieldFault;
use crate::record::{Event, cut, event_of};
use crate::storage::{AUDIT_PAGE_BYTES, StoredAuditRow};

/// The maximum number of events in a response. [`DEFAULT_EVENTS`] applies without `limit`.
const MAX_EVENTS: u32 = 1000;
const DEFAULT_EVENTS: u32 = 100;

/// A page of events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// The events of the page.
    events: Vec<Event>,
    /// The rows among them that are not valid events, because they were edited. Details:
    /// `sts-server audit verify`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    malformed: Vec<MalformedRow>,
    /// The `cursor` for the next page. Absent if there were no more events.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
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
}

/// Searches the audit log.
///
/// To read all pages, repeat the request with `next` as `cursor` until `next` is absent. To read
/// later events, repeat it with the last cursor.
#[utoipa::path(
    get,
    path = "/audit",
    operation_id = "list_audit",
    tag = "audit",
    params(
        ("correlation_id" = Option<String>, Query, description = "Only events of this `X-Correlation-ID`."),
        ("txn" = Option<String>, Query, description = "Only events of this transaction."),
        ("jti" = Option<String>, Query, description = "Only events of this token."),
        ("since" = Option<String>, Query, description = "Only events of the last while, such as `15m` or `24h`."),
        ("limit" = Option<u32>, Query, description = "How many events at most.", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next` of the answer before.")
    ),
    responses((status = 200, description = "Events, oldest first.", body = AuditPage), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let (query, limit, after_id) = query(&asked)?;
        let mut filter = api.administration.audit_filter(&query);
        filter.after_id = after_id;
        let rows = api.administration.audit(&filter, limit).await?;
        Ok::<_, Refused>(answer::json(&page(rows, limit)))
    };
    call::answer(api, request, Role::Reader, act).await
}

fn query(asked: &Asked) -> Result<(AuditQuery, u32, Option<i64>), Denied> {
    let given = asked.query(&["correlation_id", "txn", "jti", "since", "limit", "cursor"])?;
    let mut faults = Vec::new();
    let mut fault = |name: &str, message: &str| faults.push(FieldFault::of(name, message));
    let limit = match given.get("limit").map(str::parse::<u32>) {
        None => DEFAULT_EVENTS,
        Some(Ok(limit @ 1..=MAX_EVENTS)) => limit,
        Some(Ok(_) | Err(_)) => {
            fault("limit", "must be 1 to 1000");
            DEFAULT_EVENTS
        }
    };
    let after_id = given.get("cursor").map(str::parse::<i64>).transpose().unwrap_or_else(|_| {
        fault("cursor", "must be what an answer named as next");
        None
    });
    let since = given.get("since").map(str::parse).transpose().unwrap_or_else(|_| {
        fault("since", "must be a span of time such as 15m or 24h");
        None
    });
    if !faults.is_empty() {
        return Err(Denied::Parameters(faults));
    }
    let text = |name: &str| given.get(name).map(str::to_owned);
    Ok((
        AuditQuery { correlation_id: text("correlation_id"), txn: text("txn"), jti: text("jti"), since },
        limit,
        after_id,
    ))
}

fn page(rows: Vec<StoredAuditRow>, limit: u32) -> AuditPage {
    let bytes = rows.iter().map(|row| row.row.body.len()).fold(0, usize::saturating_add);
    // A row whose body is too long to be read also ends a page.
    let may_be_cut = bytes >= AUDIT_PAGE_BYTES || rows.iter().any(|row| row.row.body.is_empty());
    let is_full = may_be_cut || u32::try_from(rows.len()).is_ok_and(|count| count == limit);
    let next = rows.last().filter(|_| is_full).map(|row| row.id.to_string());
    let (mut events, mut malformed) = (Vec::new(), Vec::new());
    for row in rows {
        match event_of(&row.row) {
            Some(event) => events.push(event),
            None => malformed.push(MalformedRow {
                id: row.id,
                writer: cut(&row.row.writer).into_owned(),
                writer_sequence: row.row.writer_sequence,
            }),
        }
    }
    AuditPage { events, malformed, next }
}
