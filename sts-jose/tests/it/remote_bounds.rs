//! What a fetch refuses: too much, too slow, elsewhere, not keys, another issuer's discovery.

use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::{
    Algorithm, FetchError, KeyLookupError, KeySetError, KeySource, Location, ManualClock, RemoteConfig, RemoteKeySet,
    SigningKey,
};

use crate::remote::{config, is_unavailable, rig, rig_within};
use crate::server::{Reply, Request, Server};
use crate::support::jwks;

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::new(1_000_000, 0).unwrap())
}

fn discovery(server: &Server, issuer: String) -> RemoteConfig {
    RemoteConfig { issuer, location: Location::Discovery, ..config(server, &clock()) }
}

fn many_keys(count: usize) -> Vec<u8> {
    let keys: Vec<Value> = (0..count).map(|n| json!({ "kty": "RSA", "kid": n.to_string() })).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

fn padded(size: usize) -> Vec<u8> {
    let mut body = jwks(&[&SigningKey::generate(Algorithm::Es256).unwrap()]);
    body.resize(size, b' ');
    body
}

#[tokio::test]
async fn hostile_answers_are_bounded_and_old_keys_stay() {
    let elsewhere = Server::serving(padded(1_000));
    let target = elsewhere.base.clone();
    let html = b"<html><body>Sign in</body></html>".to_vec();
    type Expected = fn(&FetchError) -> bool;
    type Handler = Box<dyn Fn(&Request) -> Reply + Send>;
    let body = |status, body: Vec<u8>| -> Handler { Box::new(move |_| Reply::Body(status, body.clone())) };
    let rows: Vec<(&str, Handler, Expected)> = vec![
        ("10 MB", body(200, padded(10 << 20)), |e| matches!(e.cause(), FetchError::TooLarge(_))),
        ("one byte too long", body(200, padded((512 << 10) + 1)), |e| matches!(e.cause(), FetchError::TooLarge(_))),
        ("100k keys", body(200, many_keys(100_000)), |e| matches!(e.cause(), FetchError::TooLarge(_))),
        ("endless", Box::new(|_| Reply::Endless), |e| matches!(e.cause(), FetchError::TooLarge(_))),
        ("redirect", Box::new(move |_| Reply::Redirect(target.clone())), |e| {
            matches!(e.cause(), FetchError::Status { status: 302, .. })
        }),
        ("500", body(500, padded(1_000)), |e| matches!(e.cause(), FetchError::Status { status: 500, .. })),
        ("404", body(404, padded(1_000)), |e| matches!(e.cause(), FetchError::Status { status: 404, .. })),
        ("204", body(204, Vec::new()), |e| matches!(e.cause(), FetchError::Status { status: 204, .. })),
        ("html", body(200, html), |e| matches!(e.cause(), FetchError::KeySet(KeySetError::Json(_)))),
        ("empty", body(200, Vec::new()), |e| matches!(e.cause(), FetchError::KeySet(KeySetError::Json(_)))),
        ("no set", body(200, b"{}".to_vec()), |e| matches!(e.cause(), FetchError::KeySet(KeySetError::KeysNotAnArray))),
    ];
    let rig = rig();
    assert!(rig.known().await);
    for (name, handler, expected) in rows {
        rig.server.answer(handler);
        rig.clock.advance(Duration::from_secs(31));
        match rig.find("unknown").await {
            Err(KeyLookupError::Unavailable(error)) => assert!(expected(&error), "{name}: {error:?}"),
            other => panic!("{name}: {other:?}"),
        }
        assert!(rig.known().await, "{name}");
    }
    rig.recover();
    rig.remote.refresh().await.unwrap();
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_in_time_and_old_keys_stay() {
    let rig = rig_within(Duration::from_millis(500));
    // However slow this machine is, the first load gets through in the end.
    while !rig.known().await {
        rig.clock.advance(Duration::from_secs(1));
    }
    rig.server.answer(|_| Reply::Stall);
    match rig.find("unknown").await {
        Err(KeyLookupError::Unavailable(error)) => assert!(matches!(error.cause(), FetchError::TimedOut), "{error:?}"),
        other => panic!("{other:?}"),
    }
    assert!(rig.known().await);
}

#[tokio::test]
async fn the_longest_answer_is_read() {
    let server = Server::serving(padded(512 << 10));
    RemoteKeySet::new(config(&server, &clock())).refresh().await.unwrap();
}

#[tokio::test]
async fn nobody_listening_is_an_outage() {
    let server = Server::serving(Vec::new());
    let mut config = config(&server, &clock());
    config.location = Location::JwksUri("http://127.0.0.1:1/jwks".parse().unwrap());
    let source = KeySource::Remote(RemoteKeySet::new(config));
    let answer = source.candidates(Some("a"), Algorithm::Es256).await;
    assert!(is_unavailable(&answer));
    let Err(KeyLookupError::Unavailable(error)) = answer else { panic!() };
    assert!(matches!(error.cause(), FetchError::Http(_)));
    assert!(source.health().failing);
}

#[tokio::test]
async fn a_location_that_is_not_https_is_not_fetched() {
    let server = Server::serving(Vec::new());
    for url in ["http://idp.example/jwks", "ftp://127.0.0.1/jwks", "file:///etc/passwd"] {
        let mut config = config(&server, &clock());
        config.location = Location::JwksUri(url.parse().unwrap());
        let error = RemoteKeySet::new(config).refresh().await.unwrap_err();
        assert!(matches!(error.cause(), FetchError::NotHttps | FetchError::BadUrl(_)), "{url}: {error:?}");
    }
}

/// Answers discovery at `path` with `document`, and `/keys` with a key set.
fn issuer_server(path: &'static str, document: impl Fn(&str) -> Value + Send + 'static) -> Server {
    let keys = padded(1_000);
    let server = Server::start(|_| Reply::Body(404, Vec::new()));
    let base = server.base.clone();
    server.answer(move |request| match request.path.as_str() {
        "/keys" => Reply::Body(200, keys.clone()),
        other if other == path => Reply::Body(200, document(&base).to_string().into_bytes()),
        _ => Reply::Body(404, Vec::new()),
    });
    server
}

#[tokio::test]
async fn discovery_finds_the_keys_at_both_well_known_places() {
    let rows = [
        ("", "/.well-known/openid-configuration"),
        ("/", "/.well-known/openid-configuration"),
        ("/realms/shop", "/realms/shop/.well-known/openid-configuration"),
        ("/realms/shop/", "/realms/shop/.well-known/openid-configuration"),
        ("", "/.well-known/oauth-authorization-server"),
        ("/realms/shop", "/.well-known/oauth-authorization-server/realms/shop"),
    ];
    for (issuer_path, well_known) in rows {
        let document =
            move |base: &str| json!({ "issuer": format!("{base}{issuer_path}"), "jwks_uri": format!("{base}/keys") });
        let server = issuer_server(well_known, document);
        let issuer = format!("{}{issuer_path}", server.base);
        RemoteKeySet::new(discovery(&server, issuer)).refresh().await.unwrap();
        let paths = server.paths();
        assert!(paths.contains(&well_known.to_owned()) && paths.last().unwrap() == "/keys", "{paths:?}");
    }
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_refused() {
    type Rewrite = fn(&str) -> Value;
    let rows: [Rewrite; 8] = [
        |base| json!(format!("{base}/")),
        |base| json!(base.to_uppercase()),
        |base| json!(base.replace("http:", "https:")),
        |base| json!(base.replace("127.0.0.1", "localhost")),
        |base| json!(format!("{base}0")),
        |base| json!([base]),
        |_| json!(null),
        |_| json!("http://127.0.0.\u{0661}"),
    ];
    for rewrite in rows {
        let document = move |base: &str| json!({ "issuer": rewrite(base), "jwks_uri": format!("{base}/keys") });
        let server = issuer_server("/.well-known/openid-configuration", document);
        let error = RemoteKeySet::new(discovery(&server, server.base.clone())).refresh().await.unwrap_err();
        assert!(matches!(error.cause(), FetchError::NotDiscovered { .. }), "{error:?}");
        assert!(!server.paths().contains(&"/keys".to_owned()));
    }
}

#[tokio::test]
async fn a_discovered_jwks_uri_that_is_no_safe_url_is_not_fetched() {
    let rows = [
        (json!(null), "missing"),
        (json!(1), "missing"),
        (json!("keys"), "url"),
        (json!("http://idp.example/keys"), "https"),
        (json!("file:///etc/passwd"), "url"),
        (json!("https://user:pass@idp.example/keys"), "url"),
    ];
    for (jwks_uri, kind) in rows {
        let document = move |base: &str| json!({ "issuer": base, "jwks_uri": jwks_uri });
        let server = issuer_server("/.well-known/openid-configuration", document);
        let error = RemoteKeySet::new(discovery(&server, server.base.clone())).refresh().await.unwrap_err();
        let expected = match kind {
            "missing" => matches!(error.cause(), FetchError::NotDiscovered { .. }),
            "https" => matches!(error.cause(), FetchError::NotHttps),
            _ => matches!(error.cause(), FetchError::BadUrl(_)),
        };
        assert!(expected, "{kind}: {error:?}");
    }
}

#[tokio::test]
async fn discovery_that_redirects_or_lies_twice_is_refused() {
    let server = Server::start(|_| Reply::Redirect("/elsewhere".to_owned()));
    let error = RemoteKeySet::new(discovery(&server, server.base.clone())).refresh().await.unwrap_err();
    assert_eq!(error.status(), Some(302));
    let places = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];
    assert_eq!(server.paths(), places);
    assert!(error.to_string().contains("/elsewhere"), "{error}");
    server.answer(|_| Reply::Body(200, br#"{"issuer":"a","issuer":"b"}"#.to_vec()));
    let error = RemoteKeySet::new(discovery(&server, server.base.clone())).refresh().await.unwrap_err();
    let FetchError::NotDiscovered { tried, .. } = &*error else { panic!("{error:?}") };
    assert!(tried.iter().all(|error| matches!(error.cause(), FetchError::Discovery(_))), "{error:?}");
}

#[tokio::test]
async fn an_issuer_that_is_no_url_cannot_be_discovered() {
    let server = Server::serving(Vec::new());
    for issuer in ["shop", "", "https://idp.example?x=1", "https://idp.example#x", "urn:shop", "http://idp.example"] {
        let error = RemoteKeySet::new(discovery(&server, issuer.to_owned())).refresh().await.unwrap_err();
        assert!(matches!(error.cause(), FetchError::BadUrl(_) | FetchError::NotHttps), "{issuer}: {error:?}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_bearer_token_is_read_anew_and_sent_to_discovery_and_keys_only() {
    let document = |base: &str| json!({ "issuer": base, "jwks_uri": format!("{base}/keys") });
    let server = issuer_server("/.well-known/openid-configuration", document);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"first\n").unwrap();
    let mut config = discovery(&server, server.base.clone());
    config.bearer_token_file = Some(file.path().to_owned());
    let remote = RemoteKeySet::new(config);
    remote.refresh().await.unwrap();
    std::fs::write(file.path(), "second").unwrap();
    remote.refresh().await.unwrap();
    let sent: Vec<Option<String>> = server.requests().into_iter().map(|request| request.authorization).collect();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    assert_eq!(sent, [bearer("first"), bearer("first"), bearer("second"), bearer("second")]);

    let elsewhere = Server::serving(Vec::new());
    let target = elsewhere.base.clone();
    server.answer(move |_| Reply::Redirect(target.clone()));
    remote.refresh().await.unwrap_err();
    assert!(elsewhere.requests().is_empty());
    assert!(!format!("{remote:?}").contains("second"));
}

#[tokio::test]
async fn the_bearer_token_is_not_sent_to_another_origin_that_discovery_names() {
    let elsewhere = Server::serving(padded(1_000));
    let target = format!("{}/keys", elsewhere.base);
    let document = move |base: &str| json!({ "issuer": base, "jwks_uri": target });
    let server = issuer_server("/.well-known/openid-configuration", document);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"secret").unwrap();
    let mut config = discovery(&server, server.base.clone());
    config.bearer_token_file = Some(file.path().to_owned());
    RemoteKeySet::new(config.clone()).refresh().await.unwrap();
    assert_eq!(server.requests().remove(0).authorization.as_deref(), Some("Bearer secret"));
    assert_eq!(elsewhere.requests().remove(0).authorization, None, "another port is another origin");

    elsewhere.answer(|_| Reply::Body(401, Vec::new()));
    let error = RemoteKeySet::new(config.clone()).refresh().await.unwrap_err();
    assert!(error.cause().to_string().contains("only if jwks_uri is configured"), "{error:?}");

    elsewhere.answer(|_| Reply::Body(200, padded(1_000)));
    config.location = Location::JwksUri(format!("{}/keys", elsewhere.base).parse().unwrap());
    RemoteKeySet::new(config).refresh().await.unwrap();
    let sent = elsewhere.requests().pop().unwrap().authorization;
    assert_eq!(sent.as_deref(), Some("Bearer secret"), "a configured jwks_uri gets it");
}

#[tokio::test]
async fn a_bearer_token_file_without_a_token_stops_the_fetch() {
    let server = Server::serving(padded(1_000));
    let file = tempfile::NamedTempFile::new().unwrap();
    let with_file = |path: &std::path::Path| {
        let config = RemoteConfig { bearer_token_file: Some(path.to_owned()), ..config(&server, &clock()) };
        RemoteKeySet::new(config)
    };
    for content in [&b""[..], b" \n", b"a\nb", b"\xff"] {
        std::fs::write(file.path(), content).unwrap();
        let error = with_file(file.path()).refresh().await.unwrap_err();
        assert!(matches!(error.cause(), FetchError::BearerToken(_)), "{error:?}");
    }
    std::fs::write(file.path(), [b'a'; 17 * 1024]).unwrap();
    for path in [file.path(), std::path::Path::new("/nowhere/token"), std::path::Path::new("/dev/zero")] {
        let error = with_file(path).refresh().await.unwrap_err();
        assert!(matches!(error.cause(), FetchError::BearerTokenFile(_)), "{error:?}");
    }
    assert!(server.requests().is_empty());
}
