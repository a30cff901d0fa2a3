//! The outbound integrations: whatever carries a call, what its route says goes out, and nothing else.

mod a2a;
mod approvals;
mod bound;
mod bound_rmcp;
mod certificates;
mod envoy;
mod http_options;
mod keys;
mod per_tool;
mod place;
mod rebound;
mod refused;
mod reqwest;
mod rmcp;
mod rmcp_sessions;
mod tonic;
mod tower;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sts_client::{CallContext, Error, Propagator, Route, Sts, Verifier};
use sts_jose::UnverifiedToken;
use sts_tests::{Harness, bearer};

use self::place::Place;

/// What a request to the agent bears besides its token: what goes on, and what must not.
const INBOUND: [(&str, &str); 10] = [
    ("x-correlation-id", "corr-1"),
    ("idempotency-key", "once-1"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "vendor=1,other=2"),
    ("cookie", "session=inbound"),
    ("dpop", "inbound"),
    ("client-cert", ":inbound:"),
    ("x-sts-verified", "inbound"),
    ("proxy-authorization", "Basic inbound"),
    ("accept-language", "de"),
];

/// What goes on unchanged by every protocol, of those.
const CARRIED: [&str; 3] = ["x-correlation-id", "traceparent", "tracestate"];

/// What a careless caller has put on an outbound call already.
const CARELESS: [(&str, &str); 10] = [
    ("Authorization", "Bearer careless"),
    ("AUTHORIZATION", "Basic Y2FyZWxlc3M="),
    ("authorization", "careless"),
    ("Proxy-Authorization", "Basic careless"),
    ("Cookie", "session=careless"),
    ("DPoP", "careless"),
    ("Client-Cert", ":careless:"),
    ("X-Sts-Verified", "careless"),
    ("X-Tenant-ID", "careless"),
    ("X-Correlation-ID", "careless"),
];

/// What never leaves.
const NEVER: [&str; 5] = ["cookie", "dpop", "client-cert", "proxy-authorization", "x-sts-verified"];

/// The agent `coordinator`, which has a user's token and calls others.
struct Coordinator {
    harness: Harness,
    verifier: Verifier,
}

impl Coordinator {
    async fn start() -> Self {
        Self::beside(Harness::start().await)
    }

    fn beside(harness: Harness) -> Self {
        let verifier = harness.verifier_of_users();
        Self { harness, verifier }
    }

    /// The context of a request with that token, which bears all of [`INBOUND`].
    async fn context_of(&self, token: &str) -> CallContext {
        let mut headers = pairs(&INBOUND);
        headers.extend(bearer(token));
        CallContext::from(self.verifier.verify(&headers).await.unwrap())
    }

    /// The context of a user.
    async fn context(&self, changes: Value) -> CallContext {
        self.context_of(&self.harness.user_token_with(&changes)).await
    }

    /// A propagator that hands the user's own token on to that place, and has no other route.
    async fn pass_through(&self, place: &Place) -> Propagator {
        Propagator::builder()
            .route(Route::to(place.url("/")).pass_through())
            .clock(Arc::new(self.harness.clock.clone()))
            .build()
            .await
            .unwrap()
    }

    /// A propagator that exchanges tokens for the agent `inventory`, which is at that place.
    async fn exchanging(&self, place: &Place) -> Propagator {
        self.exchanging_for("inventory", place).await
    }

    /// A propagator that exchanges tokens for an agent, which is at that place.
    async fn exchanging_for(&self, agent: &str, place: &Place) -> Propagator {
        Propagator::builder()
            .sts(self.sts("coordinator"))
            .route(Route::to(place.url("/")).audience(agent).issued_audience(format!("{agent}-agent")))
            .clock(Arc::new(self.harness.clock.clone()))
            .build()
            .await
            .unwrap()
    }

    fn sts(&self, agent: &str) -> Sts {
        self.harness.sts_of(agent).build().unwrap()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&str, &str)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

/// Asserts that a request bears that token and all that is carried, and nothing that must not leave.
#[track_caller]
fn assert_goes_out(headers: &HeaderMap, token: &str) {
    assert_goes_out_under(headers, token, Some("once-1::"));
}

/// The same, with an idempotency key that begins so, or none.
#[track_caller]
fn assert_goes_out_under(headers: &HeaderMap, token: &str, key: Option<&str>) {
    let values = |name: &str| -> Vec<&str> { headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect() };
    assert_eq!(values("authorization"), [format!("Bearer {token}")]);
    assert_eq!(values("x-tenant-id"), ["acme"]);
    let keys = values("idempotency-key");
    assert_eq!(keys.len(), key.iter().len(), "{keys:?}");
    assert!(keys.iter().zip(key).all(|(found, begin)| found.starts_with(begin)), "{keys:?}");
    for name in CARRIED {
        let (_, inbound) = INBOUND.into_iter().find(|(inbound, _)| *inbound == name).unwrap();
        assert_eq!(values(name), [inbound], "{name}");
    }
    for name in NEVER {
        assert!(values(name).is_empty(), "{name}");
    }
    assert_ne!(values("accept-language"), ["de"], "no route forwards it");
}

#[track_caller]
fn assert_no_context(error: &Error) {
    assert!(matches!(error, Error::Misconfigured { what } if what.starts_with("no call context")), "{error:?}");
}

/// The claims of a token, unverified.
fn claims(authorization: &HeaderValue) -> Value {
    let token = authorization.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    json!(UnverifiedToken::parse(token).unwrap().claims().as_map())
}
