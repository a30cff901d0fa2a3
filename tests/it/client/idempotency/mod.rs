//! Idempotency (issue: one key, one side effect): the layer over HTTP, and the work beneath it.

mod authority;
mod bodies;
mod keys;
mod layer;
mod outages;
mod scope;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sts_client::dedup::{DedupStore, MemoryDedupStore, MemoryLimits};
use sts_client::idempotency::{Attempt, Idempotency, IdempotencyLayer};
use sts_client::inbound::{Issuer, Verifier};
use sts_client::{CallContext, Caller};
use sts_jose::ManualClock;
use sts_tests::{Answer, TestIssuer, bearer};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// What the handlers have done, and what holds them up.
struct Warehouse {
    reserved: AtomicUsize,
    /// A reservation of `slow` waits for a permit here, after its effect.
    gate: Semaphore,
}

/// An agent whose handlers have effects that can be counted.
struct Agent {
    idp: TestIssuer,
    clock: ManualClock,
    verifier: Verifier,
    warehouse: Arc<Warehouse>,
    app: Router,
}

impl Agent {
    async fn start() -> Self {
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        Self::with(memory(&clock), clock, |layer| layer).await
    }

    async fn with(
        store: Arc<dyn DedupStore>,
        clock: ManualClock,
        change: impl FnOnce(IdempotencyLayer) -> IdempotencyLayer,
    ) -> Self {
        let idp = TestIssuer::start().await;
        let verifier = Verifier::builder(["inventory-agent"])
            .issuer(Issuer::new(idp.url()).tenant_claim("org_id"))
            .clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        let warehouse = Arc::new(Warehouse { reserved: AtomicUsize::new(0), gate: Semaphore::new(0) });
        let layer = change(IdempotencyLayer::new(Idempotency::new(store), "warehouse"));
        let app = router(&warehouse, &layer, &verifier);
        Self { idp, clock, verifier, warehouse, app }
    }

    /// A second process of the same agent: other memory, the same store and the same world.
    fn restarted(&self, store: Arc<dyn DedupStore>) -> Router {
        router(&self.warehouse, &IdempotencyLayer::new(Idempotency::new(store), "warehouse"), &self.verifier)
    }

    fn headers_of(&self, changes: &Value) -> HeaderMap {
        let now = sts_jose::Clock::now(&self.clock).as_second();
        let mut claims = json!({
            "iss": self.idp.url(), "sub": "alice", "aud": "inventory-agent", "org_id": "acme", "scope": "stock:read",
            "iat": now, "exp": now + 3600,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        bearer(&self.idp.sign(&claims))
    }

    /// A POST of alice's.
    fn post(&self, path: &str, key: &str, body: &str) -> Request<Body> {
        request(self.headers_of(&json!({})), path, key, body)
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.app, request).await
    }

    fn reserved(&self) -> usize {
        self.warehouse.reserved.load(Ordering::SeqCst)
    }
}

fn memory(clock: &ManualClock) -> Arc<dyn DedupStore> {
    Arc::new(MemoryDedupStore::new(Arc::new(clock.clone()), MemoryLimits::default()))
}

fn router(warehouse: &Arc<Warehouse>, layer: &IdempotencyLayer, verifier: &Verifier) -> Router {
    Router::new()
        .route("/reserve/{what}", post(reserve).put(reserve))
        .route("/stock", get(stock).post(stock))
        .with_state(Arc::clone(warehouse))
        .layer(layer.clone())
        .layer(verifier.layer())
}

/// Reserves, and says what came of it: `what` is a status, or `slow`, `panic`, `long`.
async fn reserve(
    State(warehouse): State<Arc<Warehouse>>,
    Path(what): Path<String>,
    caller: Caller,
    request: axum::extract::Request,
) -> Response {
    let attempt = request.extensions().get::<Attempt>().copied();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let number = warehouse.reserved.fetch_add(1, Ordering::SeqCst) + 1;
    let context = CallContext::current().expect("the context of the caller reaches the handler");
    assert_eq!(context.tenant(), caller.tenant());
    match what.as_str() {
        "panic" if number == 1 => panic!("as told"),
        "slow" => warehouse.gate.acquire().await.unwrap().forget(),
        "long" => return vec![b'x'; 3 << 20].into_response(),
        _ => {}
    }
    let status = what.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::CREATED);
    let body = format!("{number} {} {attempt:?}", Bytes::len(&body));
    (status, [("location", "/orders/1"), ("set-cookie", "a=b"), ("x-note", "first")], body).into_response()
}

async fn stock(State(warehouse): State<Arc<Warehouse>>) -> String {
    (warehouse.reserved.fetch_add(1, Ordering::SeqCst) + 1).to_string()
}

fn request(headers: HeaderMap, path: &str, key: &str, body: &str) -> Request<Body> {
    let mut request = Request::post(path).body(Body::from(body.to_owned())).unwrap();
    *request.headers_mut() = headers;
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    request.headers_mut().insert("x-correlation-id", "corr-1".parse().unwrap());
    if !key.is_empty() {
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    }
    request
}

async fn send(app: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, 8 << 20).await.unwrap().to_vec();
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body, json }
}
