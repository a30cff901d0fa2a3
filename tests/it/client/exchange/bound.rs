//! Tokens that the STS binds to the key of the agent (RFC 9449 §5, §8).

use serde_json::{Value, json};
use sts_client::{Caller, Sts};
use sts_jose::UnverifiedToken;

use super::class;
use super::hostile::{HostileSts, PATIENCE, Reply, exchange, json_reply, reply, with};

const INVALID: &str = "refused: invalid_response";

/// A client with a key, and a user.
async fn bound(sts: &HostileSts) -> (Sts, Caller) {
    let client = sts.builder().attempt_timeout(PATIENCE).deadline(PATIENCE).dpop().build().unwrap();
    (client, sts.user().await)
}

/// An answer with a token that is bound to that key, and these members in place of its own.
fn answer(sts: &HostileSts, cnf: &Value, changes: &Value) -> Reply {
    let token = sts.sign(&with(sts.claims(), &json!({ "cnf": cnf })));
    json_reply(200, &with(with(sts.body(&token), &json!({ "token_type": "DPoP" })), changes))
}

/// The proofs of the requests, by their claims.
fn proofs(sts: &HostileSts) -> Vec<Value> {
    let claims = |request: String| {
        let head = request.split_once("\r\n\r\n").unwrap().0.to_owned();
        let proof = head.lines().find_map(|line| line.strip_prefix("dpop: ")).map(str::to_owned)?;
        Some(json!(UnverifiedToken::parse(&proof).unwrap().claims().as_map()))
    };
    sts.requests("/token").into_iter().filter_map(claims).collect()
}

#[tokio::test]
async fn a_token_that_is_not_bound_to_the_key_of_the_agent_is_discarded() {
    let sts = HostileSts::start().await;
    let (client, user) = bound(&sts).await;
    let jkt = client.dpop_thumbprint().unwrap().to_owned();
    let own = json!({ "jkt": jkt });
    let rows = [
        ("a bearer token", sts.honest()),
        ("a bearer token by its type", answer(&sts, &own, &json!({ "token_type": "Bearer" }))),
        ("of another type", answer(&sts, &own, &json!({ "token_type": "N_A" }))),
        ("of no type", answer(&sts, &own, &json!({ "token_type": null }))),
        ("bound to nothing", answer(&sts, &Value::Null, &json!({}))),
        ("bound to another key", answer(&sts, &json!({ "jkt": sts.key.kid() }), &json!({}))),
        ("bound to a certificate", answer(&sts, &json!({ "x5t#S256": jkt }), &json!({}))),
        ("bound to two keys", answer(&sts, &json!({ "jkt": [jkt] }), &json!({}))),
    ];
    for (name, reply) in rows {
        sts.answer([reply]);
        assert_eq!(class(&exchange(&client, &user).await), INVALID, "{name}");
    }
    sts.answer([answer(&sts, &own, &json!({}))]);
    let issued = exchange(&client, &user).await.unwrap();
    assert!(issued.authorization().to_str().unwrap().starts_with("DPoP ey"));
    assert!(issued.authorization().is_sensitive());
}

#[tokio::test]
async fn a_bound_token_that_was_not_asked_for_is_refused() {
    let sts = HostileSts::start().await;
    let user = sts.user().await;
    let own = json!({ "jkt": sts.key.kid() });
    for (name, reply) in [
        ("by its type", answer(&sts, &own, &json!({}))),
        ("by its cnf", answer(&sts, &own, &json!({ "token_type": "Bearer" }))),
    ] {
        sts.answer([reply]);
        assert_eq!(class(&exchange(&sts.client(), &user).await), INVALID, "{name}");
    }
    assert!(proofs(&sts).is_empty(), "no proof without a key");
}

#[tokio::test]
async fn each_attempt_has_a_new_proof_for_the_token_endpoint() {
    let sts = HostileSts::start().await;
    let (client, user) = bound(&sts).await;
    sts.answer([reply(500, "", ""), answer(&sts, &json!({ "jkt": client.dpop_thumbprint() }), &json!({}))]);
    assert_eq!(class(&exchange(&client, &user).await), "ok");
    let proofs = proofs(&sts);
    assert_eq!(proofs.len(), 2);
    for proof in &proofs {
        let (jti, iat) = (&proof["jti"], &sts.claims()["iat"]);
        let expected = json!({ "htm": "POST", "htu": format!("{}/token", sts.url), "iat": iat, "jti": jti });
        assert_eq!(*proof, expected);
        assert!(jti.as_str().unwrap().len() >= 22, "96 random bits at least");
    }
    assert_ne!(proofs[0]["jti"], proofs[1]["jti"]);
}

fn nonce_wanted(nonce: &str) -> Reply {
    reply(400, &format!("DPoP-Nonce: {nonce}\r\n"), r#"{"error":"use_dpop_nonce"}"#)
}

#[tokio::test]
async fn the_nonce_of_the_sts_is_followed_once_and_the_newest_is_used_from_then_on() {
    let sts = HostileSts::start().await;
    let (client, user) = bound(&sts).await;
    let honest = |nonce: &str| {
        let token = sts.sign(&with(sts.claims(), &json!({ "cnf": { "jkt": client.dpop_thumbprint() } })));
        let body = with(sts.body(&token), &json!({ "token_type": "DPoP" })).to_string();
        reply(200, &format!("DPoP-Nonce: {nonce}\r\n"), &body)
    };
    sts.answer([nonce_wanted("first"), honest("second"), honest("third")]);
    assert_eq!(class(&exchange(&client, &user).await), "ok");
    assert_eq!(class(&exchange(&client, &user).await), "ok");
    let nonces: Vec<Value> = proofs(&sts).into_iter().map(|mut proof| proof["nonce"].take()).collect();
    assert_eq!(nonces, [Value::Null, json!("first"), json!("second")]);
    // An STS that is never content, and one that wants the nonce which the proof already has.
    for (replies, requests) in [(vec![nonce_wanted("a"), nonce_wanted("b")], 2), (vec![nonce_wanted("b")], 1)] {
        let before = sts.count("/token");
        sts.answer(replies);
        assert_eq!(class(&exchange(&client, &user).await), "refused: use_dpop_nonce");
        assert_eq!(sts.count("/token") - before, requests);
    }
}

#[tokio::test]
async fn a_refused_proof_is_a_refusal_and_no_reason_for_another_try() {
    let sts = HostileSts::start().await;
    let (client, user) = bound(&sts).await;
    sts.answer([reply(400, "DPoP-Nonce: n\r\n", r#"{"error":"invalid_dpop_proof"}"#)]);
    assert_eq!(class(&exchange(&client, &user).await), "refused: invalid_dpop_proof");
    assert_eq!(sts.count("/token"), 1);
}
