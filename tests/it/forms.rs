//! Bodies that are no form of RFC 6749 section 3.2 (docs/threats.md, HTTP and forms).

use sts_server::error_kind::ErrorKind;
use sts_tests::{FormRequest, Harness};

const POSTS: [&str; 3] = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"];

/// A valid request with something after its body.
fn plus(harness: &Harness, rest: &[u8]) -> FormRequest {
    let request = harness.exchange();
    let body = [request.encoded().as_slice(), rest].concat();
    request.body(body)
}

#[tokio::test]
async fn parameters_stand_in_the_body_and_never_in_the_uri() {
    let harness = Harness::start().await;
    for path in POSTS {
        for query in ["?", "?grant_type=client_credentials", "?x=1", "?client_id=coordinator&client_secret=x"] {
            let request = harness.exchange().path(&format!("{path}{query}"));
            harness.assert_refused_unrecorded(query, request, ErrorKind::Request).await;
        }
    }
    let without_body = harness.exchange();
    let query = String::from_utf8(without_body.encoded()).unwrap();
    let request = without_body.path(&format!("/oauth2/token?{query}")).body("");
    // The token stands in the URI now, where clients of this harness do not log it either.
    harness.assert_refused_unrecorded("all of it", request, ErrorKind::Request).await;
}

#[tokio::test]
async fn only_a_form_in_utf_8_is_read() {
    let harness = Harness::start().await;
    for accepted in [
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/x-www-form-urlencoded;charset=UTF-8",
        "Application/X-Www-Form-Urlencoded; Charset=\"utf-8\"",
    ] {
        harness.exchange().content_type(Some(accepted)).send().await.token();
    }
    let cases = [
        None,
        Some(""),
        Some("application/json"),
        Some("text/plain"),
        Some("multipart/form-data; boundary=x"),
        Some("application/x-www-form-urlencoded; charset=utf-16"),
        Some("application/x-www-form-urlencoded, application/json"),
        Some("application/x-www-form-urlencoded; x=y"),
        Some("application/x-www-form-urlencodedx"),
    ];
    for path in POSTS {
        for content_type in cases {
            let request = harness.exchange().path(path).content_type(content_type);
            harness.assert_refused_unrecorded(content_type.unwrap_or("none"), request, ErrorKind::Request).await;
        }
    }
    let two = harness.exchange().another_header("content-type", "application/x-www-form-urlencoded");
    harness.assert_refused_unrecorded("two", two, ErrorKind::Request).await;
    let compressed = harness.exchange().header("content-encoding", "gzip");
    harness.assert_refused_unrecorded("compressed", compressed, ErrorKind::Request).await;
    let json = harness.exchange().body(r#"{"grant_type":"client_credentials"}"#);
    harness.assert_refused("JSON in a form's name", json, ErrorKind::Request, "parameter_missing").await;
}

#[tokio::test]
async fn a_body_that_is_no_form_is_refused() {
    let harness = Harness::start().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a repeat", b"&scope=a&scope=a".to_vec()),
        ("a repeat, empty", b"&scope=&scope=".to_vec()),
        ("a repeat, encoded", b"&scope=a&sc%6Fpe=b".to_vec()),
        ("a repeat of an unknown one", b"&x=1&x=2".to_vec()),
        ("a repeat of the grant", b"&grant_type=client_credentials".to_vec()),
        ("a repeat of the subject token", b"&subject_token=x".to_vec()),
        ("half a percent-encoding", b"&x=%4".to_vec()),
        ("a percent alone", b"&x=%".to_vec()),
        ("no digits", b"&x=%zz".to_vec()),
        ("a sign in them", b"&x=%+1".to_vec()),
        ("a NUL", b"&x=a\0b".to_vec()),
        ("an encoded NUL", b"&x=a%00b".to_vec()),
        ("a NUL in a name", b"&x%00=1".to_vec()),
        ("raw bytes that are not UTF-8", b"&x=\xff\xfe".to_vec()),
        ("encoded bytes that are not UTF-8", b"&x=%ff%fe".to_vec()),
        ("an overlong slash", b"&x=%c0%af".to_vec()),
        ("a surrogate", b"&x=%ed%a0%80".to_vec()),
        ("a name that is not UTF-8", b"&%ff=1".to_vec()),
        ("a thousand parameters", (0..1000).flat_map(|n| format!("&x{n}=1").into_bytes()).collect()),
    ];
    let cases = cases.into_iter().map(|(label, rest)| (label, plus(&harness, &rest), ErrorKind::Request));
    harness.assert_each_refused_unrecorded(|| harness.exchange(), cases.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn what_is_unusual_and_legal_is_read() {
    let harness = Harness::start().await;
    for (label, rest) in [
        ("an unknown parameter", b"&unknown=%F0%9F%A6%80".as_slice()),
        ("empty pairs", b"&&&"),
        ("a name without value", b"&x"),
        ("an empty parameter", b"&scope=&requested_token_type="),
        ("an empty name", b"&=1"),
        ("several audiences of one agent", b"&audience=inventory-agent"),
        ("several resources of one agent", b"&resource=https%3A%2F%2Finventory.shop.example%2F&resource="),
        ("lower-case digits", b"&scope=stock%3aread"),
    ] {
        let answer = plus(&harness, rest).send().await;
        assert_eq!(answer.status, 200, "{label}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_empty_body_is_an_unauthenticated_request() {
    let harness = Harness::start().await;
    for path in POSTS {
        let request = harness.exchange().authenticated(sts_tests::Credentials::None).path(path).body("");
        harness.assert_refused_unrecorded(path, request, ErrorKind::Client).await;
    }
}

#[tokio::test]
async fn a_body_of_64_kib_is_the_longest() {
    let harness = Harness::start().await;
    let request = || harness.exchange();
    let padded = |bytes: usize| {
        let request = request();
        let mut body = request.encoded();
        body.extend_from_slice(b"&x=");
        body.resize(bytes, b'a');
        request.body(body)
    };
    padded(64 * 1024).send().await.token();
    for path in POSTS {
        for bytes in [64 * 1024 + 1, 1024 * 1024] {
            let answer = padded(bytes).path(path).send().await;
            assert_eq!((answer.status, answer.error()), (413, "invalid_request"), "{bytes}");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(!answer.header("x-correlation-id").is_empty());
        }
    }
    request().send().await.token();
}
