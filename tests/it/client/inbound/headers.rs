//! `Authorization` and `X-Tenant-ID` of an inbound request.

use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use sts_client::{CallContext, IdempotencyKey, Propagator, Route};

use super::{Agent, Row, with_header};

#[tokio::test]
async fn exactly_one_bearer_token_is_read_and_only_from_the_header() {
    let agent = Agent::start().await;
    let token = agent.idp.sign(&agent.claims());
    agent.seen.remember(&token);
    let authorization = |value: &str| with_header(HeaderMap::new(), "authorization", value);
    let twice = with_header(agent.bearer(&token), "authorization", &format!("Bearer {token}"));
    let beside_basic = with_header(agent.bearer(&token), "authorization", "Basic YTpi");
    let in_one = authorization(&format!("Bearer {token}, Bearer {token}"));
    let cases = [
        ("none", HeaderMap::new(), Row::Absent, "token_missing"),
        ("in another header", with_header(HeaderMap::new(), "x-authorization", &token), Row::Absent, "token_missing"),
        ("another scheme", authorization("Basic YTpi"), Row::Absent, "other_scheme"),
        ("DPoP", authorization(&format!("DPoP {token}")), Row::Absent, "other_scheme"),
        ("without scheme", authorization(&token), Row::Absent, "other_scheme"),
        ("two Authorization headers", twice, Row::Request, "authorization_repeated"),
        ("one of them Basic", beside_basic, Row::Request, "authorization_repeated"),
        ("two in one", in_one, Row::Request, "authorization_malformed"),
        ("nothing after the scheme", authorization("Bearer"), Row::Request, "authorization_malformed"),
    ];
    agent.each_refused(cases).await;
    agent.served("lower case", authorization(&format!("bearer {token}"))).await;
    let in_query = super::send_to(&agent.app, &format!("/?access_token={token}"), HeaderMap::new()).await;
    assert_eq!((in_query.status, in_query.error()), (401, ""));
}

/// Gateways send empty headers in place of absent ones.
#[tokio::test]
async fn an_empty_header_counts_as_absent() {
    let agent = Agent::start().await;
    for name in ["x-tenant-id", "x-correlation-id", "idempotency-key", "traceparent"] {
        for value in ["", " ", "\t"] {
            let told = agent.served(name, with_header(agent.request(&json!({})), name, value)).await;
            assert_eq!(told["tenant"], "acme", "{name}: {value:?}");
            assert!(IdempotencyKey::from_headers(&with_header(HeaderMap::new(), name, value)).unwrap().is_none());
        }
    }
    let blank = |headers: HeaderMap| with_header(headers, "authorization", " ");
    agent.served("beside a token", blank(agent.request(&json!({})))).await;
    agent.each_refused([("alone", blank(HeaderMap::new()), Row::Absent, "token_missing")]).await;
    let mut carried = blank(agent.request(&json!({})));
    for name in ["x-correlation-id", "idempotency-key", "traceparent", "x-mode"] {
        carried = with_header(carried, name, " ");
    }
    let correlated = with_header(carried, "x-correlation-id", "of-alice");
    let context = CallContext::from(&agent.verifier.verify(&correlated).await.unwrap());
    let url: url::Url = "https://target.example/".parse().unwrap();
    let route = Route::to(url.clone()).pass_through().forward_header(HeaderName::from_static("x-mode"));
    let propagator = Propagator::builder().route(route).build().await.unwrap();
    let mut sent = HeaderMap::new();
    propagator.apply(&context, &url, &mut sent).await.unwrap();
    assert_eq!(sent.get("x-correlation-id").unwrap(), "of-alice");
    assert!(!sent.keys().any(|name| ["idempotency-key", "traceparent", "x-mode"].contains(&name.as_str())), "{sent:?}");
}

#[tokio::test]
async fn a_tenant_header_of_a_user_repeats_the_token_or_is_refused() {
    let agent = Agent::start().await;
    let named = |tenant: &str| with_header(agent.request(&json!({})), "x-tenant-id", tenant);
    assert_eq!(agent.served("the same", named("acme")).await["tenant"], "acme");
    let twice = with_header(named("acme"), "x-tenant-id", "acme");
    let cases = [
        ("another", named("globex"), Row::Scope, "tenant_contradicted"),
        ("another case", named("Acme"), Row::Scope, "tenant_contradicted"),
        ("twice", twice, Row::Request, "tenant_header_malformed"),
        ("two in one", named("acme,globex"), Row::Request, "tenant_header_malformed"),
        ("with a space", named("acme globex"), Row::Request, "tenant_header_malformed"),
        ("too long", named(&"a".repeat(129)), Row::Request, "tenant_header_malformed"),
        ("a wildcard", named("*"), Row::Request, "tenant_header_malformed"),
        ("not ASCII", named("\u{e4}"), Row::Request, "tenant_header_malformed"),
    ];
    agent.each_refused(cases).await;
}

#[tokio::test]
async fn a_service_account_speaks_for_the_tenant_in_the_header_if_it_may() {
    let agent = Agent::start().await;
    let nightly = || agent.request(&json!({ "sub": "nightly" }));
    for tenant in ["acme", "globex"] {
        let told = agent.served(tenant, with_header(nightly(), "x-tenant-id", tenant)).await;
        assert_eq!((&told["tenant"], &told["context_tenant"]), (&json!(tenant), &json!(tenant)));
    }
    assert_eq!(agent.served("none", nightly()).await["tenant"], Value::Null);
    let cases = [
        ("one that it may not", with_header(nightly(), "x-tenant-id", "initech"), Row::Scope, "tenant_forbidden"),
        ("malformed", with_header(nightly(), "x-tenant-id", "a b"), Row::Request, "tenant_header_malformed"),
    ];
    agent.each_refused(cases).await;
}
