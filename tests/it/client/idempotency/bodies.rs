//! Bodies: streams pass, trailers stay, multipart boundaries do not count.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use axum::routing::post;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use sts_client::idempotency::{Idempotency, IdempotencyLayer};
use tokio::sync::mpsc;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{Agent, memory, send};

fn layer(agent: &Agent) -> IdempotencyLayer {
    IdempotencyLayer::new(Idempotency::new(memory(&agent.clock)), "bodies")
}

/// One handler behind both layers, and how often it was called.
fn app(
    agent: &Agent,
    answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static,
) -> (Router, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let handler = move || {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        std::future::ready(answer(number))
    };
    let routes = Router::new().route("/x", post(handler));
    (routes.layer(layer(agent)).layer(agent.verifier.layer()), calls)
}

async fn head(app: &Router, request: Request<Body>) -> Response {
    app.clone().oneshot(request).await.unwrap()
}

async fn next(body: &mut Body) -> Option<Bytes> {
    Some(body.frame().await?.unwrap().into_data().unwrap())
}

/// The body of a channel: it ends when the sender is gone.
fn channel() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        let chunk: &'static str = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from_static(chunk.as_bytes())), receiver))
    });
    (sender, Body::from_stream(chunks))
}

#[tokio::test]
async fn a_stream_of_events_passes_one_by_one_and_is_not_kept() {
    let agent = Agent::start().await;
    let (events, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let (app, calls) = app(&agent, move |_| {
        let body = body.lock().unwrap().take().unwrap();
        Response::builder().header("content-type", "text/event-stream; charset=utf-8").body(body).unwrap()
    });
    let answer = head(&app, agent.post("/x", "k", "")).await;
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(event).unwrap();
        assert_eq!(next(&mut body).await.unwrap(), event);
    }
    let again = send(&app, agent.post("/x", "k", "")).await;
    assert_eq!((again.status, again.json["code"].as_str()), (409, Some("OUTCOME_NOT_KEPT")));
    events.send("data: 3\n\n").unwrap();
    drop(events);
    assert_eq!((next(&mut body).await.unwrap(), next(&mut body).await), (Bytes::from("data: 3\n\n"), None));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_without_a_known_end_passes_whole_once_ten_seconds_are_over() {
    let agent = Agent::start().await;
    let (chunks, body) = channel();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let (app, calls) = app(&agent, move |_| Response::new(body.lock().unwrap().take().unwrap()));
    // The keys of the issuer are fetched before time stands still.
    agent.verifier.verify(&agent.headers_of(&serde_json::json!({}))).await.unwrap();
    tokio::time::pause();
    chunks.send("first ").unwrap();
    let mut body = head(&app, agent.post("/x", "k", "")).await.into_body();
    chunks.send("second").unwrap();
    assert_eq!((next(&mut body).await.unwrap(), next(&mut body).await.unwrap()), ("first ".into(), "second".into()));
    let again = send(&app, agent.post("/x", "k", "")).await;
    assert_eq!((again.status, again.json["code"].as_str()), (409, Some("OUTCOME_NOT_KEPT")));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_of_unknown_length_that_ends_is_kept() {
    let agent = Agent::start().await;
    let (app, calls) = app(&agent, |_| {
        let (chunks, body) = channel();
        chunks.send("one ").unwrap();
        chunks.send("two").unwrap();
        Response::new(body)
    });
    assert_eq!(send(&app, agent.post("/x", "k", "")).await.text(), "one two");
    let again = send(&app, agent.post("/x", "k", "")).await;
    assert_eq!((again.text().as_str(), again.header("idempotency-replayed")), ("one two", "true"));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

fn grpc(status: &'static str) -> Response {
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))]);
    let body = Full::new(Bytes::from_static(b"\0\0\0\0\x01x")).with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

#[tokio::test]
async fn trailers_survive_and_are_repeated() {
    let agent = Agent::start().await;
    let (app, calls) = app(&agent, |_| grpc("0"));
    for replayed in [false, true] {
        let answer = head(&app, agent.post("/x", "k", "")).await;
        assert_eq!(answer.headers().contains_key("idempotency-replayed"), replayed);
        let collected = answer.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), b"\0\0\0\0\x01x".as_slice());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_grpc_status_says_whether_an_answer_stands() {
    let agent = Agent::start().await;
    for (status, is_kept) in
        [("0", true), ("3", true), ("5", true), ("6", true), ("11", true), ("1", false), ("2", false), ("4", false)]
            .into_iter()
            .chain(["7", "8", "9", "10", "12", "13", "14", "15", "16"].map(|status| (status, false)))
    {
        let (app, calls) = app(&agent, move |_| grpc(status));
        for _ in 0..2 {
            assert_eq!(head(&app, agent.post("/x", "k", "")).await.status(), 200);
        }
        assert_eq!(calls.load(Ordering::SeqCst), if is_kept { 1 } else { 2 }, "{status}");
    }
}

#[tokio::test]
async fn a_multipart_retry_with_a_new_boundary_is_a_repetition() {
    let agent = Agent::start().await;
    let (app, calls) = app(&agent, |number| Response::new(Body::from(number.to_string())));
    let form = |boundary: &str, value: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"product\"\r\n\r\n{value}\r\n--{boundary}--\r\n"
        );
        let mut request = agent.post("/x", "k", &body);
        let content_type = format!("multipart/form-data; boundary={boundary}");
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        request
    };
    assert_eq!(send(&app, form("first-1", "tea")).await.text(), "1");
    let again = send(&app, form("second-22", "tea")).await;
    assert_eq!((again.text().as_str(), again.header("idempotency-replayed")), ("1", "true"));
    assert_eq!(send(&app, form("first-1", "coffee")).await.json["code"], "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_headers_that_a_client_needs_are_repeated() {
    const KEPT: [(&str, &str); 9] = [
        ("location", "/orders/1"),
        ("etag", "\"v1\""),
        ("content-encoding", "identity"),
        ("content-language", "de"),
        ("content-disposition", "attachment"),
        ("retry-after", "7"),
        ("www-authenticate", "Bearer"),
        ("allow", "GET"),
        ("content-digest", "sha-256=:x:"),
    ];
    const DROPPED: [(&str, &str); 3] = [("set-cookie", "a=b"), ("date", "now"), ("x-note", "first")];
    let agent = Agent::start().await;
    let (app, _) = app(&agent, |_| {
        let mut response = Response::builder().status(404);
        for (name, value) in KEPT.into_iter().chain(DROPPED) {
            response = response.header(name, value);
        }
        response.body(Body::empty()).unwrap()
    });
    let first = send(&app, agent.post("/x", "k", "")).await;
    let again = send(&app, agent.post("/x", "k", "")).await;
    assert_eq!((first.status, again.status), (404, 404));
    for (name, value) in KEPT {
        assert_eq!((first.header(name), again.header(name)), (value, value), "{name}");
    }
    for (name, value) in DROPPED {
        assert_eq!((first.header(name), again.header(name)), (value, ""), "{name}");
    }
}

/// The bodies of tonic and of the layers of tower-http, as those of this service, cannot be made of bytes.
#[tokio::test]
async fn a_service_with_any_body_stands_behind_the_layer() {
    type AnyBody = UnsyncBoxBody<Bytes, axum::BoxError>;
    let agent = Agent::start().await;
    let caller = agent.verifier.verify(&agent.headers_of(&serde_json::json!({}))).await.unwrap();
    let service = layer(&agent).layer(service_fn(|_: Request<Body>| async {
        let body: AnyBody = Full::new(Bytes::from("any")).map_err(|never| match never {}).boxed_unsync();
        Ok::<_, Infallible>(http::Response::new(body))
    }));
    for replayed in [false, true] {
        let mut request = agent.post("/x", "k", "");
        request.extensions_mut().insert(caller.clone());
        let answer = service.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers().contains_key("idempotency-replayed"), replayed);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "any");
    }
}
