//! The table of an explanation, *token says* beside *registry expects*: it knows every name that a request knows.

use serde_json::{Value, json};
use sts_tests::{Harness, Setup};

use crate::field::{classes, entra, one_entry_of_entra, spiffe};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

/// Explains a request; the outcome, and the claims of its last token that do not fit.
async fn explained(harness: &Harness, question: &Value) -> (Value, Vec<String>) {
    let answer = harness.admin("POST", "/explain").by("reader").json(question).send().await;
    assert_eq!(answer.status, 200, "{question}: {}", answer.text());
    let tokens = answer.json["tokens"].as_array().expect("tokens");
    let rows = tokens.last().expect("a token")["claims"].as_array().expect("rows").clone();
    assert!(rows.len() >= 5, "{rows:?}");
    let misfits = rows.iter().filter(|row| row["fits"] == false);
    (answer.json["outcome"].clone(), misfits.map(|row| row["claim"].as_str().expect("a name").to_owned()).collect())
}

/// Asserts that a request is allowed and that every claim fits, and for each changed token what does not.
async fn assert_fits(harness: &Harness, good: &Value, changed: &[(Value, &str, &[&str])]) {
    let (outcome, misfits) = explained(harness, good).await;
    assert!(["allowed", "authenticated"].contains(&outcome["outcome"].as_str().expect("an outcome")), "{outcome}");
    assert_eq!(misfits, Vec::<String>::new(), "{outcome}");
    for (question, reason, expected) in changed {
        let (outcome, misfits) = explained(harness, question).await;
        assert_eq!(outcome["reason"], *reason, "{outcome}");
        assert_eq!(misfits, *expected, "{outcome}");
    }
}

fn user(harness: &Harness, changes: Value) -> Value {
    let token = harness.user_token_with(&changes);
    json!({ "actor": "coordinator", "target": ["inventory"], "subject_token": token })
}

fn workload(harness: &Harness, changes: &Value) -> Value {
    let mut claims = harness.workload_claims();
    claims.as_object_mut().expect("claims").extend(changes.as_object().expect("claims").clone());
    claims.as_object_mut().expect("claims").retain(|_, value| !value.is_null());
    json!({ "client_assertion": harness.cluster.key().sign(&claims) })
}

#[tokio::test]
async fn an_alias_fits_as_the_name_itself_does() {
    let setup = Setup::default().operators().registry_with(|registry, names| {
        registry.issuer(
            names.idp.url(),
            &format!(
                "jwks_uri = '{}'\ntenant_claim = 'org_id'\naliases = ['https://old.example']",
                names.idp.jwks_uri()
            ),
        );
    });
    let harness = setup.start().await;
    let good = user(&harness, json!({ "iss": "https://old.example" }));
    let bad = user(&harness, json!({ "iss": "https://older.example" }));
    assert_fits(&harness, &good, &[(bad, "subject_issuer_unknown", &["iss", "kid"])]).await;
}

#[tokio::test]
async fn a_tenant_in_place_of_the_placeholder_fits() {
    let harness = one_entry_of_entra().operators().start().await;
    let good = user(&harness, json!({ "iss": entra(TENANT), "tid": TENANT }));
    let another = user(&harness, json!({ "iss": entra("another"), "tid": TENANT }));
    assert_fits(&harness, &good, &[(another, "subject_tenant", &["iss", "kid"])]).await;
}

#[tokio::test]
async fn a_jwt_svid_fits_without_iss() {
    let harness = spiffe().operators().start().await;
    let svid = "spiffe://shop.example/ns/shop/sa/a";
    let good = workload(&harness, &json!({ "iss": null, "sub": svid }));
    let changed = [
        (json!({ "iss": null, "sub": format!("{svid}/b") }), "workload_subject_unknown", &["sub"][..]),
        (json!({ "iss": null, "sub": svid, "aud": ["another"] }), "workload_audience", &["aud"][..]),
    ];
    let changed = changed.map(|(claims, reason, misfits)| (workload(&harness, &claims), reason, misfits));
    assert_fits(&harness, &good, &changed).await;
}

#[tokio::test]
async fn an_instance_of_a_class_fits_as_a_workload_and_as_a_presenter() {
    let harness = classes().operators().start().await;
    let of_class = |name: &str, zone: &str| {
        let tier = json!({ "pod": { "tier": 1 } });
        let sub = format!("system:serviceaccount:batch:{name}");
        workload(&harness, &json!({ "sub": sub, "zone": zone, "kubernetes.io": tier }))
    };
    let changed = [
        (of_class("a/b", "eu"), "workload_subject_unknown", &["sub"][..]),
        (of_class("nightly", "us"), "workload_claims", &["zone"][..]),
    ];
    assert_fits(&harness, &of_class("nightly", "eu"), &changed).await;
    let presented = |aud: &str| {
        let token = harness.user_token_with(&json!({ "aud": aud }));
        json!({ "actor": "batch/nightly", "target": ["inventory"], "subject_token": token })
    };
    let changed = [(presented("another"), "subject_not_addressed", &["aud"][..])];
    assert_fits(&harness, &presented("web-app"), &changed).await;
}
