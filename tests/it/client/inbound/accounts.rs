//! Service accounts of issuers other than the STS, which no user stands behind.

use serde_json::{Value, json};
use sts_client::inbound::Issuer;

use super::{Agent, Row, with_header};

/// The claims of a token of client credentials: no tenant.
fn of_account(agent: &Agent, changes: &Value) -> http::HeaderMap {
    let mut claims = agent.claims_with(changes);
    claims.as_object_mut().unwrap().remove("org_id");
    agent.bearer(&agent.idp.sign(&claims))
}

async fn kind(agent: &Agent, changes: &Value) -> Value {
    agent.served(&changes.to_string(), of_account(agent, changes)).await["kind"].clone()
}

#[tokio::test]
async fn rfc_9068_section_2_2_a_token_whose_sub_is_its_client_is_a_service_accounts() {
    let agent = Agent::of_issuer(|issuer| issuer, |builder, _idp| builder).await;
    for claim in ["client_id", "azp", "cid"] {
        assert_eq!(kind(&agent, &json!({ "sub": "nightly-job", claim: "nightly-job" })).await, "ServiceAccount");
        assert_eq!(kind(&agent, &json!({ "sub": "alice", claim: "nightly-job" })).await, "User", "{claim}");
        assert_eq!(kind(&agent, &json!({ "sub": "alice", claim: ["alice"] })).await, "User", "{claim}");
    }
}

#[tokio::test]
async fn a_token_with_tenant_ids_and_without_act_is_a_service_accounts_of_any_issuer() {
    let agent = Agent::of_issuer(|issuer| issuer, |builder, _idp| builder).await;
    assert_eq!(kind(&agent, &json!({ "tenant_ids": ["acme"] })).await, "ServiceAccount");
    assert_eq!(kind(&agent, &json!({ "tenant_ids": ["acme"], "act": { "sub": "bot" } })).await, "User");
    let named = with_header(of_account(&agent, &json!({ "tenant_ids": ["acme"] })), "x-tenant-id", "acme");
    agent.refused("its issuer is no sts", named, Row::Scope, "tenant_forbidden").await;
}

#[tokio::test]
async fn the_claim_of_the_entry_tells_service_accounts_apart() {
    let value = |issuer: Issuer| issuer.service_account_claim("gty", Some("client-credentials"));
    let agent = Agent::of_issuer(value, |builder, _idp| builder).await;
    for (gty, expected) in [
        (json!("client-credentials"), "ServiceAccount"),
        (json!(["client-credentials"]), "ServiceAccount"),
        (json!("password"), "User"),
        (json!(7), "User"),
        (Value::Null, "User"),
    ] {
        assert_eq!(kind(&agent, &json!({ "gty": gty, "sub": "job@clients" })).await, expected, "{gty}");
    }
    let presence = |issuer: Issuer| issuer.service_account_claim("client_id", None);
    let agent = Agent::of_issuer(presence, |builder, _idp| builder).await;
    for (client_id, expected) in [
        (json!("job"), "ServiceAccount"),
        (json!(true), "ServiceAccount"),
        (json!(false), "User"),
        (Value::Null, "User"),
    ] {
        assert_eq!(kind(&agent, &json!({ "client_id": client_id })).await, expected, "{client_id}");
    }
}

#[tokio::test]
async fn a_service_account_needs_no_tenant_claim_and_speaks_for_the_configured_tenants_alone() {
    let agent = Agent::of_issuer(
        |issuer| issuer.tenant_claim("org_id").service_account_claim("idtyp", Some("app")),
        |builder, _idp| builder,
    )
    .await;
    let told = agent.served("no org_id", of_account(&agent, &json!({ "sub": "job", "idtyp": "app" }))).await;
    assert_eq!((&told["kind"], &told["tenant"]), (&json!("ServiceAccount"), &Value::Null));
    assert_eq!(told["context_has_user"], false);
    let unlisted = of_account(&agent, &json!({ "sub": "job", "idtyp": "app" }));
    let unlisted = with_header(unlisted, "x-tenant-id", "acme");
    agent.refused("not listed", unlisted, Row::Scope, "tenant_forbidden").await;
    let listed = with_header(of_account(&agent, &json!({ "sub": "nightly", "idtyp": "app" })), "x-tenant-id", "acme");
    assert_eq!(agent.served("listed", listed).await["tenant"], "acme");
}
