//! Traces: what a collector gets, and that nothing waits for one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sts_jose::hex;
use sts_tests::{Harness, Setup};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// More than the last spans may take to go.
const PATIENCE: Duration = Duration::from_secs(15);

/// What stands in for a collector.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collector {
    pub(crate) spans: Arc<Mutex<Vec<Span>>>,
    got: Arc<Notify>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_its_callers_trace_and_its_steps_are_spans_of_it() {
    let (collector, harness) = observed().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let request = harness.exchange().header("traceparent", &traceparent).header("x-correlation-id", "the-request");
    request.send().await.token();
    let spans = collector.spans(9).await;

    let root = spans.iter().find(|span| span.name == "sts.token").expect("a span of the request");
    assert_eq!((hex(&root.trace_id).as_str(), hex(&root.parent_span_id).as_str()), (TRACE, PARENT));
    for (name, value) in [
        ("correlation_id", "the-request"),
        ("endpoint", "token"),
        ("grant", "token_exchange"),
        ("outcome", "ok"),
        ("reason", "none"),
    ] {
        assert_eq!(attribute(root, name).as_deref(), Some(value));
    }
    assert!(root.end_time_unix_nano > root.start_time_unix_nano);
    let steps: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == root.span_id).collect();
    let mut names: Vec<&str> = steps.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["actor", "client_auth", "form", "mint", "policy", "record", "request", "subject"]);
    for step in steps {
        assert_eq!(step.trace_id, root.trace_id, "{}", step.name);
        let within = root.start_time_unix_nano <= step.start_time_unix_nano
            && step.start_time_unix_nano <= step.end_time_unix_nano
            && step.end_time_unix_nano <= root.end_time_unix_nano;
        assert!(within, "{}", step.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_its_reason_and_no_span_says_who_the_user_is() {
    let (collector, harness) = observed().await;
    harness.exchange().set("scope", "more:than:allowed").send().await;
    let spans = collector.spans(1).await;
    let root = spans.iter().find(|span| span.name == "sts.token").expect("a span of the request");
    assert_eq!(attribute(root, "outcome").as_deref(), Some("refused"));
    assert_eq!(attribute(root, "reason").as_deref(), Some("scope_beyond"));
    let all = format!("{spans:?}");
    assert!(!all.contains("alice") && !all.contains("acme"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_sample_gets_no_spans_and_one_without_traceparent_begins_a_trace() {
    let (collector, harness) = observed().await;
    harness.exchange().header("traceparent", format!("00-{TRACE}-{PARENT}-00")).send().await.token();
    harness.exchange().header("traceparent", "00-nonsense").send().await.token();
    let spans = collector.spans(9).await;
    let roots: Vec<&Span> = spans.iter().filter(|span| span.name == "sts.token").collect();
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_ne!(hex(&roots[0].trace_id), TRACE);
    assert!(roots[0].parent_span_id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_collector_down_requests_go_on_and_the_end_is_not_held_up() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    goes_on_without(&endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_collector_that_never_answers_requests_go_on_and_the_end_is_not_held_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    goes_on_without(&format!("http://{}", silent.local_addr().expect("an address"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_server_sends_the_spans_that_wait() {
    let (collector, endpoint) = Collector::start().await;
    let mut harness = Harness::start().await;
    harness.config.telemetry.otlp_endpoint = endpoint.parse().ok();
    let replica = harness.replica().await;
    harness.exchange().at(&replica.wire).send().await.token();
    replica.server.stop().await;
    assert_eq!(collector.spans.lock().expect("no test panics here").len(), 9);
}

async fn goes_on_without(endpoint: &str) {
    let mut harness = Harness::start().await;
    harness.config.telemetry.otlp_endpoint = endpoint.parse().ok();
    let replica = harness.replica().await;
    for _ in 0..20 {
        harness.exchange().at(&replica.wire).send().await.token();
    }
    let ended = tokio::time::timeout(PATIENCE, replica.server.stop()).await;
    assert!(ended.is_ok(), "the server does not end");
}

/// A collector, and a server that sends to it.
async fn observed() -> (Collector, Harness) {
    let (collector, endpoint) = Collector::start().await;
    let harness = Setup::default().option("TELEMETRY__OTLP_ENDPOINT", &endpoint).start().await;
    (collector, harness)
}

async fn take(State(collector): State<Collector>, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    collector.spans.lock().expect("no test panics here").extend(scopes.flat_map(|scope| scope.spans));
    collector.got.notify_one();
    StatusCode::OK
}

impl Collector {
    /// A collector, and its endpoint.
    pub(crate) async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("http://{}/", listener.local_addr().expect("an address"));
        let collector = Self::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("a collector") });
        (collector, endpoint)
    }

    /// The spans, as soon as there are so many.
    pub(crate) async fn spans(&self, least: usize) -> Vec<Span> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let spans = self.spans.lock().expect("no test panics here").clone();
                if spans.len() >= least {
                    return spans;
                }
                self.got.notified().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("no {least} spans: {:?}", self.spans.lock()))
    }
}

pub(crate) fn attribute(span: &Span, name: &str) -> Option<String> {
    let value = span.attributes.iter().find(|pair| pair.key == name)?.value.clone()?.value?;
    match value {
        Value::StringValue(text) => Some(text),
        other => panic!("{name} is {other:?}"),
    }
}
