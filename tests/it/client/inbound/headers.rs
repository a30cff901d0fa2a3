//! `Authorization` and `X-Tenant-ID` of an inbound request.

use http::HeaderMap;
use serde_json::{Value, json};

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
        ("empty", named(""), Row::Request, "tenant_header_malformed"),
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
