//! What the STS is asked, byte for byte as it arrives; and what is written down of it.

use std::sync::Arc;

use serde_json::json;
use sts_client::exchange::{ExchangeRequest, ServiceAccountRequest};
use sts_client::{Credentials, Sts};
use sts_jose::{Algorithm, SigningKey, UnverifiedToken};
use sts_protocol::Form;
use sts_tests::{Capture, Seen};

use super::hostile::{HostileSts, PATIENCE, exchange, json_reply, reply, route, with};
use super::{class, correlation_id};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Head and form of a request.
fn read(request: &str) -> (String, Form) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), Form::parse(body.as_bytes()).unwrap())
}

#[tokio::test]
async fn rfc_8693_section_2_1_an_exchange_says_what_it_has_and_what_it_wants() {
    let sts = HostileSts::start().await;
    let act = json!({ "sub": "web", "iss": sts.url });
    let inbound = json!({ "aud": "coordinator", "client_id": "web", "act": act, "tenant_id": null });
    let own = sts.own(&sts.sign(&with(sts.claims(), &inbound)), "coordinator").await;
    let rows = [(sts.user().await, JWT, true), (own, ACCESS_TOKEN, false)];
    for (subject, subject_token_type, has_tenant) in rows {
        sts.answer([reply(400, "", "{}")]);
        let (route, correlation_id) = (route().resource("https://inventory.example/"), correlation_id("asked-1"));
        let request = ExchangeRequest { subject: &subject, route: &route, correlation_id: &correlation_id };
        assert_eq!(class(&sts.client().exchange(request).await), "refused: invalid_response");
        let (head, form) = read(sts.requests("/token").last().unwrap());
        assert_eq!(form.get("grant_type"), Some("urn:ietf:params:oauth:grant-type:token-exchange"));
        assert_eq!(form.get("subject_token_type"), Some(subject_token_type));
        assert!(UnverifiedToken::parse(form.get("subject_token").unwrap()).is_ok());
        assert_eq!(form.get("requested_token_type"), Some(ACCESS_TOKEN));
        assert_eq!((form.get("audience"), form.get("scope")), (Some("inventory"), Some("stock:read")));
        assert_eq!(form.get("resource"), Some("https://inventory.example/"));
        assert_eq!(form.get("client_secret"), None);
        assert!(head.starts_with("post /token http/1.1\r\n"));
        assert!(head.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"));
        assert!(head.contains("\r\nx-correlation-id: asked-1\r\n"));
        assert_eq!(head.contains("\r\nx-tenant-id: acme\r\n"), has_tenant, "{head}");
    }
}

#[tokio::test]
async fn rfc_6749_section_4_4_a_service_account_speaks_for_no_tenant_and_no_user() {
    let sts = HostileSts::start().await;
    sts.answer([reply(400, "", "{}")]);
    let (route, correlation_id) = (route(), correlation_id("asked-2"));
    let request = ServiceAccountRequest { route: &route, correlation_id: &correlation_id };
    assert!(sts.client().service_account_token(request).await.is_err());
    let (head, form) = read(sts.requests("/token").last().unwrap());
    assert_eq!(form.get("grant_type"), Some("client_credentials"));
    assert_eq!((form.get("audience"), form.get("scope")), (Some("inventory"), Some("stock:read")));
    assert_eq!(form.get("subject_token"), None);
    assert!(!head.contains("x-tenant-id"));
}

#[tokio::test]
async fn each_attempt_has_an_assertion_of_its_own_addressed_to_the_issuer_alone() {
    let sts = HostileSts::start().await;
    let key = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let credentials = Credentials::PrivateKeyJwt(Arc::clone(&key));
    let builder = Sts::builder(&sts.url, "coordinator", credentials).clock(Arc::new(sts.clock.clone()));
    let client = builder.attempt_timeout(PATIENCE).deadline(PATIENCE).build().unwrap();
    sts.answer([reply(500, "", ""), sts.honest()]);
    assert_eq!(class(&exchange(&client, &sts.user().await).await), "ok");
    let now = sts.claims()["iat"].as_i64().unwrap();
    let mut names = Vec::new();
    for request in sts.requests("/token") {
        let (head, form) = read(&request);
        assert!(!head.contains("\r\nauthorization:"));
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(form.get("client_assertion_type"), Some(kind));
        let assertion = UnverifiedToken::parse(form.get("client_assertion").unwrap()).unwrap();
        let assertion = assertion.verify(&key.verification_key()).unwrap();
        assert_eq!(assertion.header().typ.as_deref(), Some("client-authentication+jwt"));
        let jti = assertion.claims().string("jti").unwrap().unwrap().to_owned();
        let expected = json!({
            "iss": "coordinator", "sub": "coordinator", "aud": sts.url, "iat": now, "exp": now + 60, "jti": jti,
        });
        assert_eq!(Some(assertion.claims().as_map()), expected.as_object());
        names.push(jti);
    }
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
}

#[tokio::test]
async fn the_log_says_which_check_failed_and_holds_no_token() {
    let log = Capture::begin();
    let sts = HostileSts::start().await;
    let (user, seen) = (sts.user().await, Seen::default());
    let token = sts.sign(&with(sts.claims(), &json!({ "aud": "warehouse" })));
    seen.remember(&token);
    sts.answer([json_reply(200, &sts.body(&token))]);
    let (client, route) = (sts.client(), route());
    let ids = [correlation_id("logged-refused"), correlation_id("logged-ok")];
    let ask = |id| ExchangeRequest { subject: &user, route: &route, correlation_id: id };
    let refused = client.exchange(ask(&ids[0])).await;
    for request in sts.requests("/token") {
        seen.remember(read(&request).1.get("subject_token").unwrap());
    }
    sts.answer([sts.honest()]);
    let issued = client.exchange(ask(&ids[1])).await.unwrap();
    let log = log.text();
    let warnings = log.lines().filter(|line| line.contains("the answer of the sts is refused"));
    let warnings: Vec<&str> = warnings.filter(|line| line.contains("logged-")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("logged-refused") && warnings[0].contains("aud is not the target"), "{warnings:?}");
    seen.assert_not_in(&log, "the log");
    seen.remember(issued.authorization().to_str().unwrap());
    assert!(issued.authorization().is_sensitive());
    seen.assert_not_in(&format!("{issued:?} {refused:?} {client:?} {user:?} {:?}", issued.authorization()), "Debug");
}
