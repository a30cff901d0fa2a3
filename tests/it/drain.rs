//! How the program ends: readiness goes first, what is under way is finished, and a second signal waits for nothing.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sts_jose::UnverifiedToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cli::{SECRET, Shop};
use crate::process::Serving;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 8;

/// Asks again and again until it is so.
async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asked).await.is_ok(), "{what}");
}

async fn until_logged(server: &Serving, words: &str) {
    until(words, async || server.log().contains(words)).await;
}

fn address(shop: &Shop) -> String {
    shop.folder.issuer().strip_prefix("http://").expect("an http URL").to_owned()
}

/// An exchange of the coordinator, byte for byte, and where its body begins.
fn request(shop: &Shop) -> (Vec<u8>, usize) {
    let token = shop.user_token();
    let body = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token={token}\
         &subject_token_type=urn:ietf:params:oauth:token-type:jwt&audience=inventory"
    );
    let credentials = STANDARD.encode(format!("coordinator:{SECRET}"));
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let at = head.len();
    ((head + &body).into_bytes(), at)
}

/// A connection on which all but the end of an exchange has been sent; the rest of it.
async fn begun(shop: &Shop) -> (TcpStream, Vec<u8>) {
    let (bytes, body_at) = request(shop);
    let mut stream = TcpStream::connect(address(shop)).await.expect("a connection");
    stream.write_all(&bytes[..body_at + 10]).await.expect("it is read");
    (stream, bytes[body_at + 10..].to_vec())
}

#[tokio::test]
async fn a_request_under_way_is_answered_whole() {
    let (shop, server) = Shop::serving().await;
    let (mut stream, rest) = begun(&shop).await;
    // Whoever is served after it shows that it has been accepted.
    shop.token().await;
    server.terminate().await;
    until("no more connections", async || TcpStream::connect(address(&shop)).await.is_err()).await;
    stream.write_all(&rest).await.expect("it is read");
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("in time").expect("it is not cut off");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("whole JSON");
    assert!(body["access_token"].is_string(), "{body}");
    assert_eq!(server.ended().await, Some(0));
}

#[tokio::test]
async fn readiness_goes_before_the_listeners() {
    let shop = Shop::open();
    let server = shop.folder.serve_with(&[("LISTEN__DRAIN_DELAY", "3s")]).await;
    let readiness = async |base: &str| {
        let answer = reqwest::Client::new().get(format!("{base}/readyz")).send().await;
        answer.map(|answer| answer.status().as_u16())
    };
    assert_eq!(readiness(shop.folder.issuer()).await.ok(), Some(200));
    server.terminate().await;
    until("readiness is off", async || readiness(shop.folder.issuer()).await.expect("it still answers") == 503).await;
    assert_eq!(readiness(server.admin()).await.ok(), Some(503));
    // Not ready, and at work as before, but for telling everybody to connect elsewhere next time.
    shop.token().await;
    let answer = shop.http.get(format!("{}/healthz", shop.folder.issuer())).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["connection"]), (200, &"close".parse().unwrap()));
    assert!(!server.log().contains("finishing the requests in progress"), "it is not ending yet:\n{}", server.log());
    assert_eq!(server.ended().await, Some(0));
    assert!(readiness(shop.folder.issuer()).await.is_err());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for (option, words) in [
        ("LISTEN__DRAIN_DELAY", "serving for"),
        // A request that does not end holds the second phase open.
        ("LISTEN__DRAIN_TIMEOUT", "finishing the requests in progress"),
    ] {
        let shop = Shop::open();
        let server = shop
            .folder
            .serve_with(&[(option, "10m"), ("LIMITS__REQUEST_TIMEOUT", "10m"), ("LIMITS__BODY_TIMEOUT", "9m")])
            .await;
        let (_stream, _rest) = begun(&shop).await;
        shop.token().await;
        server.terminate().await;
        until_logged(&server, words).await;
        server.terminate().await;
        assert_eq!(server.ended().await, Some(0), "{option}");
    }
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off_in_the_end() {
    let shop = Shop::open();
    let options = [("LISTEN__DRAIN_TIMEOUT", "1s"), ("LIMITS__BODY_TIMEOUT", "9m"), ("LIMITS__REQUEST_TIMEOUT", "10m")];
    let server = shop.folder.serve_with(&options).await;
    let (mut stream, _rest) = begun(&shop).await;
    shop.token().await;
    assert_eq!(server.end().await, Some(0));
    let mut bytes = Vec::new();
    let _closed_or_reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    assert!(bytes.is_empty(), "an answer to half a request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_acknowledged_is_lost_and_nothing_is_cut_short() {
    let shop = Shop::open();
    let server = shop.folder.serve_with(&[("LISTEN__DRAIN_DELAY", "1s")]).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let request = String::from_utf8(request(&shop).0).expect("text");
        let request = request.replacen("Host: x\r\n", "Host: x\r\nConnection: close\r\n", 1);
        clients.spawn(ask_until_the_end(address(&shop), request.into_bytes()));
    }
    shop.token().await;
    server.terminate().await;
    let received: Vec<String> = clients.join_all().await.concat();
    assert_eq!(server.ended().await, Some(0));
    assert!(received.len() > CLIENTS, "{} tokens are no load", received.len());

    let events = shop.folder.run(&["audit", "list", "--json"]).await;
    events.ended_with(0);
    let issued: HashSet<String> =
        events.json().iter().filter_map(|event| event["jti"].as_str().map(str::to_owned)).collect();
    let lost: Vec<&String> = received.iter().filter(|jti| !issued.contains(*jti)).collect();
    assert!(lost.is_empty(), "{lost:?} of {}", received.len());
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);
}

/// A connection for each request, until none is accepted. Every connection that was accepted before is answered whole.
async fn ask_until_the_end(address: String, request: Vec<u8>) -> Vec<String> {
    let mut received = Vec::new();
    while let Ok(mut stream) = TcpStream::connect(&address).await {
        let mut answer = Vec::new();
        let asked = async {
            stream.write_all(&request).await?;
            stream.read_to_end(&mut answer).await
        };
        let asked = tokio::time::timeout(PATIENCE, asked).await.expect("in time");
        let answer = String::from_utf8(answer).expect("text");
        if asked.is_err() && answer.is_empty() {
            // The listener closed between the system's accepting and the server's: nothing was answered.
            continue;
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{asked:?}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("whole JSON");
        let token = UnverifiedToken::parse(body["access_token"].as_str().expect("a token")).expect("a JWT");
        received.push(token.claims().as_map()["jti"].as_str().expect("a name").to_owned());
    }
    received
}
