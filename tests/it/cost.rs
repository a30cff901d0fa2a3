//! Bounds are on what a request costs, and are asked before the cost is paid (docs/threats.md, Cost).

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use http::HeaderMap;
use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_server::telemetry::Stopwatch;
use sts_tests::faulty_store::StoreFault;
use sts_tests::{Credentials, FormRequest, Harness, Setup, refuses};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::limits::{faulty, own_token};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &str = "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";

async fn connect(harness: &Harness) -> TcpStream {
    TcpStream::connect(harness.server.public()).await.unwrap()
}

/// Sends these bytes, as far as they are taken.
async fn begin(harness: &Harness, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = connect(harness).await;
    let _written = stream.write_all(bytes.as_ref()).await;
    stream
}

/// The status of the next answer; none if the connection is closed.
async fn status(stream: &mut TcpStream) -> Option<String> {
    let mut line = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut line)).await.expect("an answer in time");
    read.is_ok().then(|| String::from_utf8_lossy(&line[9..]).into_owned())
}

/// What comes until the server closes.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _closed_or_reset = read.expect("the server closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An exchange in the chunked coding, in pieces of so many bytes.
fn chunked(request: FormRequest, size: usize) -> Vec<u8> {
    let body = request.encoded();
    let mut bytes = format!("{POST}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    [bytes.as_slice(), b"0\r\n\r\n"].concat()
}

fn in_the_body(harness: &Harness) -> FormRequest {
    harness.exchange().authenticated(Credentials::Post("coordinator".to_owned(), harness.secret("coordinator")))
}

#[tokio::test]
async fn one_byte_chunks_are_refused_before_they_cost_memory() {
    let harness = Harness::start().await;
    for endless in
        ["1\r\nx\r\n".repeat(65), "1;x=yyyyyyyy\r\nx\r\n".repeat(65), "3f\r\n".to_owned() + &"x".repeat(63) + "\r\n"]
    {
        // The body does not end: the answer comes all the same.
        let pieces = if endless.starts_with('3') { endless.repeat(65) } else { endless };
        let mut stream = begin(&harness, format!("{POST}Transfer-Encoding: chunked\r\n\r\n{pieces}")).await;
        let answer = until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid_request"), "{answer}");
    }
    let pieces = ("40\r\n".to_owned() + &"x".repeat(64) + "\r\n").repeat(1025);
    let mut stream = begin(&harness, format!("{POST}Transfer-Encoding: chunked\r\n\r\n{pieces}")).await;
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(harness.token_count().await, 0);
}

#[tokio::test]
async fn a_body_in_pieces_of_a_fair_size_is_read() {
    let harness = Harness::start().await;
    let request = in_the_body(&harness);
    let length = request.encoded().len();
    for size in [length, length.div_ceil(64), 64, 100] {
        let mut stream = begin(&harness, chunked(request.clone(), size)).await;
        assert_eq!(status(&mut stream).await.as_deref(), Some("200"), "pieces of {size} of {length} bytes");
    }
}

#[tokio::test]
async fn a_source_beyond_its_rate_is_refused_before_its_body_is_read() {
    let harness = Setup::default().option("LIMITS__REQUESTS_PER_MINUTE_PER_SOURCE", "1").start().await;
    harness.first_hop().await;
    let mut stream = begin(&harness, format!("{POST}Content-Length: 60000\r\n\r\n")).await;
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("slow_down"), "{answer}");
}

#[tokio::test]
async fn an_answer_to_a_request_that_is_not_read_arrives_whole() {
    let harness = Setup::default().option("LIMITS__REQUESTS_PER_MINUTE_PER_SOURCE", "1").start().await;
    harness.first_hop().await;
    for _ in 0..20 {
        let answer = harness.exchange().set("scope", "x".repeat(60_000)).send().await;
        refuses("its source has asked before", &answer, ErrorKind::TooMany);
    }
}

/// A server with memory for one long body.
fn one_long_body() -> Setup {
    let setup = Setup::default().operators().option("LIMITS__CONNECTIONS", "16");
    setup.option("LIMITS__REQUEST_MEMORY", "1984KiB").option("LIMITS__BODY_TIMEOUT", "20s")
}

#[tokio::test]
async fn long_bodies_beyond_the_memory_are_turned_away_and_short_ones_are_served() {
    let harness = one_long_body().start().await;
    let long = || harness.exchange().set("scope", "x".repeat(60_000));
    assert_eq!(long().send().await.status, 400, "the scope is not of the delegation");
    let body = "x".repeat(60_000);
    for begun in [
        format!("{POST}Content-Length: 65000\r\n\r\n"),
        format!("{POST}Transfer-Encoding: chunked\r\n\r\nffff\r\n{body}"),
    ] {
        let held = begin(&harness, begun).await;
        let turned_away = async {
            loop {
                let answer = long().send().await;
                if answer.status == 429 {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, turned_away).await.expect("the other body holds the memory");
        refuses("no memory", &answer, ErrorKind::TooMany);
        assert_eq!(answer.header("retry-after"), "1");
        let entry = json!({ "id": "new", "scopes": ["x".repeat(20_000)] });
        let answer = harness.admin("PUT", "/agents/new").by("admin").if_new().json(&entry).send().await;
        assert_eq!((answer.status, answer.json["reason"].as_str()), (429, Some("request_memory")), "{}", answer.text());
        harness.exchange().send().await.token();
        drop(held);
        let again = async { while long().send().await.status == 429 {} };
        tokio::time::timeout(PATIENCE, again).await.expect("the memory is given back");
    }
    let metrics = harness.get_admin("/metrics").await.text();
    assert!(metrics.contains(r#"outcome="limited",reason="request_memory""#), "{metrics}");
}

#[tokio::test]
async fn a_head_has_at_most_16_kib_and_64_headers() {
    let harness = Harness::start().await;
    let head = |lines: String| format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let lines = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    for (label, head, expected) in [
        ("15 KiB", head(format!("X: {}\r\n", "y".repeat(15 * 1024))), "200"),
        ("17 KiB", head(format!("X: {}\r\n", "y".repeat(17 * 1024))), "431"),
        ("64 headers", head(lines(63)), "200"),
        ("65 headers", head(lines(64)), "431"),
    ] {
        let mut stream = begin(&harness, head).await;
        assert_eq!(status(&mut stream).await.as_deref(), Some(expected), "{label}");
    }
}

#[tokio::test]
async fn rfc_9112_section_3_2_a_request_names_one_host() {
    let harness = Harness::start().await;
    for (host, version, expected) in [
        ("Host: sts.example.com\r\n", "1.1", "200"),
        ("Host: [::1]:8080\r\n", "1.1", "200"),
        ("", "1.0", "200"),
        ("", "1.1", "400"),
        ("Host: a\r\nHost: a\r\n", "1.1", "400"),
        ("Host: a\r\nHost: b\r\n", "1.0", "400"),
        ("Host: a b\r\n", "1.1", "400"),
        ("Host: a/b\r\n", "1.1", "400"),
        ("Host: user@a\r\n", "1.1", "400"),
        ("Host: a:b:c\r\n", "1.1", "400"),
        ("Host: \r\n", "1.1", "400"),
    ] {
        for address in [harness.server.public(), harness.server.admin()] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET /healthz HTTP/{version}\r\n{host}\r\n").as_bytes()).await.unwrap();
            assert_eq!(status(&mut stream).await.as_deref(), Some(expected), "{host:?} {version}");
        }
    }
}

/// A connection that has been served and stays open.
async fn idle(harness: &Harness) -> TcpStream {
    let mut stream = begin(harness, GET).await;
    let mut answer = vec![0; 1024];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.expect("an answer").unwrap();
    assert!(answer[..read].ends_with(b"ok\n"), "{}", String::from_utf8_lossy(&answer[..read]));
    stream
}

/// True if the connection is served still.
async fn is_served(stream: &mut TcpStream) -> bool {
    let _written = stream.write_all(GET).await;
    status(stream).await.as_deref() == Some("200")
}

#[tokio::test]
async fn the_longest_idle_connection_of_a_source_makes_way_for_its_next_one() {
    let harness = Setup::default().option("LIMITS__CONNECTIONS_PER_SOURCE", "2").start().await;
    let (mut first, mut second) = (idle(&harness).await, idle(&harness).await);
    let mut third = idle(&harness).await;
    assert_eq!(until_closed(&mut first).await, "", "the first is closed");
    assert!(is_served(&mut second).await && is_served(&mut third).await);
}

#[tokio::test]
async fn the_longest_idle_connection_of_all_makes_way_for_the_next_one() {
    let setup = Setup::default().option("LIMITS__CONNECTIONS", "2").option("LIMITS__CONNECTIONS_PER_SOURCE", "9");
    let harness = setup.start().await;
    let (mut first, mut second) = (idle(&harness).await, idle(&harness).await);
    let mut third = idle(&harness).await;
    assert_eq!(until_closed(&mut first).await, "", "the first is closed");
    assert!(is_served(&mut second).await && is_served(&mut third).await);
    assert_eq!(harness.get_admin("/readyz").await.status, 200, "there is a place for everybody");
}

#[tokio::test]
async fn a_peer_that_is_slow_makes_way_for_the_next_connection() {
    let setup = Setup::default().option("LIMITS__CONNECTIONS", "2").option("LIMITS__CONNECTIONS_PER_SOURCE", "9");
    let harness = setup.start().await;
    let half_a_head = begin(&harness, "POST /oauth2/token HTTP/1.1\r\nHost:").await;
    let half_a_body = begin(&harness, format!("{POST}Content-Length: 100\r\n\r\ngrant_type=")).await;
    let (mut answers, mut kept) = (Vec::new(), Vec::new());
    for mut slow in [half_a_head, half_a_body] {
        let mut next = begin(&harness, GET).await;
        assert_eq!(status(&mut next).await.as_deref(), Some("200"));
        answers.push(until_closed(&mut slow).await);
        // Its place is taken by one that is as slow, and younger.
        next.write_all(b"GET /healthz HT").await.unwrap();
        kept.push(next);
    }
    assert_eq!(answers[0], "", "half a head is no request");
    assert!(answers[1].starts_with("HTTP/1.1 408 "), "half a body is answered: {}", answers[1]);
}

#[tokio::test]
async fn a_trusted_proxy_has_as_many_connections_as_it_opens() {
    let setup = Setup::default().option("LIMITS__CONNECTIONS_PER_SOURCE", "1");
    let harness = setup.option("LISTEN__TRUSTED_PROXIES", "127.0.0.1").start().await;
    let mut streams = [idle(&harness).await, idle(&harness).await, idle(&harness).await];
    for stream in &mut streams {
        assert!(is_served(stream).await);
    }
}

#[tokio::test]
async fn a_connection_serves_ten_thousand_requests() {
    let harness = Harness::start().await;
    let (mut reader, mut writer) = connect(&harness).await.into_split();
    let sent = tokio::spawn(async move {
        let _closed = writer.write_all(&GET.repeat(10_001)).await;
        writer
    });
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut bytes)).await;
    let _closed_or_reset = read.expect("the server closes the connection");
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("HTTP/1.1 200 ").count(), 10_000);
    assert_eq!(text.matches("connection: close").count(), 1);
    drop(sent.await);
}

#[tokio::test]
async fn readiness_costs_no_query() {
    let harness = Harness::start().await;
    let (node, store) = faulty(&harness).await;
    assert_eq!(node.get("/readyz").await.status, 200);
    store.fail(Some(StoreFault::Everything));
    assert_eq!(node.get("/readyz").await.status, 200, "the database answered a moment ago");
    harness.advance(6);
    let answer = node.get("/readyz").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "it has been silent for too long");
}

#[tokio::test]
async fn a_flood_of_requests_that_cannot_be_served_is_one_line_of_the_log() {
    let harness = Harness::start().await;
    let (node, store) = faulty(&harness).await;
    store.fail(Some(StoreFault::Record));
    for _ in 0..50 {
        let answer = node.post("/oauth2/token", &own_token(&harness), &HeaderMap::new()).await;
        refuses("nothing can be recorded", &answer, ErrorKind::Unavailable);
    }
    let log = harness.own_log();
    // One line in ten seconds, and fifty requests take less than twenty.
    let lines = log.matches("a request could not be served").count();
    assert!((1..=2).contains(&lines), "{log}");
}

fn wrong(agent: &str) -> Credentials {
    Credentials::Basic(agent.to_owned(), format!("not-the-secret-of-{agent}"))
}

#[tokio::test]
async fn a_source_past_its_failed_attempts_gets_one_check_a_second_whatever_it_sends() {
    let setup = Setup::default().operators().option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "2");
    let harness = setup.start().await;
    for _ in 0..2 {
        refuses("a guess", &harness.exchange().authenticated(wrong("coordinator")).send().await, ErrorKind::Client);
    }
    let begun = Stopwatch::start();
    let mut served = 0;
    for _ in 0..20 {
        let answer = harness.exchange().send().await;
        if answer.status == 200 {
            served += 1;
        } else {
            refuses("it is not its turn", &answer, ErrorKind::TooMany);
        }
    }
    let turns = begun.elapsed().as_secs() + 1;
    assert!((1..=turns).contains(&served), "{served} of {turns} turns");
    let asked = async {
        loop {
            let answer = harness.admin("GET", "/keys").by("admin").send().await;
            if answer.status == 429 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.expect("operators wait for their turn too");
    assert_eq!(answer.json["reason"], "too_many_attempts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_right_before_does_not_wait_for_those_that_are_wrong() {
    let params = Params::new(64 * 1024, 6, 1, None).expect("parameters");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(b"a secret that a person chose").expect("a hash").to_string();
    let harness = Setup::default()
        .registry_with(move |registry, _| {
            registry.add(&format!("[[agents]]\nid = 'person'\nauth = {{ client_secret_hash = '{hash}' }}\n"));
        })
        .start()
        .await;
    let right = Credentials::Basic("person".to_owned(), "a secret that a person chose".to_owned());
    let asks = || harness.introspect("coordinator", "x").authenticated(right.clone()).send();
    assert_eq!(asks().await.status, 200);
    let mut guesses = JoinSet::new();
    for _ in 0..60 {
        guesses.spawn(harness.exchange().authenticated(wrong("person")).send());
    }
    for _ in 0..10 {
        assert_eq!(asks().await.status, 200);
    }
    let turned_away = guesses.join_all().await.iter().filter(|answer| answer.status == 429).count();
    assert!(turned_away > 0, "60 guesses are too many");
}

#[tokio::test]
async fn requests_that_a_change_of_the_registry_overtakes_share_one_read_of_it() {
    const REQUESTS: usize = 64;
    let harness = Setup::default().start().await;
    let (node, store) = faulty(&harness).await;
    let (node, form) = (Arc::new(node), own_token(&harness));
    let registry = harness.store.state().await.expect("a database").versions.registry;
    harness.store.change_entries(registry, &[], &[]).await.expect("a database");
    let before = store.state_reads();
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS {
        let (node, form) = (Arc::clone(&node), form.clone());
        requests.spawn(async move { node.post("/oauth2/token", &form, &HeaderMap::new()).await.status });
    }
    let statuses = tokio::time::timeout(PATIENCE, requests.join_all()).await.expect("all are answered");
    assert_eq!(statuses, vec![200; REQUESTS]);
    let reads = store.state_reads() - before;
    assert!((1..REQUESTS / 4).contains(&reads), "{reads} reads for {REQUESTS} requests");
}
