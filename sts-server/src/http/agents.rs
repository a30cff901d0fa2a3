//! The endpoints of the public listener.
//!
//! The three that decide are called without detour: on the way through a router every request would pass a dozen boxes. All others
//! go through one.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::{Method, Request};
use tower::ServiceExt as _;
use tower_http::cors::{Any, CorsLayer};

use super::listener::Peer;
use super::{App, answer, health, introspect, jwks, metadata, revoke, token};

/// The endpoints for agents and verifiers.
#[derive(Debug, Clone)]
pub struct Agents {
    app: App,
    others: Router,
}

impl Agents {
    /// The endpoints of a service.
    #[must_use]
    pub fn new(app: App) -> Self {
        // Applications in browsers read the public documents. The endpoints that decide are none of these.
        let documents = Router::new()
            .route("/oauth2/jwks", get(jwks::jwks))
            .route("/.well-known/oauth-authorization-server", get(metadata::metadata))
            .route("/.well-known/openid-configuration", get(metadata::openid))
            .layer(CorsLayer::new().allow_origin(Any).allow_methods([Method::GET]).allow_headers(Any));
        let others = documents
            .route(metadata::AUTHORIZATION_PATH, get(metadata::authorize).post(metadata::authorize))
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .with_state(app.clone());
        Self { app, others }
    }

    /// Answers a request. What decides is boxed, so that a connection between two requests takes little memory.
    pub async fn answer(&self, request: Request<Body>, peer: &Peer) -> Response {
        let response = match request.uri().path() {
            "/oauth2/token" => Box::pin(token::token(&self.app, request, peer)).await,
            "/oauth2/introspect" => Box::pin(introspect::introspect(&self.app, request, peer)).await,
            "/oauth2/revoke" => Box::pin(revoke::revoke(&self.app, request, peer)).await,
            _ => by_router(&self.others, request, peer).await,
        };
        // A server that is about to end tells whoever stays connected to it to connect anew, which leads to another server.
        if self.app.is_withdrawn() { answer::closing(response) } else { response }
    }
}

/// Answers a request through a router, whose handlers find out from [`Peer`] whom it came from.
pub(super) async fn by_router(router: &Router, mut request: Request<Body>, peer: &Peer) -> Response {
    request.extensions_mut().insert(peer.clone());
    router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}
