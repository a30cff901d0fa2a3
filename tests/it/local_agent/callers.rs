//! `POST /v1/verify`.

use serde_json::{Value, json};

use super::Desk;

#[tokio::test]
async fn a_caller_is_verified_and_described() {
    let desk = Desk::open().await;
    let answer = desk.agent.ask("/v1/verify", &json!({ "headers": desk.alice() })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let caller = &answer.json["caller"];
    assert_eq!(caller["kind"], "user");
    assert_eq!(caller["subject"], json!({ "iss": desk.harness.idp.url(), "sub": "alice" }));
    assert_eq!(caller["tenant_id"], "acme");
    assert_eq!(caller["possession"], "bearer");
    assert_eq!(caller["prior_actors"], json!([]));
    assert!(caller.get("actor").is_none() && caller["expires_at"].is_i64(), "{caller}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let inbound = answer.json["inbound"].as_array().expect("pairs").clone();
    assert!(inbound.contains(&json!(["x-correlation-id", caller["correlation_id"]])), "{inbound:?}");
}

#[tokio::test]
async fn a_refused_caller_gets_the_answer_of_sts_client_and_no_inbound() {
    let desk = Desk::open().await;
    let [alice, other] =
        [json!({}), json!({ "aud": "another-app" })].map(|changes| desk.harness.user_token_with(&changes));
    let bearer = |token: &str| json!([["authorization", format!("Bearer {token}")]]);
    let rows: [(Value, u16, Value); 6] = [
        (json!([]), 401, Value::Null),
        (json!([["authorization", "Basic YTpi"]]), 401, Value::Null),
        (bearer("not.a.token"), 401, json!("invalid_token")),
        (bearer(&other), 401, json!("invalid_token")),
        (json!([bearer(&alice)[0], bearer(&alice)[0]]), 400, json!("invalid_request")),
        (json!([bearer(&alice)[0], ["x-tenant-id", "evil"]]), 403, json!("insufficient_scope")),
    ];
    for (headers, status, code) in rows {
        let answer = desk.agent.ask("/v1/verify", &json!({ "headers": headers })).await;
        assert_eq!((answer.status, &answer.json["error"]), (403, &json!("refused")), "{headers}: {}", answer.text);
        assert_eq!(answer.json.get("code").unwrap_or(&Value::Null), &code, "{headers}");
        let response = &answer.json["response"];
        assert_eq!(response["status"], status, "{headers}");
        let names: Vec<&str> =
            response["headers"].as_array().unwrap().iter().filter_map(|pair| pair[0].as_str()).collect();
        assert!(names.contains(&"www-authenticate"), "{headers}: {names:?}");
        assert!(answer.json.get("inbound").is_none() && !answer.text.contains(&alice), "{headers}");
    }
}

#[tokio::test]
async fn keys_out_of_reach_are_an_outage_and_no_refusal() {
    let desk = Desk::open().await;
    let token = desk.harness.user_token();
    desk.harness.idp.fail(sts_tests::Fault::Status(500));
    let answer =
        desk.agent.ask("/v1/verify", &json!({ "headers": [["authorization", format!("Bearer {token}")]] })).await;
    assert_eq!((answer.status, &answer.json["error"]), (503, &json!("unavailable")), "{}", answer.text);
    assert_eq!(answer.json["response"]["status"], 503);
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_malformed_question_is_refused_and_not_quoted() {
    let desk = Desk::open().await;
    let secret = "Bearer of-alice";
    let questions = [
        json!({}),
        json!([]),
        json!({ "headers": [["authorization", secret]], "more": 1 }),
        json!({ "headers": { "authorization": secret } }),
        json!({ "headers": [["authorization", secret, secret]] }),
        json!({ "headers": [["authorization", format!("{secret}\r\nx-tenant-id: evil")]] }),
        json!({ "headers": [["authorization: x", secret]] }),
        json!({ "headers": [[":authority", secret]] }),
        json!({ "headers": [], "method": "GET" }),
        json!({ "headers": [], "method": "G T", "path": "/" }),
        json!({ "headers": [], "method": "GET", "path": "/", "peer": "localhost" }),
    ];
    for question in questions {
        let answer = desk.agent.ask("/v1/verify", &question).await;
        assert_eq!(
            (answer.status, &answer.json["error"]),
            (400, &json!("invalid_request")),
            "{question}: {}",
            answer.text
        );
        assert!(!answer.text.contains("of-alice"), "{}", answer.text);
    }
    let twice = format!(r#"{{"headers": [], "headers": [["authorization", "{secret}"]]}}"#);
    let request = desk.agent.client().post("http://sts-agent/v1/verify").body(twice);
    assert_eq!(sts_tests::local_agent::answer(request).await.status, 400);
}

#[tokio::test]
async fn the_headers_of_an_answer_are_taken_in_the_next_question_however_many_there_were() {
    let desk = Desk::open().await;
    let mut headers = vec![json!(["x-request-priority", "1"]); 199];
    headers.push(desk.alice()[0].clone());
    let verified = desk.agent.ask("/v1/verify", &json!({ "headers": headers })).await;
    assert_eq!(verified.status, 200, "{}", verified.text);
    let inbound = verified.json["inbound"].clone();
    let url = "https://inventory.shop.example/stock";
    // The context is found by other headers only after a verification of its own.
    let mut reordered = inbound.as_array().expect("pairs").clone();
    reordered.reverse();
    for inbound in [inbound, json!(reordered)] {
        let given = vec![json!(["x-a", "b"]); 200];
        let question = json!({ "method": "GET", "url": url, "inbound": inbound, "headers": given });
        let sent = desk.agent.ask("/v1/headers", &question).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        let answer = json!({ "status": 401, "headers": [] });
        let refusal = json!({ "url": url, "inbound": inbound, "headers": sent.json["headers"], "answer": answer });
        let forgotten = desk.agent.ask("/v1/forget", &refusal).await;
        assert_eq!(forgotten.status, 200, "{}", forgotten.text);
    }
}
