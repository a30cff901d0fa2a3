//! The public and the admin listener: requests in, responses out.
//!
//! What lives here: the endpoints (`oauth`), the intake of requests (`intake`), the accept loop
//! (`listener`), all statuses and bodies (`answer`), and the admin API (`admin`). What must never:
//! decisions; `exchange` makes them. Another endpoint is a line in `oauth`, or in the router of the
//! admin listener.

mod admin;
mod answer;
mod approval_page;
mod approvals;
mod body;
mod certificate_validity;
mod client_certificate;
mod client_verifier;
mod content_type;
mod health;
mod intake;
mod jwks;
mod listener;
mod memory;
mod metadata;
mod metrics;
mod oauth;
mod peer;
mod places;
mod source;
mod tls;
mod unanswered;
mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, PRAGMA, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use tower_http::set_header::SetResponseHeaderLayer;

pub use admin::AdminApi;
pub use admin::console::sign_in_path;
pub use certificate_validity::{CertificateAge, CertificateValidity};
pub use listener::{Endpoints, Listener, ListenerLimits};
pub use oauth::Agents;
pub use peer::Peer;
pub use tls::{Tls, TlsError};

use crate::config::Config;
use crate::service::Sts;
use crate::telemetry::Traces;
use memory::RequestMemory;
use places::Full;
use source::Proxies;

/// The state that all handlers share.
#[derive(Debug, Clone)]
pub struct App {
    sts: Arc<Sts>,
    metadata: Arc<sts_protocol::Metadata>,
    body_timeout: Duration,
    request_timeout: Duration,
    proxies: Arc<Proxies>,
    memory: RequestMemory,
    full: Full,
    withdrawn: Arc<AtomicBool>,
    traces: Traces,
    tls: Option<Tls>,
}

impl App {
    /// Creates the state of the handlers of a service.
    #[must_use]
    pub fn new(sts: Arc<Sts>, config: &Config) -> Self {
        Self {
            sts,
            metadata: Arc::new(metadata::describe(config)),
            body_timeout: config.limits.body_timeout.as_duration(),
            request_timeout: config.limits.request_timeout.as_duration(),
            proxies: Arc::new(Proxies::new(&config.listen)),
            memory: RequestMemory::new(&config.limits),
            full: Full::new(),
            withdrawn: Arc::default(),
            traces: Traces::default(),
            tls: None,
        }
    }

    /// Returns the state with trace export.
    #[must_use]
    pub fn tracing(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Returns the state with the certificate of the listeners.
    #[must_use]
    pub fn certified(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Fails readiness from now on but keeps serving.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }
}

/// Returns the router of the endpoints for operators. No response may be cached, sniffed or named as
/// a referrer.
pub fn admin(app: App, api: AdminApi) -> Router {
    let fixed = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(app)
        .nest(admin::console::BASE, admin::console::router(api.clone()))
        .nest(admin::BASE, admin::router(api))
        .layer(fixed(CACHE_CONTROL, "no-store"))
        .layer(fixed(PRAGMA, "no-cache"))
        .layer(fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(REFERRER_POLICY, "no-referrer"))
}
