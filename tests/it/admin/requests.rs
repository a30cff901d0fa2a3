//! How requests are read: methods, paths, content types, sizes.

use serde_json::json;
use sts_tests::Setup;

use super::{assert_refused, robot};

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let harness = Setup::default().operators().start().await;
    let put = || harness.admin("PUT", "/agents/robot").by("admin").if_new().json(&robot());
    let duplicate = r#"{"id":"robot","id":"robot"}"#;
    let deep = format!("{{\"id\":{}{}}}", "[".repeat(100), "]".repeat(100));
    for (label, request, status, reason) in [
        ("no such endpoint", harness.admin("GET", "/nothing").by("admin"), 404, "endpoint_unknown"),
        ("no such method", harness.admin("POST", "/agents").by("admin"), 405, "method_unknown"),
        ("no such entry", harness.admin("GET", "/agents/a%00b").by("reader"), 404, "not_found"),
        ("a path that is no UTF-8", harness.admin("GET", "/agents/%ff").by("reader"), 400, "path_malformed"),
        ("a query", harness.admin("GET", "/agents?x=1").by("reader"), 400, "parameters_malformed"),
        ("a form", put().header("content-type", "application/x-www-form-urlencoded"), 415, "media_type_unsupported"),
        ("latin 1", put().header("content-type", "application/json; charset=latin1"), 415, "media_type_unsupported"),
        ("compressed", put().header("content-encoding", "gzip"), 415, "media_type_unsupported"),
        ("no JSON", put().body("{"), 400, "body_not_json"),
        ("an array", put().body("[]"), 400, "body_not_json"),
        ("nothing", put().body(""), 400, "body_not_json"),
        ("a repeated member", put().body(duplicate), 400, "body_not_json"),
        ("nested deeply", put().body(deep), 400, "body_not_json"),
        ("no UTF-8", put().body(*b"{\"id\":\"\xff\"}"), 400, "body_not_json"),
        ("too large", put().body(" ".repeat(64 * 1024 + 1)), 413, "body_too_large"),
    ] {
        assert_refused(&harness, label, request, status, reason).await;
    }
    let utf8 = put().header("content-type", "application/json; charset=utf-8").send().await;
    assert_eq!(utf8.status, 201, "the valid twin: {}", utf8.text());
}

#[tokio::test]
async fn an_outage_of_the_database_is_no_refusal() {
    let harness = Setup::default().operators().start().await;
    harness.drop_table("entries").await;
    let put = harness.admin("PUT", "/agents/robot").by("admin").if_new().json(&json!({ "id": "robot" })).send().await;
    assert_eq!((put.status, put.json["reason"].as_str()), (503, Some("database_unavailable")), "{}", put.text());
    assert_eq!(put.header("retry-after"), "1");
}
