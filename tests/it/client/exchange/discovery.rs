//! Where the STS says that it wants to be asked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use sts_client::net::{Transport, TransportError};
use sts_client::{BuildError, Credentials, Sts};
use sts_jose::{KeySet, KeySource};

use super::class;
use super::hostile::{HostileSts, exchange, json_reply, reply, with};

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn metadata_that_cannot_be_used_is_a_misconfiguration() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let honest = sts.metadata();
    let rows = [
        ("another issuer", json!({ "issuer": "https://sts.example.com" })),
        ("an issuer off by a slash", json!({ "issuer": format!("{}/", sts.url) })),
        ("no issuer", json!({ "issuer": null })),
        ("no token endpoint", json!({ "token_endpoint": null })),
        ("a token endpoint of a number", json!({ "token_endpoint": 1 })),
        ("a token endpoint that is no url", json!({ "token_endpoint": "/token" })),
        ("a token endpoint over plain http", json!({ "token_endpoint": "http://sts.example.com/token" })),
        ("a token endpoint with a password", json!({ "token_endpoint": "https://a:b@sts.example.com/token" })),
        ("no keys", json!({ "jwks_uri": null })),
        ("keys over plain http", json!({ "jwks_uri": "http://sts.example.com/jwks" })),
        ("keys in a file", json!({ "jwks_uri": "file:///etc/passwd" })),
    ];
    for (name, changes) in rows {
        sts.answer_metadata([json_reply(200, &with(honest.clone(), &changes))]);
        assert_eq!(class(&exchange(&sts.client(), &user).await), "misconfigured", "{name}");
    }
    let twice = honest.to_string().replacen('{', &format!("{{\"issuer\":\"{}\",", sts.url), 1);
    let unreadable = [
        reply(200, "", twice),
        reply(200, "", "<html>"),
        reply(200, "", vec![b' '; 257 * 1024]),
        reply(302, &format!("location: {}/elsewhere\r\n", sts.url), ""),
        reply(403, "", "{}"),
        reply(404, "", ""),
    ];
    for answer in unreadable {
        sts.answer_metadata([answer.clone()]);
        assert_eq!(class(&exchange(&sts.client(), &user).await), "misconfigured", "{answer:?}");
    }
    assert_eq!((sts.count("/token"), sts.count("/elsewhere")), (0, 0));
}

#[tokio::test]
async fn metadata_out_of_reach_is_an_outage_and_load_is_load() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    for (answer, expected) in [
        (reply(500, "", ""), "outage: 500"),
        (super::hostile::Reply::Bytes(Vec::new()), "outage: transport"),
        (reply(429, "retry-after: 7\r\n", ""), "overloaded: Some(7s)"),
    ] {
        sts.answer_metadata([answer]);
        assert_eq!(class(&exchange(&sts.client(), &user).await), expected);
    }
}

#[tokio::test]
async fn the_metadata_of_openid_is_read_where_there_is_no_other() {
    let sts = HostileSts::start().await;
    sts.answer_metadata([reply(404, "", ""), json_reply(200, &sts.metadata())]);
    sts.answer([sts.honest()]);
    assert_eq!(class(&exchange(&sts.client(), &sts.user().await).await), "ok");
    assert_eq!((sts.count(OAUTH), sts.count(OPENID)), (1, 1));
}

#[tokio::test]
async fn a_path_of_the_issuer_comes_after_the_well_known_part() {
    let sts = HostileSts::start().await;
    let issuer = format!("{}/tenant/one", sts.url);
    sts.answer_metadata([reply(404, "", "")]);
    let secret = Credentials::ClientSecret("secret".to_owned().into());
    let client = Sts::builder(&issuer, "coordinator", secret).attempts(1).build().unwrap();
    assert_eq!(class(&exchange(&client, &sts.user().await).await), "misconfigured");
    assert_eq!(sts.count(&format!("{OAUTH}/tenant/one")), 1);
    assert_eq!(sts.count(&format!("/tenant/one{OPENID}")), 1);
}

#[tokio::test]
async fn metadata_is_asked_for_once_and_kept_while_a_refresh_fails() {
    let sts = HostileSts::start().await;
    let (user, client) = (sts.user().await, sts.client());
    sts.answer([sts.honest()]);
    let (theirs, alice) = (client.clone(), user.clone());
    let other = tokio::spawn(async move { exchange(&theirs, &alice).await });
    assert_eq!(class(&exchange(&client, &user).await), "ok");
    assert_eq!(class(&other.await.unwrap()), "ok");
    assert_eq!(sts.count(OAUTH), 1);

    sts.answer_metadata([json_reply(200, &with(sts.metadata(), &json!({ "issuer": Value::Null })))]);
    sts.clock.advance(Duration::from_secs(3599));
    sts.answer([sts.honest()]);
    let user = sts.user().await;
    assert_eq!(class(&exchange(&client, &user).await), "ok");
    assert_eq!(sts.count(OAUTH), 1);
    sts.clock.advance(Duration::from_secs(2));
    for _ in 0..2 {
        assert_eq!(class(&exchange(&client, &user).await), "ok");
    }
    assert_eq!(sts.count(OAUTH), 2);
}

/// A far-off STS, of which there is nothing but the metadata.
#[derive(Debug)]
struct Metadata(Value);

#[async_trait]
impl Transport for Metadata {
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError> {
        let known = request.uri().path() == OAUTH;
        let mut response = http::Response::new(if known { self.0.to_string().into_bytes() } else { Vec::new() });
        *response.status_mut() = if known { http::StatusCode::OK } else { http::StatusCode::FORBIDDEN };
        Ok(response)
    }
}

#[tokio::test]
async fn a_far_off_issuer_sends_nobody_to_their_own_machine() {
    let user = HostileSts::start().await.user().await;
    let issuer = "https://sts.example.com";
    let rows = [
        ("https://sts.example.com/token", "refused: invalid_response"),
        ("https://127.0.0.1/token", "misconfigured"),
        ("http://127.0.0.1:8081/token", "misconfigured"),
        ("http://localhost/token", "misconfigured"),
        ("https://[::1]/token", "misconfigured"),
        ("http://other.example.com/token", "misconfigured"),
    ];
    for name in ["token_endpoint", "jwks_uri", "introspection_endpoint"] {
        for (url, expected) in rows {
            let honest = json!({ "issuer": issuer, "token_endpoint": rows[0].0, "jwks_uri": rows[0].0 });
            let transport = Arc::new(Metadata(with(honest, &json!({ name: url }))));
            let secret = Credentials::ClientSecret("secret".to_owned().into());
            let builder = Sts::builder(issuer, "coordinator", secret).transport(transport);
            let client = builder.keys(KeySource::Inline(KeySet::empty())).attempts(1).build().unwrap();
            assert_eq!(class(&exchange(&client, &user).await), expected, "{name} {url}");
        }
    }
}

#[test]
fn an_sts_that_is_given_no_time_is_refused_at_the_start() {
    let builder = || Sts::builder("https://sts.example.com", "coordinator", Credentials::ClientSecret("s".into()));
    for builder in [builder().deadline(Duration::ZERO), builder().attempt_timeout(Duration::ZERO)] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, BuildError::Contradiction(_)), "{error:?}");
    }
}

#[test]
fn an_issuer_that_cannot_be_asked_is_refused_at_the_start() {
    for issuer in [
        "",
        "sts",
        "http://sts.example.com",
        "ftp://sts.example.com",
        "https://sts.example.com?x",
        "https://a:b@sts.example.com",
    ] {
        let built = Sts::builder(issuer, "coordinator", Credentials::ClientSecret("secret".to_owned().into())).build();
        assert!(matches!(built, Err(BuildError::Contradiction(_))), "{issuer}");
    }
}
