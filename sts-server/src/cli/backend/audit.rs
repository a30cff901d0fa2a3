//! The audit log of a backend, page by page.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::CliError;
use super::{AdminClient, ReadBackend, ViaError};
use crate::admin::{AuditQuery, AuditTime};
use crate::record::{Event, ExportedHead, ExportedRow, cut, event_of};
use crate::storage::{AuditFilter, AuditOrder, AuditPage, StoredAuditRow, UncheckedAuditRow};

/// The number of rows that are read at once, which is the maximum of the admin API.
const PAGE: u32 = 1000;

/// A page of the audit log.
#[derive(Debug, Default)]
pub(in crate::cli) struct AuditRows {
    pub(in crate::cli) rows: Vec<ListedRow>,
    /// The cursor after which the next page begins. `None` at the end of the log.
    pub(in crate::cli) next: Option<i64>,
}

/// A place in the chains of the audit log.
#[derive(Debug)]
pub(in crate::cli) enum ChainPlace {
    /// The writer and the sequence of a row of the database.
    Row(String, i64),
    /// The cursor of a server.
    Cursor(String),
}

/// A row of the audit log.
#[derive(Debug)]
pub(in crate::cli) struct ListedRow {
    /// The id of the row, which is its cursor.
    pub(in crate::cli) id: i64,
    pub(in crate::cli) content: RowContent,
}

/// The content of a row.
#[derive(Debug)]
pub(in crate::cli) enum RowContent {
    /// An event, and its JSON.
    Event(Box<Event>, String),
    /// A row that is not a valid event, because it was edited.
    Malformed {
        /// The chain of the row, cut.
        writer: String,
        /// The position of the row in its chain.
        writer_sequence: i64,
        /// The text of the row, cut.
        body: String,
    },
}

/// A page of the admin API.
#[derive(Deserialize)]
struct ApiPage {
    events: Vec<Event>,
    cursors: Vec<String>,
    #[serde(default)]
    malformed: Vec<ApiMalformedRow>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct ApiMalformedRow {
    id: i64,
    writer: String,
    writer_sequence: i64,
    body: String,
}

impl ReadBackend {
    /// Returns the last row of each chain.
    pub(in crate::cli) async fn audit_heads(&self) -> Result<Vec<ExportedHead>, CliError> {
        match self {
            Self::Database(records) => Ok(records.audit_heads().await?.into_iter().map(ExportedHead::from).collect()),
            Self::Server(server) => Ok(server.list(&["audit", "heads"], "heads").await?),
        }
    }

    /// Returns a page of the rows of the chains, and the place after which the next one begins.
    pub(in crate::cli) async fn audit_rows(
        &self,
        after: Option<&ChainPlace>,
    ) -> Result<(Vec<ExportedRow>, Option<ChainPlace>), CliError> {
        match self {
            Self::Database(records) => {
                let place = match after {
                    Some(ChainPlace::Row(writer, sequence)) => Some((writer.as_str(), *sequence)),
                    Some(ChainPlace::Cursor(_)) | None => None,
                };
                let rows = records.audit_chain(place, PAGE).await?;
                let last = rows.last().map(|row| (row.row.writer.clone(), row.row.writer_sequence));
                // The name of a writer may contain bytes that are not text. Reading on from it would return it again.
                let last = last.filter(|(writer, sequence)| place != Some((writer.as_str(), *sequence)));
                let next = last.map(|(writer, sequence)| ChainPlace::Row(writer, sequence));
                Ok((rows.into_iter().map(|row| ExportedRow::from(row.row)).collect(), next))
            }
            Self::Server(server) => {
                let cursor = match after {
                    Some(ChainPlace::Cursor(cursor)) => Some(cursor.as_str()),
                    Some(ChainPlace::Row(..)) | None => None,
                };
                let (rows, next) = server.list_page(&["audit", "rows"], "rows", cursor).await?;
                Ok((rows, next.map(ChainPlace::Cursor)))
            }
        }
    }

    /// Returns a page of at most `limit` rows after the cursor `after`, in this order.
    pub(in crate::cli) async fn audit(
        &self,
        query: &AuditQuery,
        order: AuditOrder,
        after: Option<i64>,
        limit: u32,
    ) -> Result<AuditRows, CliError> {
        let limit = limit.min(PAGE);
        match self {
            Self::Database(records) => {
                let filter = AuditFilter { after_id: after, ..records.audit_filter(query, order) };
                Ok(stored(records.audit(&filter, limit).await?))
            }
            Self::Server(server) => Ok(asked(server, query, order, after, limit).await?),
        }
    }
}

fn stored(page: AuditPage) -> AuditRows {
    let listed = |StoredAuditRow { id, row }: StoredAuditRow| {
        let content = match event_of(&row) {
            Some(event) => RowContent::Event(Box::new(event), row.body),
            None => {
                let UncheckedAuditRow { writer, writer_sequence, body, .. } = row;
                let cut = |text: &str| cut(text).into_owned();
                RowContent::Malformed { writer: cut(&writer), writer_sequence, body: cut(&body) }
            }
        };
        ListedRow { id, content }
    };
    AuditRows { rows: page.rows.into_iter().map(listed).collect(), next: page.next }
}

async fn asked(
    server: &AdminClient,
    query: &AuditQuery,
    order: AuditOrder,
    after: Option<i64>,
    limit: u32,
) -> Result<AuditRows, ViaError> {
    let text = |value: &Option<String>| value.as_deref().map(|value| Cow::Owned(value.to_owned()));
    let time = |value: Option<AuditTime>| value.map(|time| Cow::Owned(time.to_string()));
    let cursor = match (order, after) {
        (AuditOrder::NewestFirst, None) => None,
        (AuditOrder::NewestFirst, Some(after)) => Some(("cursor", after)),
        (AuditOrder::OldestFirst, after) => Some(("after", after.unwrap_or(0))),
    };
    let parameters: [(&str, Option<Cow<'_, str>>); 12] = [
        ("sub", text(&query.sub)),
        ("agent", text(&query.agent)),
        ("tenant", text(&query.tenant)),
        ("target", text(&query.target)),
        ("correlation_id", text(&query.correlation_id)),
        ("txn", text(&query.txn)),
        ("jti", text(&query.jti)),
        ("outcome", query.outcome.map(|outcome| Cow::Borrowed(outcome.as_str()))),
        ("since", time(query.since)),
        ("until", time(query.until)),
        ("limit", Some(Cow::Owned(limit.to_string()))),
        (cursor.map_or("cursor", |(name, _)| name), cursor.map(|(_, id)| Cow::Owned(id.to_string()))),
    ];
    let parameters: Vec<(&str, &str)> =
        parameters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let page: ApiPage = server.get(&["audit"], &parameters).await?;
    Ok(listed(page, order, after))
}

fn listed(page: ApiPage, order: AuditOrder, after: Option<i64>) -> AuditRows {
    let id = |cursor: &str| cursor.parse::<i64>().ok();
    let events = page.cursors.iter().zip(page.events).filter_map(|(cursor, event)| {
        let json = serde_json::to_string(&event).ok()?;
        Some(ListedRow { id: id(cursor)?, content: RowContent::Event(Box::new(event), json) })
    });
    let malformed = page.malformed.into_iter().map(|ApiMalformedRow { id, writer, writer_sequence, body }| ListedRow {
        id,
        content: RowContent::Malformed { writer, writer_sequence, body },
    });
    let mut rows: Vec<ListedRow> = events.chain(malformed).collect();
    rows.sort_by_key(|row| match order {
        AuditOrder::OldestFirst => row.id,
        AuditOrder::NewestFirst => -row.id,
    });
    // Read oldest first, every page names a next one: the end is a page that stays where it was.
    let is_end = |next: &i64| order == AuditOrder::OldestFirst && rows.is_empty() && *next == after.unwrap_or(0);
    let next = page.next.as_deref().and_then(id).filter(|next| !is_end(next));
    AuditRows { rows, next }
}
