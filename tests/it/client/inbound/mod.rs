//! The verifier of inbound tokens, and the layer that guards an agent with it.
//!
//! [`Agent`] is an agent behind the layer, with an issuer of its own; each test changes one thing in a request that it serves.

mod accounts;
mod claims;
mod grpc;
mod headers;
mod introspection;
mod keys;
mod layer;
mod own;
mod proofs;
mod refusal_log;
mod setup;
mod tenant;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use serde_json::{Value, json};
use sts_client::inbound::{Issuer, Refusal, Verifier, VerifierBuilder};
use sts_client::{CallContext, Caller, Tenant};
use sts_jose::ManualClock;
use sts_tests::{Answer, Capture, Seen, TestIssuer, bearer};
use tower::ServiceExt as _;

/// Where the metadata of the resource are.
const METADATA_URL: &str = "https://inventory.shop.example/.well-known/oauth-protected-resource";

/// How a refusal looks from outside: status and error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Absent,
    Request,
    Token,
    Scope,
    Unavailable,
}

/// An agent behind the layer.
struct Agent {
    /// The issuer of its users.
    idp: TestIssuer,
    clock: ManualClock,
    verifier: Verifier,
    app: Router,
    seen: Seen,
    log: Capture,
}

impl Agent {
    async fn start() -> Self {
        Self::with(|builder, _idp| builder).await
    }

    /// With a verifier that is set up otherwise. As it stands, `idp` names the tenant in `org_id`, and its `nightly` is a service account.
    async fn with(change: impl FnOnce(VerifierBuilder, &TestIssuer) -> VerifierBuilder) -> Self {
        Self::of_issuer(|issuer| issuer.tenant_claim("org_id"), change).await
    }

    /// With another entry of `idp`.
    async fn of_issuer(
        entry: impl FnOnce(Issuer) -> Issuer,
        change: impl FnOnce(VerifierBuilder, &TestIssuer) -> VerifierBuilder,
    ) -> Self {
        let log = Capture::begin();
        let idp = TestIssuer::start().await;
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        let builder = Verifier::builder(["inventory-agent", "https://inventory.shop.example/"])
            .issuer(entry(Issuer::new(idp.url())))
            .service_account(idp.url(), "nightly", [tenant("acme"), tenant("globex")])
            .resource("https://inventory.shop.example".parse().unwrap())
            .clock(Arc::new(clock.clone()));
        let verifier = change(builder, &idp).build().unwrap();
        let app = guarded(&verifier);
        Self { idp, clock, verifier, app, seen: Seen::default(), log }
    }

    fn now(&self) -> i64 {
        sts_jose::Clock::now(&self.clock).as_second()
    }

    /// The claims of `alice`, for an hour.
    fn claims(&self) -> Value {
        let now = self.now();
        json!({
            "iss": self.idp.url(), "sub": "alice", "aud": "inventory-agent", "org_id": "acme", "scope": "stock:read",
            "iat": now, "exp": now + 3600,
        })
    }

    /// Her claims, with these in place of what they say.
    fn claims_with(&self, changes: &Value) -> Value {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    }

    fn claims_without(&self, name: &str) -> Value {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    /// A request of `alice` with these claims in place of hers.
    fn request(&self, changes: &Value) -> HeaderMap {
        self.bearer(&self.idp.sign(&self.claims_with(changes)))
    }

    /// A request with this token.
    fn bearer(&self, token: &str) -> HeaderMap {
        self.seen.remember(token);
        bearer(token)
    }

    async fn send(&self, headers: HeaderMap) -> Answer {
        send(&self.app, headers).await
    }

    /// Sends a request that is served, and gives what the agent made of it.
    async fn served(&self, label: &str, headers: HeaderMap) -> Value {
        let answer = self.send(headers).await;
        assert_eq!(answer.status, 200, "{label}: {} {:?}", answer.text(), answer.headers);
        answer.json
    }

    /// Sends a request that is refused, and looks at all of its answer.
    async fn refused(&self, label: &str, headers: HeaderMap, row: Row, reason: &str) -> Refusal {
        let refusal = self.verifier.verify(&headers).await.expect_err(label);
        assert_eq!(refusal.reason(), reason, "{label}");
        let answer = self.send(headers).await;
        let (status, error) = row.wire();
        assert_eq!(answer.status, status, "{label}: {}", answer.text());
        assert_eq!(answer.error(), error, "{label}");
        let description = answer.json["error_description"].as_str().unwrap_or_default();
        assert!(description.is_ascii() && !description.is_empty(), "{label}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store", "{label}");
        assert_eq!(answer.header("content-type"), "application/json", "{label}");
        assert!(!answer.header("x-correlation-id").is_empty(), "{label}");
        let challenge = answer.header("www-authenticate");
        let resource = format!("resource_metadata=\"{METADATA_URL}\"");
        match row {
            Row::Absent => assert_eq!(challenge, format!("Bearer {resource}"), "{label}"),
            Row::Unavailable => assert_eq!(challenge, "", "{label}"),
            Row::Request | Row::Token | Row::Scope => {
                let start = format!("Bearer error=\"{error}\", error_description=\"{description}\", ");
                assert!(challenge.starts_with(&start) && challenge.ends_with(&resource), "{label}: {challenge}");
            }
        }
        assert_eq!(!answer.header("retry-after").is_empty(), row == Row::Unavailable, "{label}");
        self.seen.assert_not_in(&format!("{:?} {}", answer.headers, answer.text()), label);
        self.seen.assert_not_in(&format!("{refusal} {refusal:?}"), label);
        refusal
    }

    /// Checks each of these requests as [`Self::refused`] does, and that the valid one is served before and after.
    async fn each_refused(&self, cases: impl IntoIterator<Item = (impl AsRef<str>, HeaderMap, Row, &str)>) {
        self.served("the valid one", self.request(&json!({}))).await;
        for (label, headers, row, reason) in cases {
            self.refused(label.as_ref(), headers, row, reason).await;
        }
        self.served("the valid one", self.request(&json!({}))).await;
    }

    /// Changed claims, each of which is why its token is refused.
    async fn each_token_refused(&self, cases: impl IntoIterator<Item = (Value, &str)>) {
        let case = |(changes, reason): (Value, _)| (changes.to_string(), self.request(&changes), Row::Token, reason);
        let cases: Vec<_> = cases.into_iter().map(case).collect();
        self.each_refused(cases).await;
    }

    /// Changed claims, none of which matters.
    async fn each_served(&self, cases: impl IntoIterator<Item = Value>) {
        for changes in cases {
            self.served(&changes.to_string(), self.request(&changes)).await;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.seen.assert_not_in(&self.log.text(), "the log");
        }
    }
}

impl Row {
    fn wire(self) -> (u16, &'static str) {
        match self {
            Self::Absent => (401, ""),
            Self::Request => (400, "invalid_request"),
            Self::Token => (401, "invalid_token"),
            Self::Scope => (403, "insufficient_scope"),
            Self::Unavailable => (503, "temporarily_unavailable"),
        }
    }
}

/// An agent that tells what it was told.
fn guarded(verifier: &Verifier) -> Router {
    let routes = Router::new().route("/", get(tell)).route("/write", get(write));
    routes.layer(verifier.layer()).merge(sts_client::integrations::axum::resource_metadata(verifier))
}

async fn tell(headers: HeaderMap, caller: Caller) -> String {
    let context = CallContext::current().expect("the layer sets the context");
    let actor = caller.actor().map(|actor| json!({ "iss": actor.iss, "sub": actor.sub }));
    let prior: Vec<&str> = caller.prior_actors().for_audit().map(|actor| actor.sub).collect();
    let scope: Vec<&str> = caller.scope().iter().map(|token| token.as_str()).collect();
    json!({
        "kind": format!("{:?}", caller.kind()),
        "issuer": caller.issuer(),
        "subject": { "iss": caller.subject().iss, "sub": caller.subject().sub },
        "actor": actor,
        "prior_actors": prior,
        "tenant": caller.tenant().map(Tenant::as_str),
        "scope": scope,
        "roles": caller.roles().collect::<Vec<_>>(),
        "acr": caller.acr(),
        "amr": caller.amr(),
        "auth_time": caller.auth_time().map(Timestamp::as_second),
        "client_id": caller.client_id(),
        "jti": caller.jti(),
        "email": caller.claim("email"),
        "txn": caller.txn(),
        "expires_at": caller.expires_at().as_second(),
        "correlation_id": caller.correlation_id().as_str(),
        "idempotency_key": caller.idempotency_key().map(|key| key.as_str()),
        "context_tenant": context.tenant().map(Tenant::as_str),
        "context_correlation_id": context.headers().correlation_id().as_str(),
        "context_has_user": context.user().is_some(),
        "has_authorization": headers.contains_key(AUTHORIZATION),
    })
    .to_string()
}

async fn write(caller: Caller) -> Result<&'static str, Refusal> {
    caller.require_scope("stock:write")?;
    Ok("written")
}

async fn send(app: &Router, headers: HeaderMap) -> Answer {
    send_to(app, "/", headers).await
}

async fn send_to(app: &Router, path: &str, headers: HeaderMap) -> Answer {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    *request.headers_mut() = headers;
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body, json }
}

fn with_header(mut headers: HeaderMap, name: &'static str, value: &str) -> HeaderMap {
    headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    headers
}

fn tenant(text: &str) -> Tenant {
    Tenant::new(text).unwrap()
}
