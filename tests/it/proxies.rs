//! Whom a request came from, where a proxy may stand between: what is believed, and of whom.

use sts_server::error_kind::ErrorKind;
use sts_tests::{Credentials, Harness, Setup};

/// The source that the audit event of an exchange with these headers names.
async fn source(harness: &Harness, headers: &[(&str, &str)]) -> String {
    let request = headers.iter().fold(harness.exchange(), |request, (name, value)| request.header(name, value));
    let correlation_id = request.correlation_id();
    request.send().await.token();
    harness.events(&correlation_id).await[0].source.clone().expect("every event has its source")
}

#[tokio::test]
async fn what_anybody_says_of_its_source_is_ignored() {
    for setup in [Setup::default(), Setup::default().option("LISTEN__TRUSTED_PROXIES", "10.0.0.0/8,::1")] {
        let harness = setup.start().await;
        for name in ["x-forwarded-for", "forwarded", "x-real-ip", "true-client-ip", "cf-connecting-ip"] {
            for value in ["203.0.113.9", "for=203.0.113.9", "10.0.0.1"] {
                assert_eq!(source(&harness, &[(name, value)]).await, "127.0.0.1", "{name}: {value}");
            }
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_in_the_header_that_it_writes() {
    let harness = Setup::default().option("LISTEN__TRUSTED_PROXIES", "127.0.0.0/8").start().await;
    for (value, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 127.0.0.7", "203.0.113.9"),
        ("not an address", "127.0.0.1"),
    ] {
        let claim = ("forwarded", "for=198.51.100.7");
        assert_eq!(source(&harness, &[("x-forwarded-for", value), claim]).await, expected, "{value}");
    }
    let setup = Setup::default().option("LISTEN__TRUSTED_PROXIES", "127.0.0.1");
    let harness = setup.option("LISTEN__FORWARDED_HEADER", "Forwarded").start().await;
    let headers = [("forwarded", "for=\"[2001:db8::9]:4711\";proto=https"), ("x-forwarded-for", "198.51.100.7")];
    assert_eq!(source(&harness, &headers).await, "2001:db8::9");
}

#[tokio::test]
async fn failed_attempts_are_counted_against_the_source_behind_the_proxy() {
    let setup = Setup::default().option("LISTEN__TRUSTED_PROXIES", "127.0.0.1");
    let harness = setup.option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "2").start().await;
    let from =
        |value: &str| harness.exchange().authenticated(Credentials::None).header("x-forwarded-for", value).send();
    for _ in 0..2 {
        sts_tests::refuses("failed", &from("203.0.113.1").await, ErrorKind::Client);
    }
    sts_tests::refuses("one too many", &from("203.0.113.1").await, ErrorKind::TooMany);
    // What stands left of it is the requester's own claim, and helps nobody.
    sts_tests::refuses("in disguise", &from("203.0.113.7, 203.0.113.1").await, ErrorKind::TooMany);
    sts_tests::refuses("another source", &from("203.0.113.2").await, ErrorKind::Client);
}

#[tokio::test]
async fn nobody_escapes_its_count_by_a_header() {
    let harness = Setup::default().option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "2").start().await;
    for number in 0..4 {
        let request = harness.exchange().authenticated(Credentials::None);
        let answer = request.header("x-forwarded-for", format!("203.0.113.{number}")).send().await;
        sts_tests::refuses(
            "a new claim each",
            &answer,
            if number < 2 { ErrorKind::Client } else { ErrorKind::TooMany },
        );
    }
}
