//! `/admin/v1/agents`: the agents of the registry.

use axum::extract::{Request, State};
use axum::response::Response;

use super::answer::EntryList;
use super::openapi::{ReadProblems, WriteProblems};
use super::{AdminApi, entries};
use crate::registry::Agent;
use crate::storage::EntryKind;

/// Lists the agents.
#[utoipa::path(
    get,
    path = "/agents",
    operation_id = "list_agents",
    tag = "agents",
    responses((status = 200, description = "All agents.", body = EntryList<Agent>), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    entries::list(api, request, EntryKind::Agent).await
}

/// Shows an agent. Hashes of secrets appear as `withheld`.
#[utoipa::path(
    get,
    path = "/agents/{id}",
    operation_id = "get_agent",
    tag = "agents",
    params(("id" = String, Path, description = "Its id, percent-encoded.")),
    responses(
        (
            status = 200,
            description = "The agent.",
            body = Agent,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `file` or `api`.")
            )
        ),
        ReadProblems
    )
)]
pub(super) async fn get(State(api): State<AdminApi>, request: Request) -> Response {
    entries::get(api, request, EntryKind::Agent).await
}

/// Creates or replaces an agent.
///
/// For an agent from the registry file, only `disabled` can be set or cleared.
#[utoipa::path(
    put,
    path = "/agents/{id}",
    operation_id = "put_agent",
    tag = "agents",
    params(
        ("id" = String, Path, description = "Its id, percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The ETag of the entry that is to be changed."),
        ("If-None-Match" = Option<String>, Header, description = "`*` for an entry that is new.")
    ),
    request_body = Agent,
    responses(
        (
            status = 200,
            description = "The agent as it is now.",
            body = Agent,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `file` or `api`.")
            )
        ),
        (
            status = 201,
            description = "The new agent.",
            body = Agent,
            headers(
                ("ETag" = String, description = "Strong; changes whenever the entry does."),
                ("Entry-Origin" = String, description = "The origin of the entry: `api`.")
            )
        ),
        WriteProblems
    )
)]
pub(super) async fn put(State(api): State<AdminApi>, request: Request) -> Response {
    entries::put(api, request, EntryKind::Agent).await
}

/// Deletes an agent that this API created.
#[utoipa::path(
    delete,
    path = "/agents/{id}",
    operation_id = "delete_agent",
    tag = "agents",
    params(
        ("id" = String, Path, description = "Its id, percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The ETag of the entry that is to be deleted.")
    ),
    responses((status = 204, description = "Deleted."), WriteProblems)
)]
pub(super) async fn delete(State(api): State<AdminApi>, request: Request) -> Response {
    entries::delete(api, request, EntryKind::Agent).await
}
