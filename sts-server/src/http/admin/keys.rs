//! `/admin/v1/keys`: the signing keys.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::{ReadProblems, WriteProblems};
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{ListedKey, RotateRequest};
use crate::config::Role;

/// All signing keys.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyList {
    /// The keys, by algorithm and state.
    keys: Vec<ListedKey>,
}

/// Lists the signing keys.
#[utoipa::path(
    get,
    path = "/keys",
    operation_id = "list_keys",
    tag = "keys",
    responses((status = 200, description = "All signing keys.", body = KeyList), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        Ok::<_, Refused>(answer::json(&KeyList { keys: api.administration.keys().await? }))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Activates the next key, retires the active key and publishes a new next key.
#[utoipa::path(
    post,
    path = "/keys/rotate",
    operation_id = "rotate_keys",
    tag = "keys",
    request_body = RotateRequest,
    responses((status = 200, description = "All signing keys as they are now.", body = KeyList), WriteProblems)
)]
pub(super) async fn rotate(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let rotation = RotateRequest::read(&asked.object()?)?;
        api.administration.rotate_keys(rotation, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::json(&KeyList { keys: api.administration.keys().await? }))
    };
    call::answer(api, request, Role::Operator, act).await
}

/// Removes a key at once.
///
/// Verifiers refuse its signatures as soon as they read the key set again.
#[utoipa::path(
    delete,
    path = "/keys/{kid}",
    operation_id = "revoke_key",
    tag = "keys",
    params(("kid" = String, Path, description = "The key.")),
    responses((status = 204, description = "Deleted."), WriteProblems)
)]
pub(super) async fn revoke(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        api.administration.revoke_key(&asked.id()?, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::gone())
    };
    call::answer(api, request, Role::Admin, act).await
}
