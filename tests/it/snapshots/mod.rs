//! Whole bodies as they leave the server, each compared with a file here. What differs from run to run is replaced.
//!
//! `STS_TESTS_GENERATE=1` writes the files; read the difference before you commit it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sts_tests::{Harness, Setup};

/// The members whose values differ from run to run.
const VARIABLE: [&str; 9] = ["correlation_id", "exp", "iat", "jti", "kid", "n", "txn", "x", "y"];

#[tokio::test]
async fn documents_and_answers_leave_as_they_are_written_down() {
    let harness = Setup::default().operators().start().await;
    let token = harness.first_hop().await;
    let unknown = harness.admin("GET", "/agents/unknown").by("reader").send().await;
    let unconditional = harness.admin("PUT", "/agents/robot").by("admin").json(&json!({ "id": "robot" }));
    for (name, body) in [
        ("metadata", harness.get("/.well-known/oauth-authorization-server").await.json),
        ("openid_configuration", harness.get("/.well-known/openid-configuration").await.json),
        ("jwks", harness.get("/oauth2/jwks").await.json),
        ("introspection", harness.introspect("inventory", &token).send().await.json),
        ("introspection_inactive", harness.introspect("inventory", "no token").send().await.json),
        ("problem", unknown.json),
        ("problem_precondition", unconditional.send().await.json),
    ] {
        assert_snapshot(&harness, name, body);
    }
}

fn assert_snapshot(harness: &Harness, name: &str, mut body: Value) {
    redact(harness, &mut body);
    let actual = || serde_json::to_string_pretty(&body).expect("JSON") + "\n";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("it/snapshots/{name}.json"));
    if std::env::var_os("STS_TESTS_GENERATE").is_some_and(|value| value == "1") {
        return fs::write(&file, actual()).expect("the file");
    }
    let expected = fs::read_to_string(&file).expect("a snapshot");
    let is_same = serde_json::from_str::<Value>(&expected).is_ok_and(|expected| expected == body);
    assert!(is_same, "{name}: STS_TESTS_GENERATE=1 writes it anew; it was\n{expected}\nand is\n{}", actual());
}

/// What stands for a value that differs: its JSON type must not.
fn placeholder(value: &Value) -> Value {
    match value {
        Value::String(text) if !text.is_empty() => json!("a string"),
        Value::Number(_) => json!("a number"),
        other => other.clone(),
    }
}

fn redact(harness: &Harness, value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if VARIABLE.contains(&name.as_str()) {
                    *member = placeholder(member);
                } else {
                    redact(harness, member);
                }
            }
        }
        Value::Array(elements) => {
            elements.iter_mut().for_each(|element| redact(harness, element));
            // Keys come in the order of their names, which differ from run to run.
            elements.sort_by_key(|element| element["kty"].as_str().map(str::to_owned));
        }
        Value::String(text) => {
            *text = text.replace(harness.issuer(), "ISSUER").replace(harness.idp.url(), "IDP");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
