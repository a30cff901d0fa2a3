//! The tenant that a handler is given is one that was verified.

use axum::Router;
use axum::routing::get;
use serde_json::{Value, json};
use sts_client::inbound::Issuer;
use sts_client::{CallContext, Tenant, VerifiedTenant};

use super::{Agent, send_to, with_header};

async fn whose(tenant: VerifiedTenant) -> String {
    let context = CallContext::current().expect("the layer sets the context");
    assert_eq!(context.tenant(), Some(tenant.tenant()), "what is forwarded is what the handler was given");
    tenant.to_string()
}

fn app(agent: &Agent) -> Router {
    Router::new().route("/", get(whose)).layer(agent.verifier.layer())
}

/// What a handler is given of these claims and that header; else status and error code.
async fn given(agent: &Agent, claims: Value, header: Option<&str>) -> Result<String, (u16, String)> {
    let mut headers = agent.request(&claims);
    if let Some(header) = header {
        headers = with_header(headers, "x-tenant-id", header);
    }
    let answer = send_to(&app(agent), "/", headers).await;
    if answer.status == 200 { Ok(answer.text()) } else { Err((answer.status, answer.error().to_owned())) }
}

fn refused() -> Result<String, (u16, String)> {
    Err((403, "insufficient_scope".to_owned()))
}

#[tokio::test]
async fn a_users_tenant_is_that_of_the_token_whatever_a_header_says() {
    let agent = Agent::start().await;
    assert_eq!(given(&agent, json!({}), None).await.as_deref(), Ok("acme"));
    assert_eq!(given(&agent, json!({}), Some("acme")).await.as_deref(), Ok("acme"));
    assert_eq!(given(&agent, json!({}), Some("globex")).await, refused());
    assert_eq!(given(&agent, json!({}), Some("a b")).await, Err((400, "invalid_request".to_owned())));
}

#[tokio::test]
async fn a_service_account_speaks_for_its_tenants_and_only_when_it_names_one() {
    let agent = Agent::start().await;
    let nightly = || json!({ "sub": "nightly" });
    assert_eq!(given(&agent, nightly(), Some("globex")).await.as_deref(), Ok("globex"));
    assert_eq!(given(&agent, nightly(), Some("initech")).await, refused());
    assert_eq!(given(&agent, nightly(), None).await, refused(), "which one it speaks for was not said");
    for blank in ["", " ", "\t"] {
        assert_eq!(given(&agent, nightly(), Some(blank)).await, refused(), "{blank:?}");
    }
}

#[tokio::test]
async fn x_tenant_id_alone_never_suffices() {
    let agent =
        Agent::of_issuer(|_| Issuer::new("http://127.0.0.1:9"), |builder, idp| builder.issuer(Issuer::new(idp.url())))
            .await;
    assert_eq!(given(&agent, json!({}), None).await, refused(), "a token without a tenant");
    assert_eq!(given(&agent, json!({}), Some("acme")).await, refused(), "a header is no source");
}

#[tokio::test]
async fn without_the_layer_nobody_is_given_a_tenant() {
    let app = Router::new().route("/", get(whose));
    let headers = with_header(http::HeaderMap::new(), "x-tenant-id", "acme");
    assert_eq!(send_to(&app, "/", headers).await.status, 500);
}

#[tokio::test]
async fn a_delegation_yields_its_tenant_or_a_refusal() {
    let agent = Agent::start().await;
    let caller = agent.verifier.verify(&agent.request(&json!({}))).await.unwrap();
    assert_eq!(caller.require_tenant().unwrap().tenant(), &Tenant::new("acme").unwrap());
    let nightly = agent.verifier.verify(&agent.request(&json!({ "sub": "nightly" }))).await.unwrap();
    assert_eq!(nightly.verified_tenant(), None);
    let refusal = nightly.require_tenant().unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (403, "tenant_missing"));
}
