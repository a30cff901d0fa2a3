//! Answers that say yes to something else than what was asked for, or that nobody can read: each is a refusal, and none an outage.

use serde_json::{Value, json};
use sts_client::exchange::ServiceAccountRequest;
use sts_tests::{Capture, base64url};

use super::hostile::{HostileSts, Reply, exchange, json_reply, reply, route, with};
use super::{class, correlation_id};

const INVALID: &str = "refused: invalid_response";

/// Asks an STS that gives one answer, once as a caller with the user's token.
async fn ask(sts: &HostileSts, answer: Reply) -> String {
    sts.answer([answer]);
    class(&exchange(&sts.client(), &sts.user().await).await)
}

#[tokio::test]
async fn a_token_for_something_else_is_refused() {
    let sts = HostileSts::start().await;
    let now = sts.claims()["iat"].as_i64().unwrap();
    let coordinator = json!({ "sub": "coordinator", "iss": sts.url });
    let rows = [
        ("several audiences", json!({ "aud": ["inventory", "warehouse"] })),
        ("one audience in an array", json!({ "aud": ["inventory"] })),
        ("no audience", json!({ "aud": null })),
        ("another issuer", json!({ "iss": "https://sts.example.com" })),
        ("an issuer off by a slash", json!({ "iss": format!("{}/", sts.url) })),
        ("another subject", json!({ "sub": "bob" })),
        ("another principal", json!({ "sub_id": { "format": "iss_sub", "iss": super::hostile::IDP, "sub": "bob" } })),
        (
            "a principal of another issuer",
            json!({ "sub_id": { "format": "iss_sub", "iss": "https://x", "sub": "alice" } }),
        ),
        ("no principal", json!({ "sub_id": null })),
        ("another tenant", json!({ "tenant_id": "globex" })),
        ("no tenant", json!({ "tenant_id": null })),
        ("tenants of a service account", json!({ "tenant_ids": ["acme"] })),
        ("no actor", json!({ "act": null })),
        ("another actor", json!({ "act": { "sub": "auditor", "iss": sts.url } })),
        ("an actor of another issuer", json!({ "act": { "sub": "coordinator", "iss": "https://x" } })),
        ("an actor of no issuer", json!({ "act": { "sub": "coordinator" } })),
        ("an actor that nobody was before", json!({ "act": with(coordinator, &json!({ "act": { "sub": "x" } })) })),
        ("another client", json!({ "client_id": "auditor" })),
        ("a wider scope", json!({ "scope": "stock:read stock:write" })),
        ("details that were not asked for", json!({ "authorization_details": [{ "type": "mcp_tool" }] })),
        ("no exp", json!({ "exp": null })),
        ("an exp of a string", json!({ "exp": (now + 300).to_string() })),
        ("expired", json!({ "exp": now })),
        ("outlives the subject token", json!({ "exp": now + 3601 })),
        ("from the future", json!({ "iat": now + 60 })),
    ];
    for (name, changes) in rows {
        let claims = with(sts.claims(), &changes);
        let body = with(sts.body(&sts.sign(&claims)), &json!({ "scope": claims["scope"] }));
        assert_eq!(ask(&sts, json_reply(200, &body)).await, INVALID, "{name}");
    }
    assert_eq!(ask(&sts, sts.honest()).await, "ok");
}

#[tokio::test]
async fn a_refusal_leaves_a_line_of_the_log_with_its_code_and_correlation_id() {
    let log = Capture::begin();
    let sts = HostileSts::start().await;
    let refusal = json_reply(400, &json!({ "error": "invalid_target" }));
    assert_eq!(ask(&sts, refusal).await, "refused: invalid_target");
    let own = log.own();
    let line = own.lines().find(|line| line.contains("a request for a token was refused")).expect("a line");
    for part in [" INFO ", "code=invalid_target", "audience=\"inventory\"", "correlation_id=hostile"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn a_token_that_is_right_but_for_its_audience_says_which_one_the_route_lacks() {
    let sts = HostileSts::start().await;
    let answer = |changes: &Value| json_reply(200, &sts.body(&sts.sign(&with(sts.claims(), changes))));
    assert_eq!(ask(&sts, answer(&json!({ "aud": "warehouse" }))).await, "wrong audience: warehouse");
    assert_eq!(ask(&sts, answer(&json!({ "aud": "warehouse", "sub": "bob" }))).await, INVALID);
    let long = "x".repeat(1_000);
    assert_eq!(ask(&sts, answer(&json!({ "aud": long }))).await, format!("wrong audience: {}", &long[..256]));
}

#[tokio::test]
async fn what_is_no_access_token_of_the_sts_is_refused() {
    let sts = HostileSts::start().await;
    let none = format!("{}.{}.", base64url(r#"{"alg":"none","typ":"at+jwt"}"#), base64url(sts.claims().to_string()));
    let rows = [
        ("alg none", none),
        ("another key of that name", sts.idp.sign_with(&sts.header(), &sts.claims())),
        ("an unknown key", sts.idp.sign_with(&with(sts.header(), &json!({ "kid": "x" })), &sts.claims())),
        ("typ JWT", sts.key.sign_with(&with(sts.header(), &json!({ "typ": "JWT" })), &sts.claims())),
        ("no typ", sts.key.sign_with(&with(sts.header(), &json!({ "typ": null })), &sts.claims())),
        ("a member twice", sts.key.sign_bytes(sts.header().to_string(), r#"{"iss":"a","iss":"b"}"#)),
        ("no token", "opaque".to_owned()),
        ("a header's end", "a\r\nb".to_owned()),
        ("the user's own token", sts.idp.sign(&sts.user_claims())),
    ];
    for (name, token) in rows {
        assert_eq!(ask(&sts, json_reply(200, &sts.body(&token))).await, INVALID, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_token_answer_is_refused() {
    let sts = HostileSts::start().await;
    let honest = sts.body(&sts.sign(&sts.claims()));
    let rows = [
        ("no token", json!({ "access_token": null })),
        ("a token of a number", json!({ "access_token": 1 })),
        ("no token type", json!({ "token_type": null })),
        ("another token type", json!({ "token_type": "DPoP" })),
        ("no issued type", json!({ "issued_token_type": null })),
        ("another issued type", json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:jwt" })),
        ("no life", json!({ "expires_in": null })),
        ("a life of a string", json!({ "expires_in": "300" })),
        ("a life of nothing", json!({ "expires_in": 0 })),
        ("a negative life", json!({ "expires_in": -1 })),
        ("a life of a fraction", json!({ "expires_in": 0.5 })),
        ("a scope that is not the token's", json!({ "scope": "stock:write" })),
        ("a malformed scope", json!({ "scope": "a  b" })),
        ("scopes in an array", json!({ "scope": ["stock:read"] })),
    ];
    for (name, changes) in rows {
        assert_eq!(ask(&sts, json_reply(200, &with(honest.clone(), &changes))).await, INVALID, "{name}");
    }
    let twice = honest.to_string().replacen('{', r#"{"expires_in":300,"#, 1);
    assert_eq!(ask(&sts, reply(200, "", twice)).await, INVALID, "a member twice");
    let mut null = honest.clone();
    null["scope"] = Value::Null;
    assert_eq!(ask(&sts, json_reply(200, &null)).await, INVALID, "null is no scope");
    let sparse = with(honest, &json!({ "token_type": "bearer", "scope": null }));
    assert_eq!(ask(&sts, json_reply(200, &sparse)).await, "ok");
}

#[tokio::test]
async fn what_nobody_can_read_is_refused_and_no_outage() {
    let sts = HostileSts::start().await;
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 100 * 1024 * 1024);
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let rows = [
        ("100 MB", Reply::Endless(long.into(), vec![b' '; 64 * 1024])),
        ("no end", Reply::Endless(endless.into(), [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat())),
        ("html", reply(200, "content-type: text/html\r\n", "<html>Welcome</html>")),
        ("nothing", reply(200, "", "")),
        ("an array", reply(200, "", "[]")),
        ("no utf-8", reply(200, "", b"{\"access_token\":\"\xff\"}")),
        ("201", json_reply(201, &sts.body(&sts.sign(&sts.claims())))),
        ("204", reply(204, "", "")),
        ("206", json_reply(206, &sts.body(&sts.sign(&sts.claims())))),
        ("304", reply(304, "", "")),
        ("400 of html", reply(400, "", "<html>")),
        ("403 of a code that forges a line", json_reply(403, &json!({ "error": "a\nb" }))),
        ("404", reply(404, "", "")),
        ("499", reply(499, "", "{}")),
        ("700", reply(700, "", "{}")),
    ];
    for (name, answer) in rows {
        assert_eq!(ask(&sts, answer).await, INVALID, "{name}");
    }
    for status in [400, 401, 403, 405, 413, 418] {
        let answer = json_reply(status, &json!({ "error": "invalid_target" }));
        assert_eq!(ask(&sts, answer).await, "refused: invalid_target", "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_refused_and_nothing_is_asked_where_it_leads() {
    let (sts, target) = (HostileSts::start().await, HostileSts::start().await);
    for status in [301, 302, 303, 307, 308] {
        let answer = reply(status, &format!("location: {}/token\r\n", target.url), "");
        assert_eq!(ask(&sts, answer).await, INVALID, "{status}");
    }
    assert_eq!(target.count("/token"), 0);
}

#[tokio::test]
async fn the_chain_of_a_second_hop_is_neither_shortened_nor_changed() {
    let sts = HostileSts::start().await;
    let first = json!({ "sub": "web", "iss": sts.url });
    let inbound = with(sts.claims(), &json!({ "aud": "coordinator", "client_id": "web", "act": first }));
    let user = sts.own(&sts.sign(&inbound), "coordinator").await;
    let us = |prior: Value| with(json!({ "sub": "coordinator", "iss": sts.url }), &json!({ "act": prior }));
    let rows = [
        ("shortened", json!({ "act": us(Value::Null) }), INVALID),
        ("of others", json!({ "act": us(json!({ "sub": "other", "iss": sts.url })) }), INVALID),
        ("changed", json!({ "act": us(with(first.clone(), &json!({ "x": 1 }))) }), INVALID),
        ("longer", json!({ "act": us(with(first.clone(), &json!({ "act": { "sub": "x" } }))) }), INVALID),
        ("a prefix before the name", json!({ "act": us(first.clone()), "sub": "idp:alice" }), INVALID),
        ("a tenant from nowhere", json!({ "act": us(first.clone()), "tenant_id": "globex" }), INVALID),
        ("as it must be", json!({ "act": us(first) }), "ok"),
    ];
    for (name, changes, expected) in rows {
        sts.answer([json_reply(200, &sts.body(&sts.sign(&with(sts.claims(), &changes))))]);
        assert_eq!(class(&exchange(&sts.client(), &user).await), expected, "{name}");
    }
}

#[tokio::test]
async fn a_token_of_the_sts_without_a_tenant_gains_none() {
    let sts = HostileSts::start().await;
    let act = json!({ "sub": "web", "iss": sts.url });
    let inbound = json!({ "aud": "coordinator", "client_id": "web", "act": act, "tenant_id": null });
    let user = sts.own(&sts.sign(&with(sts.claims(), &inbound)), "coordinator").await;
    let chain = json!({ "sub": "coordinator", "iss": sts.url, "act": act });
    for (tenant, expected) in [(json!("acme"), INVALID), (Value::Null, "ok")] {
        let claims = with(sts.claims(), &json!({ "act": chain, "tenant_id": tenant }));
        sts.answer([json_reply(200, &sts.body(&sts.sign(&claims)))]);
        assert_eq!(class(&exchange(&sts.client(), &user).await), expected, "{tenant}");
    }
}

#[tokio::test]
async fn the_first_hop_may_put_a_prefix_before_the_name() {
    let sts = HostileSts::start().await;
    let claims = with(sts.claims(), &json!({ "sub": "login:alice" }));
    assert_eq!(ask(&sts, json_reply(200, &sts.body(&sts.sign(&claims)))).await, "ok");
}

#[tokio::test]
async fn a_token_dies_with_the_earlier_of_its_exp_and_expires_in() {
    let sts = HostileSts::start().await;
    let now = sts.claims()["iat"].as_i64().unwrap();
    for (expires_in, lives) in [(60, 60), (300, 300), (9_000, 300), (u64::MAX, 300)] {
        let body = with(sts.body(&sts.sign(&sts.claims())), &json!({ "expires_in": expires_in }));
        sts.answer([json_reply(200, &body)]);
        let issued = exchange(&sts.client(), &sts.user().await).await.unwrap();
        assert_eq!(issued.expires_at().as_second() - now, lives, "{expires_in}");
    }
}

#[tokio::test]
async fn a_service_account_gets_only_a_token_of_its_own() {
    let sts = HostileSts::start().await;
    let own = json!({ "sub": "coordinator", "act": null, "sub_id": null, "tenant_id": null, "tenant_ids": ["acme"] });
    let act = json!({ "sub": "coordinator", "iss": sts.url });
    let rows = [
        ("its own", json!({}), "ok"),
        ("another agent's", json!({ "sub": "auditor" }), INVALID),
        ("a user's", json!({ "sub": "alice" }), INVALID),
        ("a delegated one", json!({ "act": act }), INVALID),
        ("one of a tenant", json!({ "tenant_id": "acme" }), INVALID),
        ("one of a principal", json!({ "sub_id": sts.claims()["sub_id"] }), INVALID),
        ("one for others", json!({ "aud": "warehouse" }), "wrong audience: warehouse"),
        ("one with malformed tenants", json!({ "tenant_ids": ["a b"] }), INVALID),
        ("one with a tenant that is no list", json!({ "tenant_ids": "acme" }), INVALID),
    ];
    let (route, correlation_id) = (route(), correlation_id("service"));
    for (name, changes, expected) in rows {
        let claims = with(with(sts.claims(), &own), &changes);
        let body = with(sts.body(&sts.sign(&claims)), &json!({ "issued_token_type": null }));
        sts.answer([json_reply(200, &body)]);
        let request = ServiceAccountRequest { route: &route, correlation_id: &correlation_id };
        assert_eq!(class(&sts.client().service_account_token(request).await), expected, "{name}");
    }
}

#[tokio::test]
async fn an_introspection_answer_without_a_boolean_is_refused() {
    let sts = HostileSts::start().await;
    let id = correlation_id("introspect");
    for (body, expected) in [
        (json!({ "active": true }), "ok"),
        (json!({ "active": "true" }), INVALID),
        (json!({ "active": 1 }), INVALID),
        (json!({}), INVALID),
    ] {
        sts.answer([json_reply(200, &body)]);
        assert_eq!(class(&sts.client().is_active("token", &id).await), expected, "{body}");
    }
}
