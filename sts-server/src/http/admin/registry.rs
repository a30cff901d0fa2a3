//! `GET /admin/v1/registry`: the whole registry, in the form of a registry file.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::ReadProblems;
use super::pages::Page;
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{ExportedEntry, ExportedRegistry};
use crate::config::Role;
use crate::storage::EntryKind;

/// A page of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RegistryPage {
    /// The generation of the last applied registry file. Absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    /// The version of the registry. Pages of different versions do not fit together.
    version: String,
    /// The issuers of the page, with the hashes of secrets.
    #[schema(value_type = Vec<Object>)]
    issuers: Vec<Value>,
    /// The agents of the page.
    #[schema(value_type = Vec<Object>)]
    agents: Vec<Value>,
    /// The delegations of the page.
    #[schema(value_type = Vec<Object>)]
    delegations: Vec<Value>,
    /// The `after` of the next page. Absent if there is no next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Exports the registry in the form of a registry file, page by page.
///
/// It has the hashes of secrets, so it needs the role `admin`. All pages of one `version` together
/// are what `sts-server registry export --json` prints.
#[utoipa::path(
    get,
    path = "/registry",
    operation_id = "export_registry",
    tag = "registry",
    params(
        ("limit" = Option<u32>, Query, description = "The maximum number of elements, 1 to 1000.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next` of the answer before. Without it, the list begins.")
    ),
    responses((status = 200, description = "A page of the registry.", body = RegistryPage), ReadProblems)
)]
pub(super) async fn export(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let request = asked.page()?;
        let ExportedRegistry { generation, version, entries } = api.administration.exported().await?;
        let key = |entry: &ExportedEntry| format!("{}\n{}", place(entry.kind), entry.id);
        let Page { elements, next } = request.page(entries, key);
        let generation = (generation > 0).then_some(generation);
        let version = format!("{}.{}", version.counter, version.generation);
        let mut page = RegistryPage { generation, version, issuers: vec![], agents: vec![], delegations: vec![], next };
        for ExportedEntry { kind, entry, .. } in elements {
            let list = match kind {
                EntryKind::Issuer => &mut page.issuers,
                EntryKind::Agent => &mut page.agents,
                EntryKind::Delegation => &mut page.delegations,
            };
            list.push(entry);
        }
        Ok::<_, Refused>(answer::json(&page))
    };
    call::answer(api, request, Role::Admin, act).await
}

/// Returns the place of a kind in the order of a registry file.
fn place(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Issuer => 0,
        EntryKind::Agent => 1,
        EntryKind::Delegation => 2,
    }
}
