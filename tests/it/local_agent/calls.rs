//! `POST /v1/headers` and `POST /v1/forget`.

use serde_json::{Value, json};

use sts_tests::local_agent::LocalFolder;
use sts_tests::process::free_address;

use super::{Desk, agent_toml, claims};

const STOCK: &str = "https://inventory.shop.example/stock";

#[tokio::test]
async fn a_call_carries_the_exchanged_token_alone() {
    let desk = Desk::open().await;
    let inbound = desk.inbound().await;
    let stray = json!([
        ["AUTHORIZATION", "Bearer of-another"],
        ["authorization", "Bearer of-a-third"],
        ["X-Tenant-ID", "evil"],
        ["x-delegation-fallback", "service-account"],
        ["Cookie", "session=1"],
        ["DPoP", "a proof"],
        ["Connection", "x-tenant-id, x-correlation-id"],
        ["Host", "evil.example"],
        ["Accept", "text/plain"],
    ]);
    let question = json!({ "method": "GET", "url": STOCK, "headers": stray, "inbound": inbound });
    let headers = desk.headers(&question).await;
    let token = claims(&headers["authorization"][0]);
    assert_eq!(token["sub"], "alice");
    assert_eq!(token["aud"], "inventory-agent");
    assert_eq!(token["scope"], "stock:read");
    assert_eq!(token["act"]["sub"], "coordinator");
    let correlation_id =
        inbound.as_array().unwrap().iter().find(|pair| pair[0] == "x-correlation-id").unwrap()[1].clone();
    let expected = json!({
        "authorization": headers["authorization"], "x-tenant-id": ["acme"], "x-correlation-id": [correlation_id],
        "host": ["inventory.shop.example"], "accept": ["text/plain"],
    });
    assert_eq!(headers, expected);
    let again = desk.headers(&question).await;
    assert_eq!(again["authorization"], headers["authorization"], "the token is cached");
}

#[tokio::test]
async fn two_callers_never_get_each_others_token() {
    let desk = Desk::open().await;
    let mut inbound = Vec::new();
    for user in ["alice", "bob"] {
        let token = desk.harness.user_token_with(&json!({ "sub": user }));
        let headers = json!([["authorization", format!("Bearer {token}")], ["x-correlation-id", "the-same"]]);
        let answer = desk.agent.ask("/v1/verify", &json!({ "headers": headers })).await;
        inbound.push((user, answer.json["inbound"].clone()));
    }
    let ask = |inbound: Value| json!({ "method": "GET", "url": STOCK, "inbound": inbound });
    for _ in 0..3 {
        for (user, inbound) in &inbound {
            let headers = desk.headers(&ask(inbound.clone())).await;
            assert_eq!(claims(&headers["authorization"][0])["sub"], *user);
        }
    }
    // The mark of alice's verification with bob's token is a request of bob.
    let mut mixed = inbound[0].1.clone();
    mixed[0] = inbound[1].1[0].clone();
    let headers = desk.headers(&ask(mixed)).await;
    assert_eq!(claims(&headers["authorization"][0])["sub"], "bob");
}

#[tokio::test]
async fn what_may_not_go_out_is_refused() {
    let desk = Desk::open().await;
    let inbound = desk.inbound().await;
    let expired = desk.harness.user_token_with(&json!({ "exp": desk.harness.now() - 60 }));
    let expired = json!([["authorization", format!("Bearer {expired}")]]);
    let call = |url: &str| json!({ "method": "GET", "url": url, "inbound": inbound });
    let with = |change: &dyn Fn(&mut Value)| {
        let mut question = call(STOCK);
        change(&mut question);
        question
    };
    let rows = [
        (call("https://payroll.shop.example/"), 403, "no_route", 500),
        (call("http://inventory.shop.example/stock"), 403, "no_route", 500),
        (call("https://inventory.shop.example.evil.example/"), 403, "no_route", 500),
        (with(&|question| question["inbound"] = expired.clone()), 403, "refused", 401),
        (with(&|question| question["inbound"] = json!([])), 403, "refused", 401),
        (json!({ "method": "GET", "url": STOCK, "without_user": {} }), 403, "refused", 403),
        (json!({ "method": "GET", "url": STOCK, "without_user": { "tenant_id": "acme" } }), 403, "refused", 403),
    ];
    for (question, status, error, response) in rows {
        let answer = desk.agent.ask("/v1/headers", &question).await;
        assert_eq!((answer.status, &answer.json["error"]), (status, &json!(error)), "{question}: {}", answer.text);
        assert_eq!(answer.json["response"]["status"], response, "{question}");
        assert!(answer.json.get("headers").is_none(), "{}", answer.text);
    }
    let malformed = [
        json!({ "method": "GET", "url": STOCK }),
        with(&|question| question["without_user"] = json!({})),
        with(&|question| question["url"] = json!("/stock")),
        with(&|question| question["url"] = json!("file:///etc/passwd")),
        with(&|question| question["method"] = json!("GET /")),
        with(&|question| question["headers"] = json!([["accept", "a\r\nx-tenant-id: evil"]])),
        with(&|question| question["headers"] = json!([["accept\r\nx-tenant-id", "evil"]])),
        with(&|question| question["inbound"] = json!([["authorization", "Bearer a\r\nb: c"]])),
        with(&|question| question["audience"] = json!("payroll")),
        json!({ "method": "GET", "url": STOCK, "without_user": { "tenant_id": "a b" } }),
        json!({ "method": "GET", "url": STOCK, "without_user": { "correlation_id": "a b" } }),
    ];
    for question in malformed {
        let answer = desk.agent.ask("/v1/headers", &question).await;
        assert_eq!(
            (answer.status, &answer.json["error"]),
            (400, &json!("invalid_request")),
            "{question}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn each_call_has_an_idempotency_key_and_a_repeated_request_has_the_same() {
    let desk = Desk::open().await;
    let headers =
        json!([["authorization", format!("Bearer {}", desk.harness.user_token())], ["idempotency-key", "order-7"]]);
    let mut keys = Vec::new();
    for _attempt in 0..2 {
        let inbound = desk.agent.ask("/v1/verify", &json!({ "headers": headers })).await.json["inbound"].clone();
        let mut of_request = Vec::new();
        for body in ["00", "00", "01"] {
            let question = json!({ "method": "POST", "url": STOCK, "inbound": inbound, "body_sha256": body });
            of_request.push(desk.headers(&question).await["idempotency-key"][0].clone());
        }
        assert!(of_request[0] != of_request[1] && of_request[1] != of_request[2], "{of_request:?}");
        keys.push(of_request);
    }
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_forgotten_token_is_exchanged_anew() {
    let desk = Desk::open().await;
    let inbound = desk.inbound().await;
    let question = json!({ "method": "GET", "url": STOCK, "inbound": inbound });
    let first = desk.headers(&question).await;
    let forgotten = desk.agent.ask("/v1/forget", &json!({ "url": STOCK, "inbound": inbound })).await;
    assert_eq!((forgotten.status, &forgotten.json), (200, &json!({ "repeat": true })));
    let second = desk.headers(&question).await;
    assert_ne!(claims(&first["authorization"][0])["jti"], claims(&second["authorization"][0])["jti"]);
}

#[tokio::test]
async fn a_call_is_repeated_only_if_its_target_refused_the_token() {
    let desk = Desk::open().await;
    let inbound = desk.inbound().await;
    let question = json!({ "method": "GET", "url": STOCK, "inbound": inbound });
    let sent = desk.agent.ask("/v1/headers", &question).await.json["headers"].clone();
    let refused = |status: u16, challenge: &str, sent: &Value| {
        let answer = json!({ "status": status, "headers": [["WWW-Authenticate", challenge]] });
        json!({ "url": STOCK, "inbound": inbound, "headers": sent, "answer": answer })
    };
    let invalid = "Bearer error=\"invalid_token\"";
    // The refusal of an earlier token does not drop the present one, which is worth a try.
    let earlier = json!([["authorization", "Bearer of-an-earlier-call"]]);
    for (refusal, repeat, is_kept) in [
        (refused(401, "Bearer", &sent), false, true),
        (refused(401, "Bearer error=\"insufficient_scope\"", &sent), false, true),
        (refused(403, invalid, &sent), false, true),
        (refused(401, invalid, &json!([])), false, true),
        (refused(401, invalid, &earlier), true, true),
        (refused(401, invalid, &sent), true, false),
    ] {
        let answer = desk.agent.ask("/v1/forget", &refusal).await;
        assert_eq!((answer.status, &answer.json), (200, &json!({ "repeat": repeat })), "{refusal}");
        let now = desk.agent.ask("/v1/headers", &question).await.json["headers"].clone();
        assert_eq!(now == sent, is_kept, "{refusal}");
    }
}

#[tokio::test]
async fn a_repeated_call_keeps_its_key_and_gets_no_credential_with_less_authority() {
    let desk = Desk::open_with("on_outage = \"service_account\"\n\n[service_account]\nfrom = \"sts\"\n").await;
    let headers =
        json!([["authorization", format!("Bearer {}", desk.harness.user_token())], ["idempotency-key", "order-7"]]);
    let inbound = desk.agent.ask("/v1/verify", &json!({ "headers": headers })).await.json["inbound"].clone();
    let question = json!({ "method": "POST", "url": STOCK, "inbound": inbound, "body_sha256": "00" });
    let first = desk.agent.ask("/v1/headers", &question).await.json;
    assert_eq!(first["credential"], "exchanged");
    let mut again = question.clone();
    again["again"] = first.clone();
    let unchanged = desk.agent.ask("/v1/headers", &again).await;
    assert_eq!((unchanged.status, &unchanged.json["code"]), (403, &json!("invalid_token")), "the token is the same");

    let forget = || async {
        let answer = json!({ "status": 401, "headers": [["www-authenticate", "Bearer error=\"invalid_token\""]] });
        let refusal = json!({ "url": STOCK, "inbound": inbound, "headers": first["headers"], "answer": answer });
        assert_eq!(desk.agent.ask("/v1/forget", &refusal).await.json, json!({ "repeat": true }));
    };
    forget().await;
    let second = desk.agent.ask("/v1/headers", &again).await.json;
    let value = |headers: &Value, name: &str| {
        let pairs = headers["headers"].as_array().unwrap_or_else(|| panic!("{headers}"));
        pairs.iter().find(|pair| pair[0] == name).map(|pair| pair[1].clone())
    };
    assert_eq!(value(&second, "idempotency-key"), value(&first, "idempotency-key"));
    assert_ne!(value(&second, "authorization"), value(&first, "authorization"));
    assert_eq!(second["credential"], "exchanged");

    desk.harness.drop_table("audit_events").await;
    desk.agent.ask("/v1/forget", &json!({ "url": STOCK, "inbound": inbound })).await;
    let other_call = desk.agent.ask("/v1/headers", &question).await.json;
    assert_eq!(other_call["credential"], "fallback", "{other_call}");
    let weaker = desk.agent.ask("/v1/headers", &again).await;
    assert_eq!((weaker.status, &weaker.json["code"]), (403, &json!("invalid_token")), "{}", weaker.text);
    assert!(weaker.json.get("headers").is_none(), "{}", weaker.text);
}

#[tokio::test]
async fn without_the_sts_a_call_is_an_outage() {
    let harness = sts_tests::Harness::start().await;
    let gone = format!("http://{}", free_address());
    let file =
        agent_toml(&harness, "").replace(harness.issuer(), &gone).replace("client_id", "attempts = 1\nclient_id");
    let folder = LocalFolder::new(&file, &[("secret", "of the coordinator")]);
    let desk = Desk { agent: folder.serve().await, harness, folder };
    let inbound = desk.inbound().await;
    let answer = desk.agent.ask("/v1/headers", &json!({ "method": "GET", "url": STOCK, "inbound": inbound })).await;
    assert_eq!((answer.status, &answer.json["error"]), (503, &json!("unavailable")), "{}", answer.text);
    assert_eq!(answer.json["response"]["status"], 424);
}
