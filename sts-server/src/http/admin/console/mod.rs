//! The console, under `/console` of the admin listener: pages for operators, rendered here.
//!
//! What lives here: its routes, sign-in and sessions (`session`), the frame of all pages (`page`),
//! and one file for each page. The pages are templates in `templates/console`. What must never: an
//! operation; `crate::admin` has them, and the API answers with the same. Another page is a handler,
//! a template and one line in [`routes`].
//!
//! Pages need no script, and the policy of the responses allows none.

mod agents;
mod approvals;
mod chains;
mod escape;
mod event;
mod face;
mod graph;
mod guard;
mod health;
mod page;
mod session;
mod sign_in;
mod stop;
mod why;
mod words;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use tower_http::set_header::SetResponseHeaderLayer;

use super::AdminApi;
pub use sign_in::sign_in_path;

/// The base path of the console.
pub(in crate::http) const BASE: &str = "/console";

/// Pages load the stylesheet of this origin, send forms to it, and do nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Returns the router of the console, below [`BASE`].
pub(in crate::http) fn router(api: AdminApi) -> Router {
    let fixed = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    routes()
        .layer(middleware::from_fn_with_state(api.clone(), guard::guard))
        .with_state(api)
        .layer(fixed(CONTENT_SECURITY_POLICY, POLICY))
        .layer(fixed(X_FRAME_OPTIONS, "DENY"))
        // With `no-referrer`, browsers send forms with `Origin: null`.
        .layer(fixed(REFERRER_POLICY, "same-origin"))
}

fn routes() -> Router<AdminApi> {
    Router::new()
        .route("/", get(agents::list))
        .route("/agents/{id}", get(agents::one))
        .route("/agents/{id}/disabled", post(agents::disable))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{id}", post(approvals::decide))
        .route("/graph", get(graph::graph))
        .route("/why", get(why::ask).post(why::explain))
        .route("/chains", get(chains::search))
        .route("/chains/{txn}", get(chains::chain))
        .route("/events/{id}", get(event::event))
        .route("/stop", get(stop::ask).post(stop::stop))
        .route("/stop/lift", post(stop::lift))
        .route("/health", get(health::health))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-in/issuer", get(sign_in::begin))
        .route("/sign-in/callback", get(sign_in::finish))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/style.css", get(page::style))
        .fallback(page::unknown)
}
