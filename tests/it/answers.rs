//! The edge: methods, headers, documents, outages (docs/threats.md, HTTP and forms).

use http::Method;
use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{Answer, Fault, FormRequest, Harness, Setup, members};

const POSTS: [&str; 3] = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"];

fn assert_common_headers(label: &str, answer: &Answer) {
    for (name, value) in [("cache-control", "no-store"), ("pragma", "no-cache"), ("x-content-type-options", "nosniff")]
    {
        assert_eq!(answer.header(name), value, "{label}: {name}");
    }
}

#[tokio::test]
async fn rfc_8693_section_2_2_1_a_success_has_these_members_and_never_a_refresh_token() {
    let harness = Harness::start().await;
    for (asked, issued) in [
        ("", "urn:ietf:params:oauth:token-type:access_token"),
        ("urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:access_token"),
        ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:jwt"),
    ] {
        let answer = harness.exchange().set("requested_token_type", asked).send().await;
        assert_common_headers(asked, &answer);
        assert_eq!(answer.header("content-type"), "application/json");
        let mut json = answer.json.clone();
        assert_eq!(json["access_token"].take(), answer.token());
        let expected = json!({
            "access_token": null,
            "issued_token_type": issued,
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "stock:read stock:write",
        });
        assert_eq!(json, expected);
    }
}

#[tokio::test]
async fn every_answer_of_the_admin_listener_has_the_fixed_headers() {
    let harness = Setup::default().operators().start().await;
    for (path, status) in [
        ("/metrics", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/nowhere", 404),
        ("/admin/v1/nowhere", 404),
        ("/admin/v1/agents", 401),
        ("/admin/v1/openapi.json", 200),
        ("/admin/v1/explain", 405),
    ] {
        let answer = harness.get_admin(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_common_headers(path, &answer);
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
    }
}

#[tokio::test]
async fn token_types_that_are_not_served_are_refused() {
    let harness = Harness::start().await;
    let request = |name: &str, value: &str| harness.exchange().set(name, value);
    let urn = |name: &str| format!("urn:ietf:params:oauth:token-type:{name}");
    let mut cases = Vec::new();
    for unknown in ["refresh_token", "saml2", "saml1", "id-jag", "JWT", "txn_token", ""] {
        for parameter in ["subject_token_type", "requested_token_type"] {
            if (unknown, parameter) != ("", "requested_token_type") {
                let label = format!("{parameter} {unknown}");
                cases.push((label, request(parameter, &urn(unknown)), ErrorKind::Request, "token_type_unsupported"));
            }
        }
    }
    let id_token = request("requested_token_type", &urn("id_token"));
    cases.push(("an id token".to_owned(), id_token, ErrorKind::Request, "token_type_unsupported"));
    let no_type = harness.exchange().without("subject_token_type");
    cases.push(("no subject token type".to_owned(), no_type, ErrorKind::Request, "token_without_type"));
    let actor = harness.exchange().set("actor_token", "x");
    cases.push(("an actor token without type".to_owned(), actor.clone(), ErrorKind::Request, "token_without_type"));
    let typed = |kind: &str| harness.exchange().set("actor_token", "x").set("actor_token_type", urn(kind));
    cases.push(("an id token as actor".to_owned(), typed("id_token"), ErrorKind::Request, "token_type_unsupported"));
    cases.push(("an unknown actor type".to_owned(), typed("saml2"), ErrorKind::Request, "token_type_unsupported"));
    let type_alone = harness.exchange().set("actor_token_type", urn("jwt"));
    cases.push(("an actor token type alone".to_owned(), type_alone, ErrorKind::Request, "token_without_type"));
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}

#[tokio::test]
async fn grants_that_are_not_served_are_refused() {
    let harness = Harness::start().await;
    let request = |grant: &str| harness.exchange().set("grant_type", grant);
    let mut cases: Vec<_> = [
        "authorization_code",
        "refresh_token",
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "URN:ietf:params:oauth:grant-type:token-exchange",
        "token-exchange",
        "Client_Credentials",
    ]
    .map(|grant| (grant, request(grant), ErrorKind::UnsupportedGrant, "grant_unsupported"))
    .into();
    cases.push(("a long one", request(&"g".repeat(10_000)), ErrorKind::UnsupportedGrant, "grant_unsupported"));
    cases.push(("none", harness.exchange().without("grant_type"), ErrorKind::Request, "parameter_missing"));
    cases.push(("an empty one", request(""), ErrorKind::Request, "parameter_missing"));
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}

#[tokio::test]
async fn unknown_and_empty_parameters_count_as_absent() {
    let harness = Harness::start().await;
    harness.exchange().set("an_unknown_parameter", "x").set("authorization_details", "").send().await.token();
}

#[tokio::test]
async fn every_method_but_post_is_answered_with_405() {
    let harness = Harness::start().await;
    for path in POSTS {
        for method in
            [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::HEAD, Method::TRACE]
        {
            let label = format!("{method} {path}");
            let answer = harness.exchange().path(path).method(method.clone()).send().await;
            assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{label}");
            assert_common_headers(&label, &answer);
            if method != Method::HEAD {
                assert_eq!(answer.error(), "invalid_request", "{label}");
            }
        }
    }
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn the_correlation_id_is_echoed_or_made() {
    let harness = Harness::start().await;
    for given in ["a", "0123-abc_DEF:/~!", &"x".repeat(128)] {
        let request = harness.exchange().header("x-correlation-id", given);
        assert_eq!(request.send().await.header("x-correlation-id"), given);
        assert_eq!(harness.events(given).await.len(), 1, "{given}");
    }
    let mut made = Vec::new();
    for request in [
        harness.exchange().without_header("x-correlation-id"),
        harness.exchange().header("x-correlation-id", ""),
        harness.exchange().header("x-correlation-id", "a b"),
        harness.exchange().header("x-correlation-id", "caf\u{e9}"),
        harness.exchange().header("x-correlation-id", "x".repeat(129)),
        harness.exchange().header("x-correlation-id", "a").another_header("x-correlation-id", "b"),
    ] {
        let id = request.send().await.header("x-correlation-id").to_owned();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(harness.events(&id).await.len(), 1, "{id}");
        made.push(id);
    }
    made.dedup();
    assert_eq!(made.len(), 6);
}

#[tokio::test]
async fn a_correlation_id_cannot_forge_a_line_of_the_log() {
    let harness = Harness::start().await;
    let request = harness.exchange().set("audience", "nobody\ntoken.issued forged").set("scope", "a b");
    harness.assert_refused("a line break", request, ErrorKind::Target, "target_unknown").await;
    assert!(!harness.log().lines().any(|line| line.starts_with("token.issued forged")));
}

#[tokio::test]
async fn metadata_says_what_is_served_and_nothing_else() {
    let harness = Harness::start().await;
    let iss = harness.issuer();
    let algorithms = json!(["ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
    let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    let mut expected = json!({
        "issuer": iss,
        "authorization_endpoint": format!("{iss}/oauth2/authorize"),
        "response_types_supported": ["none"],
        "token_endpoint": format!("{iss}/oauth2/token"),
        "jwks_uri": format!("{iss}/oauth2/jwks"),
        "grant_types_supported": [
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:deferred",
        ],
        "deferred_token_response_supported": true,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "dpop_signing_alg_values_supported": algorithms,
        "introspection_endpoint": format!("{iss}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": format!("{iss}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
    });
    let metadata = harness.get("/.well-known/oauth-authorization-server").await;
    assert_eq!((metadata.status, metadata.header("content-type")), (200, "application/json"));
    assert_eq!(metadata.json, expected);
    let openid = harness.get("/.well-known/openid-configuration").await;
    assert_eq!((openid.status, openid.header("content-type")), (200, "application/json"));
    expected["subject_types_supported"] = json!(["public"]);
    expected["id_token_signing_alg_values_supported"] = json!(["ES256", "EdDSA", "RS256"]);
    assert_eq!(openid.json, expected);

    let minimal = Setup::default().option("METADATA__MINIMAL", "true").start().await;
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let document = minimal.get(path).await.json;
        for member in [
            "authorization_endpoint",
            "response_types_supported",
            "subject_types_supported",
            "id_token_signing_alg_values_supported",
        ] {
            assert_eq!(document[member], Value::Null, "{path}: {member}");
        }
    }
    let without = Setup::default().option("METADATA__RESPONSE_TYPES_NONE", "false").start().await;
    let document = without.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(document["response_types_supported"], Value::Null);
    assert!(document["authorization_endpoint"].is_string());
}

#[tokio::test]
async fn the_key_set_has_every_key_and_no_private_member() {
    let harness = Harness::start().await;
    let answer = harness.get("/oauth2/jwks").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let keys = answer.json["keys"].as_array().unwrap();
    let mut names = Vec::new();
    for key in keys {
        let expected = match key["kty"].as_str().unwrap() {
            "EC" => vec!["alg", "crv", "kid", "kty", "use", "x", "y"],
            "OKP" => vec!["alg", "crv", "kid", "kty", "use", "x"],
            "RSA" => vec!["alg", "e", "kid", "kty", "n", "use"],
            other => panic!("{other}"),
        };
        assert_eq!(members(key), expected);
        assert_eq!(key["use"], "sig");
        names.push(key["kid"].clone().to_string());
    }
    names.sort();
    names.dedup();
    // Of each algorithm the one that signs and the next.
    assert_eq!((keys.len(), names.len()), (6, 6));
    let signed_with = harness.exchange().send().await.token_header()["kid"].to_string();
    assert!(names.contains(&signed_with));
}

#[tokio::test]
async fn other_paths_are_not_found_and_the_admin_endpoints_not_public() {
    let harness = Harness::start().await;
    for path in ["/", "/oauth2", "/oauth2/token/", "/metrics", "/admin/v1/agents", "/console", "/oauth2/../metrics"] {
        assert_eq!(harness.get(path).await.status, 404, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(harness.get(path).await.status, 200, "{path}");
        assert_eq!(harness.get_admin(path).await.status, 200, "{path}");
    }
    assert_eq!(harness.get_admin("/oauth2/jwks").await.status, 404);
}

#[tokio::test]
async fn an_issuers_keys_out_of_reach_are_an_outage_and_no_refusal() {
    for fault in [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Garbage,
        Fault::Huge,
        Fault::Redirect("http://127.0.0.1:9/".to_owned()),
        Fault::Body(b"{\"keys\":[]".to_vec()),
        Fault::Body(b"[]".to_vec()),
    ] {
        let label = format!("{fault:?}");
        let setup = Setup::default().registry_with(move |_, names| names.idp.fail(fault));
        let harness = setup.start().await;
        let answer =
            harness.assert_refused(&label, harness.exchange(), ErrorKind::Unavailable, "keys_unavailable").await;
        assert_eq!(answer.header("retry-after"), "1", "{label}");
        harness.idp.mend();
        harness.advance(1);
        harness.exchange().send().await.token();
    }
}

#[tokio::test]
async fn a_workload_issuers_keys_out_of_reach_are_an_outage_in_every_slot() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.issuer_without(names.cluster.url(), &["jwks"]);
        names.cluster.fail(Fault::Status(503));
    });
    let harness = setup.start().await;
    let unauthenticated = harness.exchange_by("runner", &harness.user_token(), "inventory");
    harness.assert_refused_unrecorded("the credential", unauthenticated, ErrorKind::Unavailable).await;
    let workload = harness.workload_token_with(&json!({}));
    let assertion = harness.exchange().authenticated(sts_tests::Credentials::Assertion(workload.clone()));
    harness.assert_refused_unrecorded("an assertion", assertion, ErrorKind::Unavailable).await;
    let actor = harness.exchange().set("actor_token", workload).set("actor_token_type", sts_tests::ACCESS_TOKEN);
    harness.assert_refused("an actor token", actor, ErrorKind::Unavailable, "keys_unavailable").await;
    // Whom it does not concern, it does not touch.
    harness.exchange().send().await.token();
    harness.cluster.mend();
    harness.advance(1);
    harness.exchange_by("runner", &harness.user_token(), "inventory").send().await.token();
}

/// After the database has failed, or gone: no token, and no refusal is mistaken for an outage nor an outage for a refusal.
async fn assert_no_database(harness: &Harness, token: &str) {
    let unavailable = |label: &str, answer: &Answer| {
        sts_tests::refuses(label, answer, ErrorKind::Unavailable);
        assert_eq!(answer.header("retry-after"), "1", "{label}");
    };
    unavailable("an exchange", &harness.exchange().send().await);
    unavailable("client credentials", &harness.client_credentials().send().await);
    unavailable("a revocation", &harness.revoke("coordinator", token).send().await);
    let by_assertion = harness.exchange_by("reporter", &harness.user_token(), "inventory");
    unavailable("an assertion that cannot be spent", &by_assertion.send().await);
    let refused = harness.exchange().set("audience", "x");
    let id = format!("\"{}\"", refused.correlation_id());
    sts_tests::refuses("a refusal", &refused.send().await, ErrorKind::Target);
    let wrong = sts_tests::Credentials::Basic("coordinator".to_owned(), "not-the-secret-of-coordinator".to_owned());
    sts_tests::refuses("a wrong secret", &harness.exchange().authenticated(wrong).send().await, ErrorKind::Client);
    assert_eq!(harness.get("/healthz").await.status, 200);
    let unrecorded = |line: &str| line.contains("failed to record a refusal") && line.contains(&id);
    assert!(harness.log().lines().any(unrecorded), "{id}");
}

#[tokio::test]
async fn a_database_that_fails_is_an_outage() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    for table in ["tokens", "audit_events", "one_time_values", "revocations"] {
        harness.drop_table(table).await;
    }
    assert_no_database(&harness, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_is_an_outage() {
    let mut harness = Setup::default().postgres().start().await;
    let token = harness.first_hop().await;
    harness.drop_database();
    assert_no_database(&harness, &token).await;
    harness.advance(6);
    let readiness = harness.get("/readyz").await;
    assert_eq!((readiness.status, readiness.header("retry-after")), (503, "1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_on_postgresql_is_what_it_is_on_sqlite() {
    let harness = Setup::default().postgres().start().await;
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await;
    let third = harness.exchange_by("warehouse", second.token(), "shelf").send().await;
    assert_eq!(harness.verify(third.token()).await["act"]["act"]["act"]["sub"], "coordinator");
    assert_eq!(harness.token_count().await, 3);
    let cases = [
        ("a target", harness.exchange().set("audience", "nobody"), ErrorKind::Target, "target_unknown"),
        ("a scope", harness.exchange().set("scope", "x"), ErrorKind::Scope, "scope_beyond"),
    ];
    harness.assert_each_refused(|| harness.exchange(), cases).await;
    assert_eq!(harness.revoke("coordinator", &first).send().await.status, 200);
    let request = harness.exchange_by("warehouse", second.token(), "shelf");
    harness.assert_refused("a descendant", request, ErrorKind::Token, "token_revoked").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_get_each_their_own_answer() {
    let harness = Harness::start().await;
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..60_u32 {
        let token = harness.user_token_with(&json!({ "sub": format!("user-{number}") }));
        let request: FormRequest = harness.exchange_by("coordinator", &token, "inventory");
        requests.spawn(async move {
            let correlation_id = request.correlation_id();
            let answer = request.send().await;
            assert_eq!(answer.header("x-correlation-id"), correlation_id);
            (format!("user-{number}"), correlation_id, answer.claims())
        });
    }
    for (user, correlation_id, claims) in requests.join_all().await {
        assert_eq!(claims["sub"], Value::from(user.as_str()));
        let events = harness.events(&correlation_id).await;
        assert_eq!(events[0].sub.as_deref(), Some(user.as_str()));
        assert_eq!(Value::from(events[0].jti.clone()), claims["jti"]);
    }
    assert_eq!(harness.token_count().await, 60);
}

#[tokio::test]
async fn a_secret_in_the_log_or_in_the_database_fails_its_test() {
    for correlation_id in ["only-an-id-of-a-request", "a-secret-that-was-taken-for-an-id"] {
        let harness = Harness::start().await;
        harness.exchange().header("x-correlation-id", correlation_id).send().await.token();
        let is_secret = correlation_id.starts_with("a-secret");
        if is_secret {
            harness.seen.remember(correlation_id);
        }
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(harness)));
        assert_eq!(dropped.is_err(), is_secret, "{correlation_id}");
    }
}
