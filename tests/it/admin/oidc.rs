//! Operators whom an issuer names.

use serde_json::{Value, json};
use sts_jose::Algorithm;
use sts_tests::{Fault, Harness, Setup, TestIssuer, TestKey};

use super::{assert_refused, robot};

const AUDIENCE: &str = "https://sts.example/admin";

/// A server whose operators an issuer names.
async fn server(issuer: &TestIssuer) -> Harness {
    setup(issuer).start().await
}

fn setup(issuer: &TestIssuer) -> Setup {
    Setup::default()
        .option("ADMIN__OIDC__ISSUER", issuer.url())
        .option("ADMIN__OIDC__AUDIENCE", AUDIENCE)
        .option("ADMIN__OIDC__ALGORITHMS", "ES256")
        .option("ADMIN__OIDC__CLAIM", "groups")
        .option("ADMIN__OIDC__READERS", "staff")
        .option("ADMIN__OIDC__OPERATORS", "on-call, night-shift")
        .option("ADMIN__OIDC__ADMINS", "sts-admins")
}

fn claims(harness: &Harness, issuer: &TestIssuer) -> Value {
    let now = harness.now();
    json!({ "iss": issuer.url(), "sub": "carol", "aud": AUDIENCE, "iat": now, "exp": now + 300, "groups": ["staff"] })
}

/// An access token that says what it is.
fn signed(issuer: &TestIssuer, claims: &Value) -> String {
    typed(issuer, "at+jwt", claims)
}

/// A token whose header also says `typ`.
fn typed(issuer: &TestIssuer, typ: &str, claims: &Value) -> String {
    let mut header = issuer.key().header();
    header["typ"] = json!(typ);
    issuer.key().sign_with(&header, claims)
}

fn with(claims: &Value, changes: &Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().expect("an object") {
        let members = claims.as_object_mut().expect("an object");
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    claims
}

#[tokio::test]
async fn the_claim_says_what_an_operator_may_do_and_the_log_names_them() {
    let issuer = TestIssuer::start().await;
    let harness = server(&issuer).await;
    let claims = claims(&harness, &issuer);
    let put = |groups: &Value| {
        let token = signed(&issuer, &with(&claims, &json!({ "groups": groups })));
        harness.admin("PUT", "/agents/robot").bearer(&token).if_new().json(&robot())
    };
    for groups in [
        json!(["staff"]),
        json!(["other", "night-shift"]),
        json!("staff on-call"),
        json!([]),
        json!("nobody"),
        json!(null),
        json!(["STS-admins"]),
    ] {
        assert_refused(&harness, &groups.to_string(), put(&groups), 403, "role_insufficient").await;
    }
    let made = put(&json!(["staff", "sts-admins"]));
    assert_eq!(made.send().await.status, 201);
    let events = harness.events(&made.correlation_id()).await;
    assert_eq!(events[0].admin.as_deref(), Some(format!("carol of {}", issuer.url()).as_str()));
}

#[tokio::test]
async fn a_token_that_would_be_refused_of_a_user_is_refused_of_an_operator() {
    let issuer = TestIssuer::start().await;
    let harness = server(&issuer).await;
    let claims = claims(&harness, &issuer);
    let now = harness.now();
    let stranger = TestKey::new(Algorithm::Es256);
    let signed = |changes: Value| signed(&issuer, &with(&claims, &changes));
    let mut table = vec![
        ("expired", signed(json!({ "exp": now }))),
        ("no exp", signed(json!({ "exp": null }))),
        ("of another audience", signed(json!({ "aud": "https://other.example" }))),
        ("of no audience", signed(json!({ "aud": null }))),
        ("not yet valid", signed(json!({ "nbf": now + 60 }))),
        ("too old", signed(json!({ "iat": now - 3601 }))),
        ("without iat, with a long life", signed(json!({ "iat": null, "exp": now + 3601 }))),
        ("an ID token by its nonce", signed(json!({ "nonce": "n" }))),
        ("an ID token by its at_hash", signed(json!({ "at_hash": "h" }))),
        ("an ID token by its c_hash", signed(json!({ "c_hash": "h" }))),
        ("an ID token of Keycloak", signed(json!({ "typ": "ID" }))),
        ("of no typ", issuer.sign(&claims)),
        ("of a jti that is no name", signed(json!({ "jti": "" }))),
        ("bound to a key", signed(json!({ "cnf": { "jkt": "x" } }))),
        ("without sub", signed(json!({ "sub": null }))),
        ("of another issuer", signed(json!({ "iss": "https://other.example" }))),
        ("signed by a stranger", stranger.sign(&claims)),
        ("of a user", harness.user_token()),
        ("of this service", harness.first_hop().await),
        ("no token", "a.b.c".to_owned()),
    ];
    for typ in ["JWT", "dpop+jwt", "logout+jwt", "client-authentication+jwt"] {
        table.push((typ, typed(&issuer, typ, &claims)));
    }
    for (label, token) in table {
        let answer = assert_refused(
            &harness,
            label,
            harness.admin("GET", "/keys").bearer(&token),
            401,
            "admin_access_token_invalid",
        )
        .await;
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"sts-admin\", error=\"invalid_token\"", "{label}");
    }
    for typ in ["at+jwt", "application/at+jwt"] {
        let token = typed(&issuer, typ, &claims);
        assert_eq!(harness.admin("GET", "/keys").bearer(&token).send().await.status, 200, "{typ}");
    }
    assert_eq!(harness.admin("GET", "/keys").bearer(&signed(json!({}))).send().await.status, 200, "the valid twin");
}

#[tokio::test]
async fn an_issuer_that_does_not_say_at_jwt_is_served_where_the_configuration_says_so_without_its_id_tokens() {
    let issuer = TestIssuer::start().await;
    let harness = setup(&issuer).option("ADMIN__OIDC__TOKEN_TYP", "jwt").start().await;
    let claims = claims(&harness, &issuer);
    for typ in ["at+jwt", "JWT"] {
        let token = typed(&issuer, typ, &claims);
        assert_eq!(harness.admin("GET", "/keys").bearer(&token).send().await.status, 200, "{typ}");
    }
    assert_eq!(harness.admin("GET", "/keys").bearer(&issuer.sign(&claims)).send().await.status, 200, "no typ");
    for (label, changes) in [
        ("nonce", json!({ "nonce": "n" })),
        ("at_hash", json!({ "at_hash": "h" })),
        ("c_hash", json!({ "c_hash": "h" })),
        ("typ", json!({ "typ": "ID" })),
    ] {
        let request = harness.admin("GET", "/keys").bearer(&issuer.sign(&with(&claims, &changes)));
        assert_refused(&harness, label, request, 401, "admin_access_token_invalid").await;
    }
    let logout = typed(&issuer, "logout+jwt", &claims);
    let request = harness.admin("GET", "/keys").bearer(&logout);
    assert_refused(&harness, "logout+jwt", request, 401, "admin_access_token_invalid").await;
}

#[tokio::test]
async fn keys_out_of_reach_are_an_outage_and_no_refusal() {
    let issuer = TestIssuer::start().await;
    issuer.fail(Fault::Status(500));
    let harness = server(&issuer).await;
    let token = issuer.sign(&claims(&harness, &issuer));
    assert_refused(&harness, "no keys", harness.admin("GET", "/keys").bearer(&token), 503, "keys_unavailable").await;
}
