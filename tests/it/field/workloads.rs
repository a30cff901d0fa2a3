//! Workloads as real platforms name them: JWT-SVIDs, and classes of service accounts.

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_server::storage::RevocationKind;
use sts_tests::{FormRequest, Harness, Setup};

/// An exchange of a user's token with other claims.
fn with(harness: &Harness, changes: &Value) -> FormRequest {
    harness.exchange().set("subject_token", harness.user_token_with(changes))
}

async fn issued(request: FormRequest) -> Value {
    request.send().await.claims()
}

fn changed(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

const DOMAIN: &str = "spiffe://shop.example";
const SVID: &str = "spiffe://shop.example/ns/shop/sa/a";

/// The agent `svid` is a workload of a SPIFFE trust domain, whose bundle the issuer of workloads publishes.
pub(crate) fn spiffe() -> Setup {
    Setup::default().registry_with(|registry, names| {
        let key = changed(changed(names.cluster.key().jwk(), "use", json!("jwt-svid")), "alg", Value::Null);
        let x509 = json!({ "use": "x509-svid", "kty": "EC", "crv": "P-256", "x5c": ["AA"] });
        names.cluster.publish(json!({ "keys": [key, x509], "spiffe_sequence": 1, "spiffe_refresh_hint": 60 }));
        registry.add(&format!(
            "[[issuers]]\nissuer = '{DOMAIN}'\nbundle_uri = '{}'\n\
             [[agents]]\nid = 'svid'\naccepts = ['web-app']\nauth = {{ workload = [{{ issuer = '{DOMAIN}', subject = '{SVID}' }}] }}\n\
             [[delegations]]\nactor = 'svid'\ntarget = 'inventory'\nscopes = ['stock:read']",
            names.cluster.jwks_uri()
        ));
    })
}

/// An exchange in which a workload token stands for the client.
fn by_workload(harness: &Harness, header: &Value, changes: &Value) -> FormRequest {
    let mut claims = harness.workload_claims();
    claims.as_object_mut().expect("claims").extend(changes.as_object().expect("changes").clone());
    claims.as_object_mut().expect("claims").retain(|_, value| !value.is_null());
    let mut full = harness.cluster.key().header();
    full.as_object_mut().expect("a header").extend(header.as_object().expect("a header").clone());
    let token = harness.cluster.key().sign_with(&full, &claims);
    harness.exchange_by("runner", &harness.user_token(), "inventory").set("actor_token", token)
}

#[tokio::test]
async fn a_jwt_svid_authenticates_its_agent_as_its_specification_has_it() {
    let harness = spiffe().start().await;
    for (header, changes) in [
        (json!({ "typ": "JOSE" }), json!({ "iss": null, "sub": SVID })),
        (json!({ "typ": "JWT" }), json!({ "iss": null, "sub": SVID, "iat": null, "jti": null })),
        (json!({}), json!({ "iss": "https://oidc.spire.example", "sub": SVID })),
    ] {
        let token = issued(by_workload(&harness, &header, &changes)).await;
        assert_eq!(token["act"]["sub"], "svid", "{header} {changes}");
    }
    let plain = json!({});
    let cases = [
        (plain.clone(), json!({ "iss": null, "sub": format!("{SVID}/b") }), "workload_subject_unknown"),
        (plain.clone(), json!({ "iss": null, "sub": "spiffe://evil.example/a" }), "workload_issuer_unknown"),
        (plain.clone(), json!({ "iss": null, "sub": DOMAIN }), "workload_issuer_unknown"),
        (plain.clone(), json!({ "iss": null, "sub": SVID, "aud": ["another"] }), "workload_audience"),
        (plain.clone(), json!({ "iss": null, "sub": SVID, "exp": 1 }), "workload_expired"),
        (plain.clone(), json!({ "iss": null, "sub": SVID, "cnf": {} }), "workload_bound"),
        (plain, json!({ "iss": null, "sub": SVID, "act": { "sub": "x" } }), "workload_delegated"),
        (json!({ "typ": "logout+jwt" }), json!({ "iss": null, "sub": SVID }), "workload_typ"),
        (json!({ "typ": "at+jwt" }), json!({ "iss": null, "sub": SVID }), "workload_typ"),
        (json!({ "typ": "JOSE" }), json!({}), "workload_typ"),
    ];
    for (header, changes, reason) in cases {
        let request = by_workload(&harness, &header, &changes);
        let label = format!("{header} {changes}");
        harness.assert_refused_and_logged(&label, request, ErrorKind::Token, reason).await;
    }
}

#[tokio::test]
async fn another_issuer_cannot_name_an_identity_of_a_trust_domain() {
    let harness = spiffe().start().await;
    let request = with(&harness, &json!({ "sub": format!("{SVID}x") }));
    harness.assert_refused("of the idp", request, ErrorKind::Token, "subject_sub").await;
    let svid_as_user = harness.cluster.sign(&{
        let mut claims = harness.user_claims();
        claims["sub"] = json!(format!("{DOMAIN}/users/alice"));
        claims.as_object_mut().expect("claims").remove("iss");
        claims
    });
    let request = harness.exchange().set("subject_token", svid_as_user);
    harness.assert_refused("of workloads alone", request, ErrorKind::Token, "subject_issuer_of_workloads").await;
}

/// The class `batch/*` of workloads of one namespace, with a claim that must have its value.
pub(crate) fn classes() -> Setup {
    Setup::default().registry_with(|registry, names| {
        let cluster = names.cluster.url();
        registry.add(&format!(
            "[[agents]]\nid = 'batch/*'\naccepts = ['web-app']\n\
             auth = {{ workload = [{{ issuer = '{cluster}', subject = 'system:serviceaccount:batch:*', \
             claims = {{ zone = 'eu', '/kubernetes.io/pod/tier' = 1 }} }}] }}\n\
             [[delegations]]\nactor = 'batch/*'\ntarget = 'inventory'\nscopes = ['stock:read']"
        ));
    })
}

fn of_class(harness: &Harness, name: &str, more: &Value) -> FormRequest {
    let mut changes = json!({
        "sub": format!("system:serviceaccount:batch:{name}"), "zone": "eu", "kubernetes.io": { "pod": { "tier": 1 } },
    });
    changes.as_object_mut().expect("claims").extend(more.as_object().expect("claims").clone());
    by_workload(harness, &json!({}), &changes)
}

#[tokio::test]
async fn a_class_of_workloads_acts_under_the_names_of_its_instances() {
    let harness = classes().start().await;
    let request = of_class(&harness, "nightly", &json!({}));
    let correlation_id = request.correlation_id();
    let answer = request.send().await;
    let token = answer.claims();
    assert_eq!((&token["act"]["sub"], &token["client_id"]), (&json!("batch/nightly"), &json!("batch/nightly")));
    let event = harness.events(&correlation_id).await.remove(0);
    assert_eq!(
        (event.client_id.as_deref(), event.delegation.as_deref()),
        (Some("batch/nightly"), Some("batch/*->inventory"))
    );
    let next = harness.exchange_by("inventory", answer.token(), "warehouse").send().await.claims();
    assert_eq!(next["act"]["act"]["sub"], "batch/nightly");
    for name in ["a:b", "a/b", "", "*", "a b"] {
        let request = of_class(&harness, name, &json!({}));
        harness.assert_refused_and_logged(name, request, ErrorKind::Token, "workload_subject_unknown").await;
    }
    for (label, more) in [
        ("another value", json!({ "zone": "us" })),
        ("absent", json!({ "zone": null })),
        ("another type", json!({ "kubernetes.io": { "pod": { "tier": "1" } } })),
    ] {
        let request = of_class(&harness, "nightly", &more);
        harness.assert_refused_and_logged(label, request, ErrorKind::Token, "workload_claims").await;
    }
}

#[tokio::test]
async fn an_instance_is_not_another_and_a_user_is_neither() {
    let harness = classes().start().await;
    let assertion = harness.workload_token_with(&json!({
        "sub": "system:serviceaccount:batch:one", "zone": "eu", "kubernetes.io": { "pod": { "tier": 1 } },
    }));
    let as_client = of_class(&harness, "two", &json!({}))
        .set("client_assertion", assertion)
        .set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    harness.assert_refused("two instances", as_client, ErrorKind::Token, "actor_token_mismatch").await;
    let user = with(&harness, &json!({ "sub": "batch/nightly" }));
    harness.assert_refused("the name of an instance", user, ErrorKind::Token, "subject_sub_is_agent").await;
}

#[tokio::test]
async fn a_revocation_stops_an_instance_or_the_whole_class() {
    let harness = classes().start().await;
    let token = of_class(&harness, "one", &json!({})).send().await.token().to_owned();
    harness.block(RevocationKind::Agent, None, "batch/one").await;
    harness.refresh().await;
    let one = of_class(&harness, "one", &json!({}));
    harness.assert_refused_and_logged("the instance", one, ErrorKind::Token, "agent_revoked").await;
    let descendant = harness.exchange_by("inventory", &token, "warehouse");
    harness.assert_refused("what it got", descendant, ErrorKind::Token, "agent_revoked").await;
    of_class(&harness, "two", &json!({})).send().await.token();
    harness.block(RevocationKind::Agent, None, "batch/*").await;
    harness.refresh().await;
    let two = of_class(&harness, "two", &json!({}));
    harness.assert_refused_and_logged("the class", two, ErrorKind::Token, "agent_revoked").await;
}
