//! The OpenAPI document says what the router does.

use std::collections::BTreeSet;

use serde_json::Value;
use sts_tests::{Harness, Setup};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

async fn document(harness: &Harness) -> Value {
    let answer = harness.admin("GET", "/openapi.json").send().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.json
}

/// The paths of the document, each with its methods.
fn paths(document: &Value) -> Vec<(String, BTreeSet<String>)> {
    let paths = document["paths"].as_object().expect("paths").iter();
    let methods = |item: &Value| item.as_object().expect("a path").keys().cloned().collect();
    paths.map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[tokio::test]
async fn every_path_of_the_document_is_served_with_its_methods_and_no_other() {
    let harness = Setup::default().operators().start().await;
    let document = document(&harness).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "/admin/v1");
    let paths = paths(&document);
    assert!(paths.len() >= 13, "{paths:?}");
    for (path, methods) in &paths {
        let concrete =
            path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        for method in METHODS {
            let answer = harness.admin(&method.to_uppercase(), &concrete).send().await;
            if methods.contains(method) {
                let expected = if path == "/openapi.json" { 200 } else { 401 };
                assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text());
                continue;
            }
            assert_eq!(
                (answer.status, answer.json["reason"].as_str()),
                (405, Some("method_unknown")),
                "{method} {path}"
            );
            let allowed: BTreeSet<String> =
                answer.header("allow").split(',').map(|method| method.trim().to_lowercase()).collect();
            let mut served = methods.clone();
            if served.contains("get") {
                served.insert("head".to_owned());
            }
            assert_eq!(allowed, served, "{method} {path}");
        }
    }
}

/// The other direction: no handler is routed beside the list that the document is made of.
#[test]
fn every_route_of_the_api_is_in_the_list_that_makes_the_document() {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../sts-server/src/http/admin/mod.rs"));
    let source = source.expect("the source");
    assert_eq!(source.matches(".route(").count(), 0);
    let routed: BTreeSet<&str> = source
        .split("routes!(")
        .skip(1)
        .flat_map(|rest| rest.split(')').next().unwrap_or_default().split(", "))
        .collect();
    let mut described = BTreeSet::new();
    for module in
        ["approvals", "audit", "audit_chains", "explain", "keys", "openapi", "registry", "revocations", "unused"]
    {
        let path = format!("{}/../sts-server/src/http/admin/{module}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(path).expect("the source");
        for item in source.split("#[utoipa::path(").skip(1) {
            let (_, rest) = item.split_once("async fn ").expect("a handler");
            described.insert(format!("{module}::{}", rest.split('(').next().unwrap_or_default()));
        }
    }
    assert_eq!(routed, described.iter().map(String::as_str).collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn every_operation_says_what_it_may_refuse_and_every_reference_leads_somewhere() {
    let harness = Setup::default().operators().start().await;
    let document = document(&harness).await;
    for (path, methods) in paths(&document) {
        for method in methods {
            let operation = &document["paths"][&path][&method];
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {path}");
            if path != "/openapi.json" {
                for status in ["400", "401", "403", "404", "429", "503"] {
                    let problem =
                        &operation["responses"][status]["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(problem, "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
    }
    let agent = &document["components"]["schemas"]["Agent"];
    assert_eq!(agent["required"], serde_json::json!(["id"]), "{agent}");
    assert_eq!(agent["additionalProperties"], false, "{agent}");
    assert_eq!(agent["properties"]["default_target"]["type"], "string", "{agent}");
    assert_eq!(agent["properties"]["auth"]["$ref"], "#/components/schemas/AgentAuth", "{agent}");
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let pointer =
            reference.split('"').next().and_then(|reference| reference.strip_prefix('#')).expect("a reference");
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}
