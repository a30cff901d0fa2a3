//! `/admin/v1/approvals`: the approvals that persons decide on.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::{ReadProblems, WriteProblems};
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::ApprovalDecision;
use crate::approval::SeenApproval;
use crate::config::Role;

/// All approvals.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApprovalList {
    /// The approvals, the oldest first. Closed ones are kept for a day.
    approvals: Vec<SeenApproval>,
}

/// Lists the approvals: those that wait, those that are remembered, and those closed for less than a
/// day.
#[utoipa::path(
    get,
    path = "/approvals",
    operation_id = "list_approvals",
    tag = "approvals",
    responses((status = 200, description = "All approvals.", body = ApprovalList), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        Ok::<_, Refused>(answer::json(&ApprovalList { approvals: api.administration.approvals().await? }))
    };
    call::answer(api, request, Role::Reader, act).await
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
