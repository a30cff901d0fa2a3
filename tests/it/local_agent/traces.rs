//! Traces of `sts-agent`: joined to those of the requests that its questions are about.

use serde_json::json;
use sts_jose::hex;
use sts_tests::Harness;
use sts_tests::local_agent::LocalFolder;
use sts_tests::process::free_address;

use super::agent_toml;
use crate::traces::{Collector, attribute};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// The span of the agent's own call.
const CALL: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_question_is_a_span_of_the_trace_of_its_request_with_the_steps_below_it() {
    let (collector, endpoint) = Collector::start().await;
    let harness = Harness::start().await;
    let folder = LocalFolder::new(&agent_toml(&harness, ""), &[("secret", &harness.secret("coordinator"))]);
    let agent = folder.serve_at(&["--listen", "./agent.sock", "--otlp-endpoint", &endpoint]).await;
    let headers = json!([
        ["authorization", format!("Bearer {}", harness.user_token())],
        ["Traceparent", format!("00-{TRACE}-{PARENT}-01")],
    ]);
    let verified = agent.ask("/v1/verify", &json!({ "headers": headers })).await;
    assert_eq!(verified.status, 200, "{}", verified.text);
    let call = |url: &str| json!({ "method": "GET", "url": url, "inbound": verified.json["inbound"] });
    assert_eq!(agent.ask("/v1/headers", &call("https://inventory.shop.example/")).await.status, 200);
    let mut traced = call("https://payroll.shop.example/");
    traced["headers"] = json!([["traceparent", format!("00-{TRACE}-{CALL}-01")]]);
    assert_eq!(agent.ask("/v1/headers", &traced).await.status, 403);
    let unsampled = json!({ "headers": [["traceparent", format!("00-{TRACE}-{PARENT}-00")]] });
    assert_eq!(agent.ask("/v1/verify", &unsampled).await.status, 403);
    // The end of the process sends the spans that wait.
    assert_eq!(agent.end().await, Some(0));

    let spans = collector.spans(5).await;
    let questions: Vec<_> = spans.iter().filter(|span| span.name.starts_with("sts_agent.")).collect();
    let found: Vec<_> = questions
        .iter()
        .map(|span| {
            let outcome = attribute(span, "outcome").expect("an outcome");
            (span.name.as_str(), hex(&span.trace_id), hex(&span.parent_span_id), outcome)
        })
        .collect();
    let row = |name, parent: &str, outcome: &str| (name, TRACE.to_owned(), parent.to_owned(), outcome.to_owned());
    let expected = [
        row("sts_agent.verify", PARENT, "answered"),
        row("sts_agent.headers", PARENT, "answered"),
        row("sts_agent.headers", CALL, "no_route"),
    ];
    assert_eq!(found, expected);
    for (question, step) in [(questions[0], "sts_client.verify"), (questions[1], "sts_client.apply")] {
        let below = spans.iter().find(|span| span.name == step && span.parent_span_id == question.span_id);
        assert_eq!(below.expect(step).trace_id, question.trace_id);
    }
    let all = format!("{spans:?}");
    assert!(!all.contains("alice") && !all.contains("acme") && !all.contains("Bearer"), "{all}");
}

#[tokio::test]
async fn without_its_collector_questions_are_answered_and_the_end_is_not_held_up() {
    let harness = Harness::start().await;
    let folder = LocalFolder::new(&agent_toml(&harness, ""), &[("secret", &harness.secret("coordinator"))]);
    let gone = format!("http://{}", free_address());
    let agent = folder.serve_at(&["--listen", "./agent.sock", "--otlp-endpoint", &gone]).await;
    let headers = json!([["authorization", format!("Bearer {}", harness.user_token())]]);
    assert_eq!(agent.ask("/v1/verify", &json!({ "headers": headers })).await.status, 200);
    assert_eq!(agent.end().await, Some(0));
}
