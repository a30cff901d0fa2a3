//! The same issuers at an agent's inbound side: claims and names as real identity providers have them.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use sts_client::Caller;
use sts_client::inbound::{Issuer, Refusal, Verifier};
use sts_jose::{Algorithm, KeySet, ManualClock};
use sts_tests::{TestKey, bearer};

const IDP: &str = "https://idp.example";
const NOW: i64 = 1_800_000_000;

/// What an agent with this entry says to a token with these claims; one that is null is left out.
async fn verify(entry: impl FnOnce(Issuer) -> Issuer, changes: &Value) -> Result<Caller, Refusal> {
    of_issuer(entry(Issuer::new(IDP)), changes).await
}

async fn of_issuer(issuer: Issuer, changes: &Value) -> Result<Caller, Refusal> {
    let key = TestKey::new(Algorithm::Es256);
    let keys = KeySet::parse(json!({ "keys": [key.jwk()] }).to_string().as_bytes()).unwrap();
    let clock = ManualClock::new(Timestamp::from_second(NOW).unwrap());
    let builder = Verifier::builder(["web-app"]).issuer(issuer.jwks(keys)).clock(Arc::new(clock));
    let mut claims = json!({ "iss": IDP, "sub": "alice", "aud": "web-app", "iat": NOW, "exp": NOW + 600 });
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    builder.build().unwrap().verify(&bearer(&key.sign(&claims))).await
}

async fn assert_unauthorized(label: &str, verified: Result<Caller, Refusal>) {
    assert_eq!(verified.unwrap_err().status(), StatusCode::UNAUTHORIZED, "{label}");
}

#[tokio::test]
async fn cognito_tokens_of_both_kinds_are_addressed() {
    let cognito = |issuer: Issuer| issuer.audience_claim(["aud", "client_id"]);
    verify(cognito, &json!({ "aud": null, "client_id": "web-app" })).await.unwrap();
    verify(cognito, &json!({})).await.unwrap();
    assert_unauthorized("another", verify(cognito, &json!({ "aud": "other", "client_id": "web-app" })).await).await;
    assert_unauthorized("none", verify(cognito, &json!({ "aud": [] })).await).await;
}

#[tokio::test]
async fn tenant_and_subject_may_stand_at_a_path() {
    let keycloak = |issuer: Issuer| {
        issuer
            .tenant_claim(["organization", "/organization/*"])
            .subject_claim(["/user/id", "sub"])
            .subject_prefix("kc:")
    };
    let caller = verify(keycloak, &json!({ "organization": { "acme": {} }, "user": { "id": 7 } })).await.unwrap();
    assert_eq!((caller.tenant().unwrap().as_str(), caller.subject().sub.as_str()), ("acme", "7"));
    let several = json!({ "organization": { "acme": {}, "globex": {} } });
    assert_unauthorized("several", verify(keycloak, &several).await).await;
}

#[tokio::test]
async fn spare_white_space_in_a_scope_means_nothing() {
    let caller = verify(|issuer| issuer, &json!({ "scope": " openid  stock:read " })).await.unwrap();
    assert!(caller.has_scope("stock:read"));
    let caller = verify(|issuer| issuer, &json!({ "scp": ["stock:read"] })).await.unwrap();
    assert!(caller.has_scope("stock:read"));
}

#[tokio::test]
async fn other_names_of_an_issuer_name_its_principals() {
    let google = |issuer: Issuer| issuer.aliases(["idp.example"]);
    let caller = verify(google, &json!({ "iss": "idp.example" })).await.unwrap();
    assert_eq!((caller.issuer(), caller.subject().iss.as_str()), (IDP, IDP));
    assert_unauthorized("another", verify(google, &json!({ "iss": "other.example" })).await).await;
    let entra = || Issuer::new("https://login.example/{tenantid}/v2.0").tenant_claim("tid");
    let caller = of_issuer(entra(), &json!({ "iss": "https://login.example/t-1/v2.0", "tid": "t-1" })).await.unwrap();
    assert_eq!(caller.subject().iss, "https://login.example/t-1/v2.0");
    for tid in [json!("t-2"), json!(null)] {
        let refused = of_issuer(entra(), &json!({ "iss": "https://login.example/t-1/v2.0", "tid": tid })).await;
        assert_unauthorized("another tenant", refused).await;
    }
}

#[tokio::test]
async fn a_token_may_be_as_old_as_its_issuer_lets_it() {
    let young = |issuer: Issuer| issuer.max_token_age(Duration::from_secs(60));
    verify(young, &json!({ "iat": NOW - 60 })).await.unwrap();
    assert_unauthorized("old", verify(young, &json!({ "iat": NOW - 61 })).await).await;
    assert_unauthorized("without iat", verify(young, &json!({ "iat": null })).await).await;
    verify(|issuer| issuer, &json!({ "iat": NOW - 24 * 3600 })).await.unwrap();
    assert_unauthorized("a day", verify(|issuer| issuer, &json!({ "iat": NOW - 24 * 3600 - 1 })).await).await;
}

#[tokio::test]
async fn the_keys_of_the_registry_are_those_of_an_agent() {
    let text = r#"
        [inbound]
        audience = ["web-app"]
        [[inbound.issuers]]
        issuer = "https://login.microsoftonline.com/{tenantid}/v2.0"
        aliases = ["https://sts.windows.net/{tenantid}/"]
        jwks_uri = "https://login.microsoftonline.com/common/discovery/v2.0/keys"
        tenant_claim = "tid"
        subject_claim = ["oid", "sub"]
        scope_claim = "scp"
        audience_claim = ["aud", "client_id"]
        subject_prefix = "entra:"
        max_token_age = "12h"
    "#;
    Verifier::from_toml(text).unwrap().build().unwrap();
    for (from, to) in [
        ("\"tid\"", "\"/*\""),
        ("\"12h\"", "\"soon\""),
        ("tenant_claim = \"tid\"", ""),
        ("issuer = \"https://login.microsoftonline.com/{tenantid}/v2.0\"", "issuer = \"https://login.example\""),
    ] {
        let built = Verifier::from_toml(&text.replacen(from, to, 1)).and_then(|builder| builder.build());
        assert!(built.is_err(), "{to}");
    }
}
