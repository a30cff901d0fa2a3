//! The admin API, under `/admin/v1` of the admin listener.
//!
//! What lives here: its routes, each with its description for the OpenAPI document (`openapi`), the
//! intake of its requests (`call`), the limit on concurrent requests (`turns`), and all its
//! statuses and bodies (`answer`). What must never: an operation; `crate::admin` has them. Another
//! endpoint is a handler with a `utoipa::path` attribute and one line in [`routes`]: the document
//! and the router are built from the same list. Another kind of entry is a row of `entries`.

mod answer;
mod approvals;
mod audit;
mod audit_chains;
mod call;
pub(super) mod console;
mod entries;
mod explain;
mod keys;
mod openapi;
mod pages;
mod refused;
mod registry;
mod revocations;
mod turns;
mod unused;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use crate::admin::{Access, Administration};
use refused::Refused;

/// The base path of the API.
pub(super) const BASE: &str = "/admin/v1";

/// The state that the handlers of the admin API share.
#[derive(Debug, Clone)]
pub struct AdminApi {
    app: App,
    administration: Administration,
    access: Arc<Access>,
    document: Bytes,
    turns: turns::Turns,
}

impl AdminApi {
    /// Creates the admin API of a server.
    #[must_use]
    pub fn new(app: App, administration: Administration, access: Arc<Access>) -> Self {
        let document = openapi::document(routes().into_openapi());
        Self { app, administration, access, document, turns: turns::Turns::new() }
    }
}

/// Returns the router of the endpoints, below [`BASE`].
pub(super) fn router(api: AdminApi) -> Router {
    let (router, _document) = routes().split_for_parts();
    router.fallback(unknown_endpoint).method_not_allowed_fallback(unknown_method).with_state(api)
}

fn routes() -> OpenApiRouter<AdminApi> {
    entries::routes(OpenApiRouter::default().routes(routes!(openapi::openapi)))
        .routes(routes!(unused::list))
        .routes(routes!(keys::list))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
        .routes(routes!(revocations::list, revocations::revoke, revocations::lift))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::show, approvals::decide))
        .routes(routes!(audit::list))
        .routes(routes!(audit_chains::heads))
        .routes(routes!(audit_chains::rows))
        .routes(routes!(registry::export))
        .routes(routes!(explain::explain))
}

async fn unknown_endpoint(State(api): State<AdminApi>, request: Request) -> Response {
    call::refuse_unread(&api, &request, &Refused::Endpoint)
}

async fn unknown_method(State(api): State<AdminApi>, request: Request) -> Response {
    call::refuse_unread(&api, &request, &Refused::Method)
}
