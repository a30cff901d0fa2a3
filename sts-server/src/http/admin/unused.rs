//! `/admin/v1/unused`: the entries that are not used any more.

use axum::extract::{Request, State};
use axum::response::Response;

use super::call::{self, Asked};
use super::openapi::ReadProblems;
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{Denied, Unused};
use crate::config::Role;
use crate::document::FieldFault;

/// Lists the agents and the delegations that no issued token used lately.
///
/// An entry that is new, and was not used yet, is listed too.
#[utoipa::path(
    get,
    path = "/unused",
    operation_id = "list_unused",
    tag = "registry",
    params(("days" = u16, Query, minimum = 1, maximum = 365, description = "The number of days without a use.")),
    responses((status = 200, description = "The entries without a use.", body = Unused), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let query = asked.query(&["days"])?;
        let days = query.get("days").and_then(|days| days.parse().ok()).filter(|days| (1..=365).contains(days));
        let wrong = || Denied::Parameters(vec![FieldFault::of("days", "must be a number from 1 to 365")]);
        Ok::<_, Refused>(answer::json(&api.administration.unused(days.ok_or_else(wrong)?).await?))
    };
    call::answer(api, request, Role::Reader, act).await
}
