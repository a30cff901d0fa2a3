//! `/admin/v1/approvals`: the approvals that persons decide on.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::{ReadProblems, WriteProblems};
use super::pages::Page;
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::ApprovalDecision;
use crate::approval::{ApprovalList, Approvals, SeenApproval};
use crate::config::Role;

/// A page of approvals.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApprovalsPage {
    /// The approvals, the oldest first. Closed ones are kept for a day.
    approvals: Vec<SeenApproval>,
    /// The `after` of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists the approvals: those that wait, those that are remembered, and those closed for less than a
/// day. In pages: send `next` of an answer as `after`.
#[utoipa::path(
    get,
    path = "/approvals",
    operation_id = "list_approvals",
    tag = "approvals",
    params(
        ("limit" = Option<u32>, Query, description = "The maximum number of elements, 1 to 1000.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next` of the answer before. Without it, the list begins.")
    ),
    responses((status = 200, description = "A page of approvals.", body = ApprovalsPage), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let request = asked.page()?;
        let (approvals, now) = (current(&api).await?, api.app.sts.now());
        // One more than the page has tells whether there is a next one.
        let most = request.limit().saturating_add(1) as usize;
        let listed = approvals.page(ApprovalList::All, request.after(), most, now).approvals;
        let Page { elements, next } = request.page(listed, |approval| approval.id.clone());
        Ok::<_, Refused>(answer::json(&ApprovalsPage { approvals: elements, next }))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Returns the approvals of this server, with those that another server has committed. If its snapshot has
/// none, because they could not be read, they are read.
pub(super) async fn current(api: &AdminApi) -> Result<Arc<Approvals>, Refused> {
    api.app.sts.refresh().await?;
    let snapshot = api.app.sts.snapshot();
    if snapshot.approvals.is_read() {
        return Ok(Arc::clone(&snapshot.approvals));
    }
    Ok(Arc::new(api.administration.read_approvals().await?))
}

/// Shows an approval.
#[utoipa::path(
    get,
    path = "/approvals/{id}",
    operation_id = "get_approval",
    tag = "approvals",
    params(("id" = String, Path, description = "The approval.")),
    responses((status = 200, description = "The approval.", body = SeenApproval), ReadProblems)
)]
pub(super) async fn show(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        Ok::<_, Refused>(answer::json(&api.administration.approval(&asked.id()?).await?))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Grants, denies or withdraws an approval.
///
/// An operator may withdraw what a user decides on, but neither grant nor deny it.
#[utoipa::path(
    post,
    path = "/approvals/{id}",
    operation_id = "decide_approval",
    tag = "approvals",
    params(("id" = String, Path, description = "The approval.")),
    request_body = ApprovalDecision,
    responses((status = 200, description = "The approval as it is now.", body = SeenApproval), WriteProblems)
)]
pub(super) async fn decide(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let decision = ApprovalDecision::read(&asked.object()?)?;
        let seen = api.administration.decide_approval(&asked.id()?, decision.decision, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::json(&seen))
    };
    call::answer(api, request, Role::Operator, act).await
}
