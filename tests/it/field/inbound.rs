//! The same issuers at an agent's inbound side: claims and names as real identity providers have them.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use sts_client::inbound::{Issuer, Refusal, Verifier};
use sts_client::{Caller, Kind, Tenant};
use sts_jose::{Algorithm, KeySet, ManualClock};
use sts_tests::{TestIssuer, TestKey, bearer};

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
    // The name of another issuer, also its alias, is that issuer's alone.
    let key = TestKey::new(Algorithm::Es256);
    let keys = || KeySet::parse(json!({ "keys": [key.jwk()] }).to_string().as_bytes()).unwrap();
    let contoso = || Issuer::new(IDP).aliases(["https://login.example/contoso/v2.0"]).tenant_claim("tid");
    for issuers in [[entra(), contoso()], [contoso(), entra()]] {
        let clock = ManualClock::new(Timestamp::from_second(NOW).unwrap());
        let builder = Verifier::builder(["web-app"]).clock(Arc::new(clock));
        let builder = issuers.into_iter().fold(builder, |builder, issuer| builder.issuer(issuer.jwks(keys())));
        let iss = "https://login.example/contoso/v2.0";
        let claims =
            json!({ "iss": iss, "sub": "alice", "aud": "web-app", "tid": "contoso", "iat": NOW, "exp": NOW + 600 });
        let caller = builder.build().unwrap().verify(&bearer(&key.sign(&claims))).await.unwrap();
        assert_eq!(caller.subject().iss, IDP);
    }
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
async fn an_issuer_asserts_the_tenants_of_its_list_alone() {
    let listed = |issuer: Issuer| issuer.tenant_claim("tid").tenants([Tenant::new("t-1").unwrap()]);
    verify(listed, &json!({ "tid": "t-1" })).await.unwrap();
    let refused = verify(listed, &json!({ "tid": "t-2" })).await.unwrap_err();
    assert_eq!((refused.status(), refused.reason()), (StatusCode::UNAUTHORIZED, "tenant_outside"));
    verify(|issuer| issuer.tenant_claim("tid"), &json!({ "tid": "t-2" })).await.unwrap();
}

const DOMAIN: &str = "spiffe://shop.example";
const SVID: &str = "spiffe://shop.example/ns/shop/sa/a";

#[tokio::test]
async fn a_jwt_svid_names_a_workload_of_its_trust_domain_and_no_user() {
    let domain = || Issuer::new(DOMAIN);
    let svid = |changes: Value| {
        let mut claims = json!({ "iss": null, "sub": SVID, "iat": null });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    for iss in [json!(null), json!(DOMAIN), json!("https://oidc.spire.example")] {
        let caller = of_issuer(domain(), &svid(json!({ "iss": iss }))).await.unwrap();
        assert_eq!((caller.subject().iss.as_str(), caller.subject().sub.as_str()), (DOMAIN, SVID), "{iss}");
        assert_eq!(caller.kind(), Kind::ServiceAccount, "{iss}");
    }
    for (label, changes, reason) in [
        ("another trust domain", json!({ "sub": "spiffe://evil.example/a" }), "issuer_missing"),
        ("another, and iss", json!({ "iss": DOMAIN, "sub": "spiffe://evil.example/a" }), "sub"),
        ("no path", json!({ "sub": DOMAIN }), "issuer_missing"),
        ("another audience", json!({ "aud": "other" }), "not_addressed"),
        ("expired", json!({ "exp": 1 }), "expired"),
        ("bound", json!({ "cnf": {} }), "bound"),
        ("an actor", json!({ "act": { "sub": "robot" } }), "contradiction"),
    ] {
        let refused = of_issuer(domain(), &svid(changes)).await.unwrap_err();
        assert_eq!((refused.status(), refused.reason()), (StatusCode::UNAUTHORIZED, reason), "{label}");
    }
}

#[tokio::test]
async fn the_typ_of_a_jwt_svid_is_that_of_no_other_token() {
    let key = TestKey::new(Algorithm::Es256);
    let keys = KeySet::parse(json!({ "keys": [key.jwk()] }).to_string().as_bytes()).unwrap();
    let clock = ManualClock::new(Timestamp::from_second(NOW).unwrap());
    let builder = Verifier::builder(["web-app"]).issuer(Issuer::new(IDP).jwks(keys.clone()));
    let builder = builder.issuer(Issuer::new(DOMAIN).jwks(keys)).clock(Arc::new(clock));
    let verifier = builder.build().unwrap();
    for (iss, sub, typ, reason) in [
        (None, SVID, "JOSE", None),
        (None, SVID, "JWT", None),
        (Some(IDP), "alice", "JWT", None),
        (Some(IDP), "alice", "JOSE", Some("typ")),
        (None, SVID, "logout+jwt", Some("typ")),
        (None, SVID, "at+jwt", Some("typ")),
        // Another issuer cannot name an identity of the trust domain.
        (Some(IDP), SVID, "JWT", Some("sub")),
    ] {
        let mut claims = json!({ "sub": sub, "aud": "web-app", "iat": NOW, "exp": NOW + 600 });
        if let Some(iss) = iss {
            claims["iss"] = json!(iss);
        }
        let mut header = key.header();
        header["typ"] = json!(typ);
        let verified = verifier.verify(&bearer(&key.sign_with(&header, &claims))).await;
        assert_eq!(verified.err().map(|refusal| refusal.reason()), reason, "{iss:?} {sub} {typ}");
    }
}

#[tokio::test]
async fn no_issuer_gives_names_that_begin_with_the_prefix_of_another() {
    let key = TestKey::new(Algorithm::Es256);
    let keys = KeySet::parse(json!({ "keys": [key.jwk()] }).to_string().as_bytes()).unwrap();
    let partner = |prefix: &str| Issuer::new("https://partner.example").jwks(keys.clone()).subject_prefix(prefix);
    let builder = |prefix: &str| {
        let clock = ManualClock::new(Timestamp::from_second(NOW).unwrap());
        Verifier::builder(["web-app"])
            .issuer(Issuer::new(IDP).jwks(keys.clone()))
            .issuer(partner(prefix))
            .clock(Arc::new(clock))
    };
    let verifier = builder("p:").build().unwrap();
    for (iss, sub, reason) in
        [(IDP, "alice", None), (IDP, "p:alice", Some("sub")), ("https://partner.example", "alice", None)]
    {
        let claims = json!({ "iss": iss, "sub": sub, "aud": "web-app", "iat": NOW, "exp": NOW + 600 });
        let verified = verifier.verify(&bearer(&key.sign(&claims))).await;
        assert_eq!(verified.err().map(|refusal| refusal.reason()), reason, "{iss} {sub}");
    }
    let third = Issuer::new("https://third.example").jwks(keys.clone()).subject_prefix("p:x");
    assert!(builder("p:").issuer(third).build().is_err(), "one prefix begins another");
}

/// Two entries, of which one has the place for the tenant in its alias: its tokens name no principal of the other.
#[tokio::test]
async fn a_principal_of_an_issuer_with_an_entry_of_its_own_comes_by_that_entry_alone() {
    let key = TestKey::new(Algorithm::Es256);
    let keys = KeySet::parse(json!({ "keys": [key.jwk()] }).to_string().as_bytes()).unwrap();
    let many = Issuer::new("https://login.example/{tenantid}/v2.0").aliases(["https://old.example/{tenantid}/"]);
    let many = many.tenant_claim("tid").jwks(keys);
    let other =
        KeySet::parse(json!({ "keys": [TestKey::new(Algorithm::Es256).jwk()] }).to_string().as_bytes()).unwrap();
    let one = Issuer::new("https://login.example/t-1/v2.0").jwks(other);
    let clock = ManualClock::new(Timestamp::from_second(NOW).unwrap());
    let verifier = Verifier::builder(["web-app"]).issuer(many).issuer(one).clock(Arc::new(clock)).build().unwrap();
    for (tenant, reason) in [("t-2", None), ("t-1", Some("issuer_unknown"))] {
        let iss = format!("https://old.example/{tenant}/");
        let claims =
            json!({ "iss": iss, "sub": "alice", "aud": "web-app", "tid": tenant, "iat": NOW, "exp": NOW + 600 });
        let verified = verifier.verify(&bearer(&key.sign(&claims))).await;
        assert_eq!(verified.err().map(|refusal| refusal.reason()), reason, "{tenant}");
    }
}

#[tokio::test]
async fn keys_are_fetched_by_the_proxy_of_the_file() {
    let proxy = TestIssuer::start().await;
    let text = format!(
        "[http]\nproxy = '{}'\n[inbound]\naudience = ['web-app']\n[[inbound.issuers]]\nissuer = '{IDP}'\n\
         jwks_uri = 'http://idp.internal.example/jwks'\nallow_http = true\n",
        proxy.url()
    );
    let verifier = |text: &str| {
        let clock = ManualClock::new(Timestamp::from_second(NOW).unwrap());
        Verifier::from_toml(text).unwrap().clock(Arc::new(clock)).build().unwrap()
    };
    let claims = json!({ "iss": IDP, "sub": "alice", "aud": "web-app", "iat": NOW, "exp": NOW + 600 });
    verifier(&text).verify(&bearer(&proxy.sign(&claims))).await.unwrap();
    assert_eq!(proxy.paths(), ["/jwks"]);
    // What goes through a proxy in clear, it can read.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "secret").unwrap();
    let text = text.replace("idp.internal.example", "0.0.0.0:1");
    let refused = verifier(&format!("{text}jwks_bearer_token_file = '{}'\n", file.display()));
    let refused = refused.verify(&bearer(&proxy.sign(&claims))).await.unwrap_err();
    assert_eq!((refused.status(), proxy.paths().len()), (StatusCode::SERVICE_UNAVAILABLE, 1));
}
