//! `/admin/v1/issuers`: the issuers of the registry.

use axum::extract::{Request, State};
use axum::response::Response;

use super::answer::EntryList;
use super::openapi::{ReadProblems, WriteProblems};
use super::{AdminApi, entries};
use crate::registry::Issuer;
use crate::storage::EntryKind;

/// Lists the issuers.
#[utoipa::path(
    get,
    path = "/issuers",
    operation_id = "list_issuers",
    tag = "issuers",
    responses((status = 200, description = "All issuers.", body = EntryList<Issuer>), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    entries::list(api, request, EntryKind::Issuer).await
}

/// Shows an issuer.
#[utoipa::path(
    get,
    path = "/issuers/{issuer}",
    operation_id = "get_issuer",
    tag = "issuers",
    params(("issuer" = String, Path, description = "Its `iss`, percent-encoded.")),
    responses(
        (
            status = 200,
            description = "The issuer.",
            body = Issuer,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `file` or `api`.")
            )
        ),
        ReadProblems
    )
)]
pub(super) async fn get(State(api): State<AdminApi>, request: Request) -> Response {
    entries::get(api, request, EntryKind::Issuer).await
}

/// Creates or replaces an issuer.
///
/// For an issuer from the registry file, only `disabled` can be set or cleared.
#[utoipa::path(
    put,
    path = "/issuers/{issuer}",
    operation_id = "put_issuer",
    tag = "issuers",
    params(
        ("issuer" = String, Path, description = "Its `iss`, percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The ETag of the entry that is to be changed."),
        ("If-None-Match" = Option<String>, Header, description = "`*` for an entry that is new.")
    ),
    request_body = Issuer,
    responses(
        (
            status = 200,
            description = "The issuer as it is now.",
            body = Issuer,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `file` or `api`.")
            )
        ),
        (
            status = 201,
            description = "The new issuer.",
            body = Issuer,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `api`.")
            )
        ),
        WriteProblems
    )
)]
pub(super) async fn put(State(api): State<AdminApi>, request: Request) -> Response {
    entries::put(api, request, EntryKind::Issuer).await
}

/// Deletes an issuer that this API created.
#[utoipa::path(
    delete,
    path = "/issuers/{issuer}",
    operation_id = "delete_issuer",
    tag = "issuers",
    params(
        ("issuer" = String, Path, description = "Its `iss`, percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The ETag of the entry that is to be deleted.")
    ),
    responses((status = 204, description = "Deleted."), WriteProblems)
)]
pub(super) async fn delete(State(api): State<AdminApi>, request: Request) -> Response {
    entries::delete(api, request, EntryKind::Issuer).await
}
