//! Against the real server.

use std::sync::Arc;

use serde_json::{Value, json};
use sts_client::exchange::{ExchangeRequest, IssuedToken, ServiceAccountRequest};
use sts_client::inbound::Issuer;
use sts_client::{Caller, Credentials, Route, Sts, TokenFile};
use sts_jose::{Algorithm, SigningKey};
use sts_tests::{Harness, Setup};

use super::hostile::PATIENCE;
use super::{class, correlation_id};

fn sts(harness: &Harness, client_id: &str, credentials: Credentials) -> Sts {
    let builder = Sts::builder(harness.issuer(), client_id, credentials).clock(Arc::new(harness.clock.clone()));
    builder.attempt_timeout(PATIENCE).deadline(PATIENCE).build().unwrap()
}

fn secret(harness: &Harness, agent: &str) -> Credentials {
    Credentials::ClientSecret(harness.secret(agent).into())
}

async fn user(harness: &Harness) -> Caller {
    harness.user(&harness.user_token()).await
}

fn inventory() -> Route {
    Route::to("https://inventory.shop.example/".parse().unwrap())
        .audience("inventory-agent")
        .scope("stock:read".parse().unwrap())
}

fn token(harness: &Harness, issued: &IssuedToken) -> String {
    let header = issued.authorization();
    let token = header.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    harness.seen.remember(&token);
    token
}

async fn claims(harness: &Harness, issued: &IssuedToken) -> Value {
    harness.verify(&token(harness, issued)).await
}

#[tokio::test]
async fn a_client_secret_with_reserved_characters_gets_a_token_that_names_user_and_agent() {
    let harness = Harness::start().await;
    let (sts, user, route) =
        (sts(&harness, "coordinator", secret(&harness, "coordinator")), user(&harness).await, inventory());
    let correlation_id = correlation_id("secret-1");
    let request = ExchangeRequest { subject: &user, route: &route, correlation_id: &correlation_id };
    let issued = sts.exchange(request).await.unwrap();
    let claims = claims(&harness, &issued).await;
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("alice"), &json!("inventory-agent")));
    assert_eq!(claims["act"], json!({ "sub": "coordinator", "iss": harness.issuer() }));
    assert_eq!(
        (issued.scope().to_string(), issued.expires_at().as_second()),
        ("stock:read".to_owned(), harness.now() + 300)
    );
    assert!(issued.tenant_ids().is_none());
}

#[tokio::test]
async fn the_second_hop_nests_the_chain() {
    let harness = Harness::start().await;
    let first_id = correlation_id("hop-1");
    let coordinator = sts(&harness, "coordinator", secret(&harness, "coordinator"));
    let (user, route) = (user(&harness).await, inventory());
    let first = coordinator
        .exchange(ExchangeRequest { subject: &user, route: &route, correlation_id: &first_id })
        .await
        .unwrap();

    let inbound =
        super::delegation(Issuer::sts(harness.issuer()), "inventory-agent", &token(&harness, &first), &harness.clock)
            .await;
    let route = Route::to("https://warehouse.shop.example/".parse().unwrap()).audience("warehouse");
    let second_id = correlation_id("hop-2");
    let second = sts(&harness, "inventory", secret(&harness, "inventory"));
    let second = second
        .exchange(ExchangeRequest { subject: &inbound, route: &route, correlation_id: &second_id })
        .await
        .unwrap();
    let iss = harness.issuer();
    let chain = json!({ "sub": "inventory", "iss": iss, "act": { "sub": "coordinator", "iss": iss } });
    assert_eq!(claims(&harness, &second).await["act"], chain);
    assert_eq!(second.scope().to_string(), "bin:read stock:read");
}

#[tokio::test]
async fn every_request_with_a_private_key_has_a_new_assertion() {
    let key = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let jwks = toml::Value::try_from(json!({ "keys": [key.public_jwk()] })).unwrap();
    let edit =
        move |registry: &mut sts_tests::Registry| registry.agent("reporter", &format!("auth = {{ jwks = {jwks} }}"));
    let harness = Setup::default().registry(edit).start().await;
    let sts = sts(&harness, "reporter", Credentials::PrivateKeyJwt(key));
    let (user, route) = (user(&harness).await, inventory());
    for id in ["assertion-1", "assertion-2"] {
        let correlation_id = correlation_id(id);
        let request = ExchangeRequest { subject: &user, route: &route, correlation_id: &correlation_id };
        assert_eq!(class(&sts.exchange(request).await), "ok", "{id}");
    }
}

#[tokio::test]
async fn a_workload_token_that_was_replaced_is_read_anew() {
    let harness = Harness::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let sts = sts(&harness, "runner", Credentials::Token(Arc::new(TokenFile::new(file.path()))));
    let (user, route) = (user(&harness).await, inventory());
    let correlation_id = correlation_id("workload-1");
    let request = ExchangeRequest { subject: &user, route: &route, correlation_id: &correlation_id };
    let of_another = harness.workload_token_with(&json!({ "sub": "system:serviceaccount:shop:stranger" }));
    let rows = [
        (String::new(), "misconfigured"),
        (of_another, "refused: invalid_client"),
        (harness.workload_token_with(&json!({})), "ok"),
    ];
    for (content, expected) in rows {
        harness.seen.remember(&content);
        std::fs::write(file.path(), content).unwrap();
        assert_eq!(class(&sts.exchange(request).await), expected);
    }
}

#[tokio::test]
async fn a_refusal_bears_the_code_of_the_server() {
    let harness = Harness::start().await;
    let user = user(&harness).await;
    let correlation_id = correlation_id("refused-1");
    let known = sts(&harness, "coordinator", secret(&harness, "coordinator"));
    let wrong = sts(&harness, "coordinator", Credentials::ClientSecret("wrong".to_owned().into()));
    let elsewhere = Route::to("https://x.example/".parse().unwrap()).audience("shelf");
    let rows = [
        (&known, elsewhere, "refused: invalid_target"),
        (&known, inventory().scope("bin:read".parse().unwrap()), "refused: invalid_scope"),
        (&wrong, inventory(), "refused: invalid_client"),
        (&known, inventory(), "ok"),
    ];
    for (sts, route, expected) in rows {
        let request = ExchangeRequest { subject: &user, route: &route, correlation_id: &correlation_id };
        assert_eq!(class(&sts.exchange(request).await), expected);
    }
}

#[tokio::test]
async fn a_service_account_is_told_the_tenants_that_it_may_forward() {
    let harness = Harness::start().await;
    let sts = sts(&harness, "coordinator", secret(&harness, "coordinator"));
    let (route, correlation_id) = (inventory(), correlation_id("service-1"));
    let request = ServiceAccountRequest { route: &route, correlation_id: &correlation_id };
    let issued = sts.service_account_token(request).await.unwrap();
    let tenants: Vec<&str> = issued.tenant_ids().unwrap().iter().map(sts_client::Tenant::as_str).collect();
    assert_eq!(tenants, ["acme", "globex"]);
    assert_eq!(claims(&harness, &issued).await["sub"], "coordinator");
}

#[tokio::test]
async fn a_token_is_active_for_whom_it_is_meant_until_it_is_revoked() {
    let harness = Harness::start().await;
    let first = harness.first_hop().await;
    let inventory = sts(&harness, "inventory", secret(&harness, "inventory"));
    let id = correlation_id("introspect-1");
    assert!(inventory.is_active(&first, &id).await.unwrap());
    let stranger = sts(&harness, "warehouse", secret(&harness, "warehouse"));
    assert!(!stranger.is_active(&first, &id).await.unwrap());
    harness.revoke("coordinator", &first).send().await;
    assert!(!inventory.is_active(&first, &id).await.unwrap());
    let wrong = sts(&harness, "inventory", Credentials::ClientSecret("wrong".to_owned().into()));
    assert_eq!(class(&wrong.is_active(&first, &id).await), "refused: invalid_client");
}

#[tokio::test]
async fn the_audit_event_bears_the_correlation_id_of_the_call() {
    let harness = Harness::start().await;
    let sts = sts(&harness, "coordinator", secret(&harness, "coordinator"));
    let (user, route, correlation_id) = (user(&harness).await, inventory(), correlation_id("audited-1"));
    let request = ExchangeRequest { subject: &user, route: &route, correlation_id: &correlation_id };
    let issued = sts.exchange(request).await.unwrap();
    token(&harness, &issued);
    assert_eq!(harness.events("audited-1").await.len(), 1);
}
