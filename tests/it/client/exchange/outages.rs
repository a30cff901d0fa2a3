//! What is an outage, what is load, and how often an STS is asked again.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::json;
use sts_jose::Clock as _;

use super::class;
use super::hostile::{HostileSts, PATIENCE, Reply, exchange, json_reply, reply};

const INVALID: &str = "refused: invalid_response";
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn an_sts_that_gives_no_whole_answer_is_an_outage() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"access_token\":";
    let rows = [
        ("cut in the body", Reply::Bytes(head.into()), "outage: transport"),
        ("cut in the head", Reply::Bytes(b"HTTP/1.1 200 OK\r\ncont".to_vec()), "outage: transport"),
        ("no byte", Reply::Bytes(Vec::new()), "outage: transport"),
        ("no http", Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), "outage: transport"),
        ("slow body", Reply::Stall(head.into()), "outage: timed out"),
        ("silence", Reply::Stall(Vec::new()), "outage: timed out"),
        (
            "headers without end",
            Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(100)),
            "outage: transport",
        ),
        ("500", reply(500, "", "{\"error\":\"invalid_request\"}"), "outage: 500"),
        ("502", reply(502, "", "<html>"), "outage: 502"),
        ("503", reply(503, "", "<html>"), "outage: 503"),
        (
            "503 of the sts itself",
            json_reply(503, &json!({ "error": "temporarily_unavailable" })),
            "outage: no decision is possible now",
        ),
        ("599", reply(599, "", ""), "outage: 599"),
    ];
    for (name, answer, expected) in rows {
        sts.answer([answer]);
        let timeout = if expected == "outage: timed out" { SHORT } else { PATIENCE };
        let client = sts.builder().attempts(1).attempt_timeout(timeout).build().unwrap();
        assert_eq!(class(&exchange(&client, &user).await), expected, "{name}");
    }
}

#[tokio::test]
async fn the_status_of_a_failure_counts_whatever_becomes_of_its_body() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let head = |status: u16| format!("HTTP/1.1 {status} X\r\ncontent-length: 1000000\r\n\r\n{{\"error\":").into_bytes();
    for (status, expected) in [(400, INVALID), (401, INVALID), (429, "overloaded: None"), (502, "outage: 502")] {
        let rows = [
            ("cut", Reply::Bytes(head(status))),
            ("slow", Reply::Stall(head(status))),
            ("too long", Reply::Endless(head(status), vec![b' '; 64 * 1024])),
        ];
        for (name, answer) in rows {
            sts.answer([answer]);
            assert_eq!(class(&exchange(&sts.client(), &user).await), expected, "{status}, {name}");
        }
    }
}

#[tokio::test]
async fn an_sts_that_nobody_listens_for_is_an_outage() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    sts.answer_metadata([json_reply(200, &super::hostile::with(sts.metadata(), &json!({ "token_endpoint": nobody })))]);
    assert_eq!(class(&exchange(&sts.client(), &user).await), "outage: transport");
}

#[tokio::test]
async fn keys_out_of_reach_are_an_outage_and_no_refusal() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    for jwks in [reply(500, "", ""), reply(200, "", "<html>"), reply(404, "", "")] {
        sts.answer_jwks([jwks]);
        sts.answer([sts.honest()]);
        assert_eq!(class(&exchange(&sts.client(), &user).await), "outage: keys");
    }
}

#[tokio::test]
async fn load_where_the_keys_are_is_load_and_no_outage() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    sts.answer_jwks([reply(429, "", "")]);
    sts.answer([sts.honest()]);
    assert_eq!(class(&exchange(&sts.client(), &user).await), "overloaded: None");
}

#[tokio::test]
async fn an_outage_is_tried_again_and_a_refusal_is_not() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let (honest, down) = (sts.honest(), reply(500, "", ""));
    let no = json_reply(400, &json!({ "error": "invalid_request" }));
    let busy = reply(429, "", "");
    let rows = [
        ("back at the second", vec![down.clone(), honest.clone()], "ok", 2),
        ("back at the third", vec![down.clone(), Reply::Bytes(Vec::new()), honest.clone()], "ok", 3),
        ("back too late", vec![down.clone(), down.clone(), down.clone(), honest.clone()], "outage: 500", 3),
        ("load, then well", vec![busy.clone(), honest.clone()], "ok", 2),
        ("load to the end", vec![busy.clone()], "overloaded: None", 3),
        ("a refusal", vec![no.clone(), honest.clone()], "refused: invalid_request", 1),
        ("a refusal after an outage", vec![down.clone(), no, honest.clone()], "refused: invalid_request", 2),
        ("nothing to read", vec![reply(200, "", ""), honest], "refused: invalid_response", 1),
        ("load, then an outage", vec![busy, down], "overloaded: None", 3),
    ];
    for (name, answers, expected, asked) in rows {
        let before = sts.count("/token");
        sts.answer(answers);
        assert_eq!(class(&exchange(&sts.builder().build().unwrap(), &user).await), expected, "{name}");
        assert_eq!(sts.count("/token") - before, asked, "{name}");
    }
}

#[tokio::test]
async fn retry_after_is_waited_for_only_within_the_deadline() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let in_90_seconds = sts.clock.now() + jiff::SignedDuration::from_secs(90);
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&in_90_seconds).unwrap();
    let rows = [
        ("60", "overloaded: Some(60s)"),
        ("99999999", "overloaded: Some(3600s)"),
        (date.as_str(), "overloaded: Some(90s)"),
    ];
    for (retry_after, expected) in rows {
        let before = sts.count("/token");
        sts.answer([reply(429, &format!("retry-after: {retry_after}\r\n"), ""), sts.honest()]);
        assert_eq!(class(&exchange(&sts.builder().build().unwrap(), &user).await), expected, "{retry_after}");
        assert_eq!(sts.count("/token") - before, 1, "{retry_after}");
    }
    for retry_after in ["0", "soon", "-1", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        sts.answer([reply(429, &format!("retry-after: {retry_after}\r\n"), ""), sts.honest()]);
        assert_eq!(class(&exchange(&sts.builder().build().unwrap(), &user).await), "ok", "{retry_after}");
    }
}

#[tokio::test]
async fn the_deadline_holds_over_all_attempts() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    sts.answer([Reply::Stall(Vec::new())]);
    let client = sts.builder().deadline(SHORT).attempts(1000).build().unwrap();
    assert_eq!(class(&exchange(&client, &user).await), "outage: timed out");
}

#[tokio::test]
async fn an_sts_that_fails_again_and_again_is_left_alone_for_a_while() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let client = sts.client();
    sts.answer([reply(500, "", "")]);
    for _ in 0..5 {
        assert_eq!(class(&exchange(&client, &user).await), "outage: 500");
    }
    assert_eq!(class(&exchange(&client, &user).await), "outage: breaker");
    assert_eq!(sts.count("/token"), 5);
    sts.clock.advance(Duration::from_secs(5));
    sts.answer([sts.honest()]);
    assert_eq!(class(&exchange(&client, &user).await), "ok");
    assert_eq!(class(&exchange(&client, &user).await), "ok");
}

#[tokio::test]
async fn what_the_sts_cannot_tell_of_one_user_does_not_open_the_breaker_for_all() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let client = sts.client();
    sts.answer([json_reply(503, &json!({ "error": "temporarily_unavailable" }))]);
    for _ in 0..10 {
        assert_eq!(class(&exchange(&client, &user).await), "outage: no decision is possible now");
    }
    sts.answer([sts.honest()]);
    assert_eq!(class(&exchange(&client, &user).await), "ok");
}
