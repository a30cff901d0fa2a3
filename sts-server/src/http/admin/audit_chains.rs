//! `GET /admin/v1/audit/heads` and `/audit/rows`: the chains of the audit log, as `audit export` writes them.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::ReadProblems;
use super::pages::{Page, PageRequest};
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::config::Role;
use crate::record::{ExportedHead, ExportedRow};

/// A page of the heads of the chains.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditHeadList {
    /// The last row of each chain, ordered by writer.
    heads: Vec<ExportedHead>,
    /// The `after` of the next page. Absent if there is no next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A page of the rows of the chains.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditRowList {
    /// The rows, ordered by writer and sequence.
    rows: Vec<ExportedRow>,
    /// The `after` of the next page. Absent if there is no next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists the last row of each chain of the audit log.
///
/// Keep them elsewhere: `audit verify --heads` compares the log with them.
#[utoipa::path(
    get,
    path = "/audit/heads",
    operation_id = "list_audit_heads",
    tag = "audit",
    params(
        ("limit" = Option<u32>, Query, description = "The maximum number of elements, 1 to 1000.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next` of the answer before. Without it, the list begins.")
    ),
    responses((status = 200, description = "A page of the heads.", body = AuditHeadList), ReadProblems)
)]
pub(super) async fn heads(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let request = asked.page()?;
        let heads = api.administration.audit_heads().await?.into_iter().map(ExportedHead::from).collect();
        let Page { elements, next } = request.page(heads, |head: &ExportedHead| head.writer.clone());
        Ok::<_, Refused>(answer::json(&AuditHeadList { heads: elements, next }))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Lists the rows of the chains of the audit log, each with its code.
#[utoipa::path(
    get,
    path = "/audit/rows",
    operation_id = "list_audit_rows",
    tag = "audit",
    params(
        ("limit" = Option<u32>, Query, description = "The maximum number of elements, 1 to 1000.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next` of the answer before. Without it, the list begins.")
    ),
    responses((status = 200, description = "A page of the rows.", body = AuditRowList), ReadProblems)
)]
pub(super) async fn rows(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let request = asked.page()?;
        let place = request.place()?;
        let after = place.as_ref().map(|(writer, sequence)| (writer.as_str(), *sequence));
        let rows = api.administration.audit_chain(after, request.limit()).await?;
        let last = rows.last().map(|row| (row.row.writer.clone(), row.row.writer_sequence));
        // The name of a writer may contain bytes that are not text. Reading on from it would return it again.
        let next = last.filter(|last| place.as_ref() != Some(last)).map(PageRequest::next_place);
        let rows = rows.into_iter().map(|row| ExportedRow::from(row.row)).collect();
        Ok::<_, Refused>(answer::json(&AuditRowList { rows, next }))
    };
    call::answer(api, request, Role::Reader, act).await
}
