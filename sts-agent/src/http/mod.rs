//! The endpoints.
//!
//! What lives here: the routes with their description for the OpenAPI document (`openapi`), the
//! intake of their bodies (`asked`), the questions of a proxy by gRPC (`envoy`), and all statuses and
//! bodies (`answer`). What must never: a
//! decision. Another endpoint is a handler with a `utoipa::path` attribute and one line in
//! [`routes`]: the document and the router are built from the same list.

mod answer;
mod asked;
mod contract;
mod envoy;
mod forget;
mod observe;
mod openapi;
mod outbound;
mod verify;

use std::future::IntoFuture as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::serve::Listener;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::listen::{Bearer, Place};
use crate::live::Live;

pub use openapi::openapi;

/// The time that requests may take to end after the shutdown is announced.
const DRAIN: Duration = Duration::from_secs(10);

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    live: Arc<Live>,
    /// The secret that requests must show; `None` on a unix socket.
    bearer: Option<Arc<Bearer>>,
    metrics: PrometheusHandle,
}

impl Api {
    pub(crate) fn new(live: Arc<Live>, bearer: Option<Bearer>, metrics: PrometheusHandle) -> Self {
        Self { live, bearer: bearer.map(Arc::new), metrics }
    }
}

/// Serves until `shutdown` is true, and then until the requests have ended.
pub(crate) async fn serve<L>(
    listener: L,
    api: Api,
    place: &Place,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let mut announced = shutdown.clone();
    let ended = async move {
        let _gone = announced.wait_for(|ended| *ended).await;
    };
    tracing::info!(%place, "serving");
    let serving = axum::serve(listener, router(api)).with_graceful_shutdown(ended);
    let deadline = async {
        let _gone = shutdown.wait_for(|ended| *ended).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = deadline => {
            tracing::warn!("closed the connections that were still open at shutdown");
            Ok(())
        }
    }
}

fn router(api: Api) -> Router {
    let (questions, _document) = routes().split_for_parts();
    let authenticated = questions
        .route("/metrics", get(observe::metrics))
        .route_service(envoy::PATH, envoy::service(&api))
        .layer(middleware::from_fn_with_state(api.clone(), authenticated));
    Router::new()
        .route("/healthz", get(observe::healthz))
        .merge(authenticated)
        .fallback(answer::unknown_endpoint)
        .method_not_allowed_fallback(answer::unknown_method)
        .with_state(api)
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(verify::verify))
        .routes(routes!(outbound::headers))
        .routes(routes!(forget::forget))
        .routes(routes!(openapi::document))
}

/// Refuses a request that does not show the bearer.
async fn authenticated(State(api): State<Api>, request: Request, next: Next) -> Response {
    match &api.bearer {
        Some(bearer) if !bearer.is_shown(request.headers()) => answer::unauthorized(),
        Some(_) | None => next.run(request).await,
    }
}
