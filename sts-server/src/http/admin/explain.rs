//! `POST /admin/v1/explain`: explains the rule that allows or refuses an exchange.

use axum::extract::{Request, State};
use axum::response::Response;

use super::call::{self, Asked};
use super::openapi::WriteProblems;
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{Denied, ExplainRequest};
use crate::config::Role;
use crate::document::FieldFault;
use crate::exchange::Explanation;

/// Explains an exchange of a supposed user or of a real token.
///
/// Runs all steps. Issues and records nothing.
#[utoipa::path(
    post,
    path = "/explain",
    operation_id = "explain",
    tag = "explain",
    request_body = ExplainRequest,
    responses((status = 200, description = "The steps and their outcome.", body = Explanation), WriteProblems)
)]
pub(super) async fn explain(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let question = ExplainRequest::read(&asked.object()?)?;
        let explanation = question.explain(&api.app.sts).await.map_err(|wrong| {
            let pointer = if wrong.parameter.is_empty() { String::new() } else { format!("/{}", wrong.parameter) };
            Denied::Faults(vec![FieldFault::at(pointer, wrong.message)])
        })?;
        Ok::<_, Refused>(answer::json(&explanation))
    };
    call::answer(api, request, Role::Reader, act).await
}
