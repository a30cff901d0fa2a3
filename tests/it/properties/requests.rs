//! The endpoint against the oracle: allowed or refused, with which code, and what the token says.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};
use sts_tests::model::OUR_ISSUER;
use sts_tests::{Setup, members};

use super::claims::words;
use super::for_every_exchange;
use super::oracle::{Expected, decide};
use super::tokens::algorithm;
use super::travel::Exchange;

#[test]
fn every_request_is_answered_as_the_specification_says() {
    let outcomes: Mutex<BTreeMap<String, usize>> = Mutex::default();
    for_every_exchange(|scenario, exchange| {
        let outcome = if exchange.answer.status == 200 { "allowed" } else { exchange.answer.error() };
        *outcomes.lock().unwrap().entry(outcome.to_owned()).or_default() += 1;
        match decide(&scenario.model, exchange.at, &exchange.sent) {
            Err(codes) => {
                let status = if exchange.answer.error() == "invalid_client" { 401 } else { 400 };
                prop_assert!(
                    codes.contains(exchange.answer.error()),
                    "{} is none of {:?}",
                    exchange.answer.text(),
                    codes
                );
                prop_assert_eq!(exchange.answer.status, status);
                Ok(())
            }
            Ok(expected) => {
                prop_assert_eq!(exchange.answer.status, 200, "{} in place of {:#?}", exchange.answer.text(), expected);
                matches(exchange, &expected)
            }
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    // Not `unauthorized_client`: of some registries no request comes to that.
    let all = [
        "allowed",
        "invalid_request",
        "invalid_target",
        "invalid_scope",
        "invalid_client",
        "invalid_dpop_proof",
        "unsupported_grant_type",
    ];
    assert!(all.into_iter().all(|outcome| outcomes.contains_key(outcome)), "{outcomes:?}");
}

#[tokio::test]
async fn a_default_target_may_be_named_by_its_audience() {
    let by_audience =
        |registry: &mut sts_tests::Registry| registry.agent("coordinator", "default_target = 'inventory-agent'");
    let harness = Setup::default().registry(by_audience).start().await;
    let answer = harness.exchange().without("audience").send().await;
    assert_eq!(answer.claims()["aud"], "inventory-agent");
}

fn matches(exchange: &Exchange, expected: &Expected) -> TestCaseResult {
    let claims = &exchange.issued.as_ref().expect("an issued token").claims;
    let now = exchange.at.as_second();
    for (name, value) in [
        ("iss", json!(OUR_ISSUER)),
        ("sub", json!(expected.sub)),
        ("aud", json!(expected.audience)),
        ("client_id", json!(expected.client_id)),
        ("iat", json!(now)),
        ("exp", json!(expected.expires_at)),
        ("act", json!(expected.act)),
        ("sub_id", json!(expected.sub_id)),
        ("tenant_id", json!(expected.tenant)),
        ("cnf", json!(expected.cnf)),
    ] {
        prop_assert_eq!(&claims[name], &value, "{}", name);
    }
    prop_assert_eq!(&words(&claims["scope"]).unwrap(), &expected.scope);
    prop_assert_eq!(&words(&claims["roles"]).unwrap(), &expected.roles);
    let tenants = claims.get("tenant_ids").map(|tenants| words(tenants).unwrap());
    prop_assert_eq!(&tenants, &expected.tenants);
    prop_assert!(expected.transaction.as_ref().is_none_or(|transaction| claims["txn"] == *transaction), "txn");
    prop_assert_eq!(algorithm(&exchange.answer), expected.algorithm.clone());
    prop_assert_eq!(exchange.answer.token_header()["typ"].clone(), json!("at+jwt"));

    let answer = &exchange.answer.json;
    let kind = exchange.sent.get("requested_token_type").unwrap_or("urn:ietf:params:oauth:token-type:access_token");
    prop_assert_eq!(&answer["issued_token_type"], &json!(kind));
    let token_type = if expected.cnf.as_ref().is_some_and(|cnf| cnf.jkt.is_some()) { "DPoP" } else { "Bearer" };
    prop_assert_eq!(&answer["token_type"], &json!(token_type));
    prop_assert_eq!(&answer["cnf"], &claims["cnf"]);
    prop_assert_eq!(&answer["expires_in"], &json!(expected.expires_at - now));
    prop_assert_eq!(&answer["scope"], &claims["scope"]);
    let known = ["access_token", "cnf", "expires_in", "issued_token_type", "scope", "token_type"];
    let expected_members = known.into_iter().filter(|name| *name != "cnf" || expected.cnf.is_some());
    prop_assert_eq!(members(answer), expected_members.collect::<Vec<_>>());
    prop_assert!(claims["act"] != Value::Null || expected.act.is_none());
    Ok(())
}
