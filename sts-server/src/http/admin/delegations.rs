//! `/admin/v1/delegations`: the delegations of the registry.

use axum::extract::{Request, State};
use axum::response::Response;

use super::answer::EntryList;
use super::openapi::{ReadProblems, WriteProblems};
use super::{AdminApi, entries};
use crate::registry::Delegation;
use crate::storage::EntryKind;

/// Lists the delegations.
#[utoipa::path(
    get,
    path = "/delegations",
    operation_id = "list_delegations",
    tag = "delegations",
    responses((status = 200, description = "All delegations.", body = EntryList<Delegation>), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    entries::list(api, request, EntryKind::Delegation).await
}

/// Shows a delegation.
#[utoipa::path(
    get,
    path = "/delegations/{id}",
    operation_id = "get_delegation",
    tag = "delegations",
    params(("id" = String, Path, description = "`actor->target`, with `#2` and so on for further delegations of the pair. Percent-encoded.")),
    responses(
        (
            status = 200,
            description = "The delegation.",
            body = Delegation,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `file` or `api`.")
            )
        ),
        ReadProblems
    )
)]
pub(super) async fn get(State(api): State<AdminApi>, request: Request) -> Response {
    entries::get(api, request, EntryKind::Delegation).await
}

/// Creates or replaces a delegation.
///
/// For a delegation from the registry file, only `disabled` can be set or cleared.
#[utoipa::path(
    put,
    path = "/delegations/{id}",
    operation_id = "put_delegation",
    tag = "delegations",
    params(
        ("id" = String, Path, description = "`actor->target`, with `#2` and so on for further delegations of the pair. Percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The ETag of the entry that is to be changed."),
        ("If-None-Match" = Option<String>, Header, description = "`*` for an entry that is new.")
    ),
    request_body = Delegation,
    responses(
        (
            status = 200,
            description = "The delegation as it is now.",
            body = Delegation,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `file` or `api`.")
            )
        ),
        (
            status = 201,
            description = "The new delegation.",
            body = Delegation,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `api`.")
            )
        ),
        WriteProblems
    )
)]
pub(super) async fn put(State(api): State<AdminApi>, request: Request) -> Response {
    entries::put(api, request, EntryKind::Delegation).await
}

/// Deletes a delegation that this API created.
#[utoipa::path(
    delete,
    path = "/delegations/{id}",
    operation_id = "delete_delegation",
    tag = "delegations",
    params(
        ("id" = String, Path, description = "`actor->target`, with `#2` and so on for further delegations of the pair. Percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The ETag of the entry that is to be deleted.")
    ),
    responses((status = 204, description = "Deleted."), WriteProblems)
)]
pub(super) async fn delete(State(api): State<AdminApi>, request: Request) -> Response {
    entries::delete(api, request, EntryKind::Delegation).await
}
