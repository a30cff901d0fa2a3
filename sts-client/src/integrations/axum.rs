//! Integration with axum: extractors for [`Caller`] and [`VerifiedTenant`], responses for
//! refusals and outcomes, and the metadata of the resource.
//!
//! What lives here: the adapters between [`crate::inbound`] and axum. What must never: a decision.
//!
//! ```
//! use axum::Router;
//! use axum::routing::get;
//! use sts_client::inbound::{Issuer, Refusal, Verifier};
//! use sts_client::{Caller, integrations};
//!
//! async fn stock(caller: Caller) -> Result<String, Refusal> {
//!     caller.require_scope("stock:read")?;
//!     Ok(format!("for {}", caller.subject().sub))
//! }
//!
//! # fn main() -> Result<(), sts_client::BuildError> {
//! let verifier = Verifier::builder(["inventory-agent"])
//!     .issuer(Issuer::sts("https://sts.example.com"))
//!     .resource("https://inventory.shop.example/".parse().expect("a url"))
//!     .build()?;
//! let app: Router = Router::new()
//!     .route("/stock", get(stock))
//!     .layer(verifier.layer())
//!     // Merged after the layer, so it needs no token: a client finds out here where to get one.
//!     .merge(integrations::axum::resource_metadata(&verifier));
//! # Ok(())
//! # }
//! ```

use axum::Router;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use crate::call::{Caller, VerifiedTenant};
use crate::inbound::{Refusal, Verifier};
use crate::outcome::Answer;

/// Serves the metadata of the resource (RFC 9728 §3) at its well-known path, without
/// authentication. Merge it after adding the verifier's layer, because a router applies a layer
/// only to routes that it already has. Returns a router without routes if the verifier has no
/// resource.
///
/// ```
/// use sts_client::{Verifier, integrations};
/// use sts_client::inbound::Issuer;
///
/// let verifier = Verifier::builder(["inventory"])
///     .issuer(Issuer::sts("https://sts.example.com"))
///     .resource("https://inventory.shop.example/".parse()?)
///     .build()?;
/// // GET /.well-known/oauth-protected-resource
/// let open: axum::Router = integrations::axum::resource_metadata(&verifier);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn resource_metadata<S: Clone + Send + Sync + 'static>(verifier: &Verifier) -> Router<S> {
    let Some(metadata) = verifier.resource_metadata() else { return Router::new() };
    let document = metadata.to_json();
    let answer = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    Router::new().route(&metadata.well_known_path(), get(answer))
}

/// Extracts the caller that [`Verifier::layer`] verified.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = LayerMissing;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, LayerMissing> {
        parts.extensions.get().cloned().ok_or(LayerMissing)
    }
}

/// Extracts the tenant of the token. A request whose token has no tenant is refused with 403.
impl<S: Sync> FromRequestParts<S> for VerifiedTenant {
    type Rejection = TenantRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, TenantRejection> {
        let caller = Caller::from_request_parts(parts, state).await.map_err(TenantRejection::LayerMissing)?;
        caller.require_tenant().map_err(TenantRejection::Refused)
    }
}

/// The rejection of a handler that takes a [`VerifiedTenant`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum TenantRejection {
    /// The handler is not behind a verifier's layer.
    #[error(transparent)]
    LayerMissing(LayerMissing),
    /// The token has no tenant.
    #[error(transparent)]
    Refused(Refusal),
}

impl IntoResponse for TenantRejection {
    fn into_response(self) -> Response {
        match self {
            Self::LayerMissing(missing) => missing.into_response(),
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}

/// The rejection of a handler that takes a [`Caller`] but is not behind a [`Verifier::layer`].
/// This is an error of the agent, so the response is 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no verifier layer runs before this handler")]
pub struct LayerMissing;

impl IntoResponse for LayerMissing {
    fn into_response(self) -> Response {
        tracing::error!("a handler needs a caller, but no verifier layer runs before it: the request is rejected");
        (http::StatusCode::INTERNAL_SERVER_ERROR, "internal error").into_response()
    }
}

/// Makes an outcome a response, so that a handler can return `Result<Json<T>, Answer>`.
impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.to_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.to_response()
    }
}
