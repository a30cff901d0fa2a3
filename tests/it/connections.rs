//! Bytes that no HTTP client sends (docs/threats.md, HTTP and forms): half requests, slow ones, smuggled ones, too many connections.

use std::time::Duration;

use sts_tests::{Harness, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What comes back before the server closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    // A connection that is reset has been closed too.
    let _outcome = read.expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn connect(harness: &Harness) -> TcpStream {
    TcpStream::connect(harness.server.public()).await.unwrap()
}

/// All that is answered to these bytes, when nothing follows them.
async fn exchange(harness: &Harness, bytes: &[u8]) -> String {
    let mut stream = connect(harness).await;
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    until_closed(&mut stream).await
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

#[tokio::test]
async fn half_a_head_and_silence_ends_the_connection() {
    let harness = Setup::default().option("LIMITS__HEADER_TIMEOUT", "1s").start().await;
    for head in ["", "POST /oauth2/token HTTP/1.1\r\n", "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nX-Y"] {
        let mut stream = connect(&harness).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let text = until_closed(&mut stream).await;
        assert!(!text.contains(" 200 "), "{text}");
    }
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let harness = Setup::default().option("LIMITS__HEADER_TIMEOUT", "1s").start().await;
    let mut stream = connect(&harness).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(answers(&until_closed(&mut stream).await), 1);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_with_408() {
    let harness = Setup::default().option("LIMITS__BODY_TIMEOUT", "1s").start().await;
    let mut stream = connect(&harness).await;
    let head = "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 100\r\n\r\ngrant_type=";
    stream.write_all(head.as_bytes()).await.unwrap();
    let text = until_closed(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("invalid_request") && text.contains("cache-control: no-store"), "{text}");
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn a_body_cut_short_is_no_request() {
    let harness = Harness::start().await;
    let body = harness.client_credentials().encoded();
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n",
        body.len() + 1
    );
    let text = exchange(&harness, &[head.as_bytes(), &body].concat()).await;
    assert!(!text.contains(" 200 "), "{text}");
    assert_eq!(harness.token_count().await, 0);
}

#[tokio::test]
async fn heads_of_300_kb_are_refused() {
    let harness = Harness::start().await;
    let one = format!("POST /oauth2/token HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(300 * 1024));
    let lines: String = (0..3000).map(|n| format!("X-{n}: {}\r\n", "x".repeat(100))).collect();
    let many = format!("POST /oauth2/token HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let uri = format!("POST /oauth2/token{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(300 * 1024));
    for head in [one, many, uri] {
        let mut stream = connect(&harness).await;
        // The server may hang up before it has read all of it.
        let _written = stream.write_all(head.as_bytes()).await;
        let text = until_closed(&mut stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn what_is_no_http_1_is_refused() {
    let harness = Harness::start().await;
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /oauth2/token HTTP/9.9\r\n\r\n",
        b"POST /oauth2/token HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST /oauth2/token HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"\0\0\0\0",
    ] {
        let text = exchange(&harness, bytes).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{bytes:?}: {text}");
    }
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn a_request_is_never_smuggled_in_the_body_of_another() {
    let harness = Harness::start().await;
    let form = "Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = "POST /oauth2/token HTTP/1.1\r\n";
    for (label, request) in [
        (
            "a length and chunks",
            format!(
                "{post}{form}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
                5 + smuggled.len()
            ),
        ),
        (
            "chunks and a length",
            format!(
                "{post}{form}Transfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n0\r\n\r\n{smuggled}",
                5 + smuggled.len()
            ),
        ),
        (
            "two lengths",
            format!("{post}{form}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
        ),
        ("two lengths in one", format!("{post}{form}Content-Length: 0, {}\r\n\r\n{smuggled}", smuggled.len())),
        ("a length with a sign", format!("{post}{form}Content-Length: +0\r\n\r\n{smuggled}")),
        ("another encoding", format!("{post}{form}Transfer-Encoding: xchunked\r\n\r\n{smuggled}")),
        (
            "an encoding after chunks",
            format!("{post}{form}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("an encoding in disguise", format!("{post}{form}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ("a folded header", format!("{post}{form}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        (
            "a chunk size that overflows",
            format!("{post}{form}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{smuggled}"),
        ),
        ("a bare line feed in a chunk", format!("{post}{form}Transfer-Encoding: chunked\r\n\r\n0\n\n{smuggled}")),
    ] {
        let text = exchange(&harness, request.as_bytes()).await;
        assert!(answers(&text) <= 1, "{label}: {text}");
        assert!(!text.contains(" 200 "), "{label}: {text}");
    }
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn requests_of_one_connection_are_answered_in_their_order() {
    let harness = Harness::start().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = exchange(&harness, [get("/healthz"), get("/nowhere"), get("/healthz")].concat().as_bytes()).await;
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200"]);
}

#[tokio::test]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let setup = Setup::default().option("LIMITS__CONNECTIONS", "2").option("LIMITS__CONNECTIONS_PER_SOURCE", "9");
    let harness = setup.start().await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&harness).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        held.push(stream);
    }
    let mut third = connect(&harness).await;
    third.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // Neither is idle, and neither is slow yet: whichever ends first makes way.
    held.pop();
    let mut first = [0; 12];
    third.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_peer_that_takes_no_answer_loses_its_place() {
    let limits = Setup::default().option("LIMITS__CONNECTIONS", "1").option("LIMITS__WRITE_TIMEOUT", "1s");
    let harness = limits.start().await;
    let mut stalled = connect(&harness).await;
    let requests = b"GET /oauth2/jwks HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    // Until both ends' buffers are full of answers that nobody takes.
    let filled = async { while stalled.write_all(&requests).await.is_ok() {} };
    let _full = tokio::time::timeout(Duration::from_secs(10), filled).await;
    let mut next = connect(&harness).await;
    next.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    tokio::time::timeout(Duration::from_secs(20), next.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}
