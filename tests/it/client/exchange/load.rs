//! An STS in trouble is not asked more often than its callers call.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use sts_client::{Credentials, Error, TokenFile};

use super::class;
use super::hostile::{HostileSts, exchange, json_reply, reply};

const CALLS: usize = 50;

#[tokio::test]
async fn fifty_calls_of_an_sts_in_trouble_make_about_fifty_requests() {
    let unavailable = json!({ "error": "temporarily_unavailable" });
    for (answer, expected) in [
        (json_reply(503, &unavailable), "outage: no decision is possible now"),
        (reply(429, "", ""), "overloaded: None"),
    ] {
        let sts = HostileSts::start().await;
        let (user, client) = (sts.user().await, sts.builder().build().unwrap());
        sts.answer([answer]);
        for _ in 0..CALLS {
            assert_eq!(class(&exchange(&client, &user).await), expected);
        }
        let asked = sts.count("/token");
        assert!((CALLS..=CALLS + 10).contains(&asked), "{expected}: {asked} requests");
        // Back again, calls earn further attempts anew.
        sts.answer([sts.honest()]);
        for _ in 0..CALLS {
            assert_eq!(class(&exchange(&client, &user).await), "ok");
        }
        sts.answer([reply(500, "", ""), sts.honest()]);
        assert_eq!(class(&exchange(&client, &user).await), "ok");
    }
}

#[tokio::test]
async fn retry_after_of_a_429_holds_for_all_calls_until_it_is_over() {
    let sts = HostileSts::start().await;
    let (user, client) = (sts.user().await, sts.builder().build().unwrap());
    sts.answer([reply(429, "retry-after: 40\r\n", ""), sts.honest()]);
    assert_eq!(class(&exchange(&client, &user).await), "overloaded: Some(40s)");
    for (seconds, expected) in
        [(0, "overloaded: Some(40s)"), (30, "overloaded: Some(10s)"), (9, "overloaded: Some(1s)")]
    {
        sts.clock.advance(Duration::from_secs(seconds));
        for _ in 0..CALLS {
            assert_eq!(class(&exchange(&client, &user).await), expected);
        }
    }
    assert_eq!(sts.count("/token"), 1);
    sts.clock.advance(Duration::from_secs(1));
    assert_eq!(class(&exchange(&client, &user).await), "ok");
}

#[tokio::test]
async fn a_long_retry_after_is_passed_on_whole_and_tried_every_minute() {
    let sts = HostileSts::start().await;
    let (user, client) = (sts.user().await, sts.builder().build().unwrap());
    sts.answer([reply(429, "retry-after: 3000\r\n", ""), sts.honest()]);
    assert_eq!(class(&exchange(&client, &user).await), "overloaded: Some(3000s)");
    sts.clock.advance(Duration::from_secs(59));
    assert_eq!(class(&exchange(&client, &user).await), "overloaded: Some(2941s)");
    sts.clock.advance(Duration::from_secs(1));
    assert_eq!(class(&exchange(&client, &user).await), "ok");
}

#[tokio::test]
async fn retry_after_of_an_outage_reaches_the_caller_and_keeps_no_other_call_back() {
    let sts = HostileSts::start().await;
    let (user, client) = (sts.user().await, sts.client());
    let no_database = r#"{"error":"temporarily_unavailable"}"#;
    for body in [no_database, "<html>"] {
        sts.answer([reply(503, "retry-after: 60\r\n", body), sts.honest()]);
        let error = Error::from(exchange(&client, &user).await.unwrap_err());
        let Error::Unavailable { retry_after, outage: Some(_) } = error else { panic!("{error:?}") };
        assert_eq!(retry_after, Some(Duration::from_secs(60)), "{body}");
        assert_eq!(class(&exchange(&client, &user).await), "ok", "{body}");
    }
}

#[tokio::test]
async fn a_credential_that_the_sts_does_not_know_is_not_tried_for_each_user() {
    let sts = HostileSts::start().await;
    let (user, file) = (sts.user().await, tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), "first").unwrap();
    let token = Credentials::Token(Arc::new(TokenFile::new(file.path())));
    let client = sts_client::Sts::builder(&sts.url, "coordinator", token).clock(Arc::new(sts.clock.clone()));
    let client = client.build().unwrap();
    sts.answer([json_reply(401, &json!({ "error": "invalid_client" }))]);
    for _ in 0..CALLS {
        assert_eq!(class(&exchange(&client, &user).await), "refused: invalid_client");
    }
    assert_eq!(sts.count("/token"), 1);
    sts.clock.advance(Duration::from_secs(5));
    assert_eq!(class(&exchange(&client, &user).await), "refused: invalid_client");
    assert_eq!(sts.count("/token"), 2, "tried again after a while");
    sts.answer([sts.honest()]);
    assert_eq!(class(&exchange(&client, &user).await), "refused: invalid_client");
    std::fs::write(file.path(), "second").unwrap();
    assert_eq!(class(&exchange(&client, &user).await), "ok", "another credential is tried at once");
}
