//! Who may use the admin API, and for what.

use serde_json::json;
use sts_tests::{AdminRequest, Harness, Operators, Setup};

use super::{assert_refused, robot};

#[tokio::test]
async fn nobody_may_use_the_api_unless_it_is_configured() {
    let harness = Harness::start().await;
    for request in [harness.admin("GET", "/agents"), harness.admin("GET", "/agents").by("admin")] {
        let answer = assert_refused(&harness, "not configured", request, 401, "admin_not_configured").await;
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"sts-admin\"");
        assert!(answer.json["detail"].as_str().expect("a text").contains("[[admin.tokens]]"), "{}", answer.text());
    }
}

#[tokio::test]
async fn rfc_6750_section_3_what_is_no_token_of_an_operator_is_refused() {
    let harness = Setup::default().operators().start().await;
    let ask = || harness.admin("GET", "/agents");
    let token = Operators::all().token("admin");
    let (realm, of_robot) = ("Bearer realm=\"sts-admin\"", format!("{}x", token.replace("_admin.", "_robot.")));
    let invalid = format!("{realm}, error=\"invalid_token\"");
    let malformed = format!("{realm}, error=\"invalid_request\"");
    let shortened = &token[..token.len() - 1];
    let table: Vec<(&str, AdminRequest, u16, &str, &str)> = vec![
        ("none", ask(), 401, "admin_unauthenticated", realm),
        ("Basic", ask().header("authorization", "Basic YWRtaW46YWRtaW4="), 401, "admin_unauthenticated", realm),
        ("empty", ask().header("authorization", "Bearer"), 400, "admin_authorization_malformed", &malformed),
        (
            "two",
            ask().by("admin").another_header("authorization", "Bearer x"),
            400,
            "admin_authorization_malformed",
            &malformed,
        ),
        ("spaces", ask().bearer("a b"), 400, "admin_authorization_malformed", &malformed),
        ("garbage", ask().bearer("garbage"), 401, "admin_token_invalid", &invalid),
        ("unknown name", ask().bearer(&of_robot), 401, "admin_token_invalid", &invalid),
        ("shortened", ask().bearer(shortened), 401, "admin_token_invalid", &invalid),
        ("lengthened", ask().bearer(&format!("{token}A")), 401, "admin_token_invalid", &invalid),
        ("of another name", ask().bearer(&token.replace("_admin.", "_reader.")), 401, "admin_token_invalid", &invalid),
        ("a JWT", ask().bearer(&harness.user_token()), 401, "admin_token_invalid", &invalid),
    ];
    for (label, request, status, reason, challenge) in table {
        let answer = assert_refused(&harness, label, request, status, reason).await;
        assert_eq!(answer.header("www-authenticate"), challenge, "{label}");
    }
    assert_eq!(ask().by("admin").send().await.status, 200, "the valid twin");
    assert_eq!(
        ask().header("authorization", &format!("bearer {token}")).send().await.status,
        200,
        "RFC 9110 section 11.1"
    );
    let metrics = harness.get_admin("/metrics").await.text();
    let counted =
        "sts_requests_total{endpoint=\"admin\",grant=\"none\",outcome=\"refused\",reason=\"admin_token_invalid\"} 6";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn too_many_failed_attempts_are_turned_away_and_other_sources_are_not() {
    let setup = Setup::default().operators().option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "3");
    let harness = setup.option("LISTEN__TRUSTED_PROXIES", "127.0.0.1").start().await;
    for _ in 0..3 {
        assert_eq!(harness.admin("GET", "/keys").bearer("garbage").send().await.status, 401);
    }
    let answer = assert_refused(
        &harness,
        "the fourth",
        harness.admin("GET", "/keys").bearer("garbage"),
        429,
        "too_many_attempts",
    )
    .await;
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", answer.headers);
    let elsewhere = harness.admin("GET", "/keys").by("reader").header("x-forwarded-for", "203.0.113.9");
    assert_eq!(elsewhere.send().await.status, 200);
}

#[tokio::test]
async fn requests_of_one_source_are_limited_where_it_is_configured() {
    let harness = Setup::default().operators().option("LIMITS__REQUESTS_PER_MINUTE_PER_SOURCE", "2").start().await;
    let statuses = [
        harness.admin("GET", "/keys").by("reader").send().await.status,
        harness.admin("GET", "/keys").by("reader").send().await.status,
    ];
    assert_eq!(statuses, [200, 200]);
    assert_refused(&harness, "the third", harness.admin("GET", "/keys").by("reader"), 429, "source_rate").await;
}

/// What an operator asks, and the least role that may.
fn endpoints(harness: &Harness, kid: &str) -> Vec<(&'static str, AdminRequest)> {
    let ask = |method: &str, path: &str| harness.admin(method, path);
    let disabled = json!({ "id": "shelf", "disabled": true });
    vec![
        ("reader", ask("GET", "/issuers")),
        ("reader", ask("GET", "/agents")),
        ("reader", ask("GET", "/agents/coordinator")),
        ("reader", ask("GET", "/delegations")),
        ("reader", ask("GET", "/keys")),
        ("reader", ask("GET", "/revocations")),
        ("reader", ask("GET", "/audit")),
        (
            "reader",
            ask("POST", "/explain")
                .json(&json!({ "actor": "coordinator", "service_account": true, "target": ["inventory"] })),
        ),
        ("operator", ask("POST", "/revocations").json(&json!({ "txn": "nobodys" }))),
        ("operator", ask("DELETE", "/revocations?txn=nobodys")),
        ("operator", ask("POST", "/keys/rotate").json(&json!({ "now": true, "algorithm": "EdDSA" }))),
        ("operator", ask("PUT", "/agents/shelf").header("if-match", "*").json(&disabled)),
        ("admin", ask("PUT", "/agents/robot").if_new().json(&robot())),
        ("admin", ask("PUT", "/agents/robot").header("if-match", "*").json(&json!({ "id": "robot" }))),
        ("admin", ask("DELETE", "/agents/robot").header("if-match", "*")),
        ("admin", ask("DELETE", &format!("/keys/{kid}"))),
    ]
}

#[tokio::test]
async fn each_role_may_do_what_it_may_and_nothing_more() {
    const ROLES: [&str; 3] = ["reader", "operator", "admin"];
    let rank = |role: &str| ROLES.iter().position(|known| *known == role);
    let harness = Setup::default().operators().start().await;
    let keys = harness.admin("GET", "/keys").by("reader").send().await;
    let kid = keys.json["keys"][0]["kid"].as_str().expect("a key").to_owned();
    for (needs, request) in endpoints(&harness, &kid) {
        for role in ROLES {
            let label = format!("{role}: {request:?}");
            if rank(role) < rank(needs) {
                let answer = assert_refused(&harness, &label, request.clone().by(role), 403, "role_insufficient").await;
                assert!(answer.header("www-authenticate").contains("error=\"insufficient_scope\""), "{label}");
            }
        }
        let allowed = request.clone().by(needs).send().await;
        assert!((200..300).contains(&allowed.status), "{needs}: {request:?}: {}", allowed.text());
    }
}
