//! What was issued, and is taken back: blocks, revocation, introspection, disabled entries.

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_server::record::EventKind;
use sts_server::storage::RevocationKind;
use sts_tests::{Answer, Harness};

/// Exactly what an inactive token is answered with.
fn assert_inactive(label: &str, answer: &Answer) {
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"active":false}"#), "{label}");
}

async fn is_active(harness: &Harness, agent: &str, token: &str) -> bool {
    let answer = harness.introspect(agent, token).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let active = answer.json["active"].as_bool().expect("a boolean");
    if !active {
        assert_inactive(agent, &answer);
    }
    active
}

#[tokio::test]
async fn introspection_tells_whom_the_token_is_for_and_whom_it_was_issued_to() {
    let harness = Harness::start().await;
    let issued = harness.exchange().send().await;
    for agent in ["inventory", "coordinator"] {
        let answer = harness.introspect(agent, issued.token()).send().await;
        let mut expected = issued.claims();
        expected["active"] = json!(true);
        expected["token_type"] = json!("Bearer");
        assert_eq!(answer.json, expected, "{agent}");
        for (name, value) in [
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("pragma", "no-cache"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
    }
    for agent in ["warehouse", "reporter", "auditor"] {
        assert_inactive(agent, &harness.introspect(agent, issued.token()).send().await);
    }
}

#[tokio::test]
async fn introspection_of_anything_else_is_inactive_and_no_error() {
    let harness = Harness::start().await;
    let claims = harness.exchange().send().await.claims();
    let mut tampered = harness.first_hop().await;
    let at = tampered.len() - 10;
    let other = if tampered.as_bytes()[at] == b'_' { "-" } else { "_" };
    tampered.replace_range(at..=at, other);
    for (label, token) in [
        ("no token", "x".to_owned()),
        ("an outside token", harness.user_token()),
        ("a tampered token", tampered),
        ("ours, of another kind", harness.sign_as_ours(Some("JWT"), &claims)),
        ("ours, without typ", harness.sign_as_ours(None, &claims)),
        ("of our claims, signed by others", harness.idp.sign(&claims)),
    ] {
        assert_inactive(label, &harness.introspect("inventory", &token).send().await);
    }
    let token = harness.first_hop().await;
    harness.advance(300);
    assert_inactive("expired", &harness.introspect("inventory", &token).send().await);
}

#[tokio::test]
async fn introspection_and_revocation_ask_for_authentication_and_a_token() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    for request in [harness.introspect("inventory", &token), harness.revoke("inventory", &token)] {
        let nobody = request.clone().authenticated(sts_tests::Credentials::None);
        harness.assert_refused_unrecorded("nobody", nobody, ErrorKind::Client).await;
        let wrong = sts_tests::Credentials::Basic("inventory".to_owned(), "a wrong secret of inventory".to_owned());
        let answer =
            harness.assert_refused_unrecorded("wrong", request.clone().authenticated(wrong), ErrorKind::Client).await;
        assert!(answer.header("www-authenticate").starts_with("Basic "));
        let no_token = request.clone().without("token").send().await;
        sts_tests::refuses("no token", &no_token, ErrorKind::Request);
        let twice = request.clone().add("token", token.clone());
        harness.assert_refused_unrecorded("two tokens", twice, ErrorKind::Request).await;
    }
    assert!(is_active(&harness, "inventory", &token).await);
    let with_hint = harness.introspect("inventory", &token).set("token_type_hint", "refresh_token").send().await;
    assert_eq!(with_hint.json["active"], true, "RFC 7662 section 2.1: a hint is only one");
}

#[tokio::test]
async fn a_service_accounts_token_is_introspected_like_others() {
    let harness = Harness::start().await;
    let token = harness.client_credentials().send().await.token().to_owned();
    let answer = harness.introspect("inventory", &token).send().await;
    assert_eq!(answer.json["tenant_ids"], json!(["acme", "globex"]));
    assert_inactive("others", &harness.introspect("warehouse", &token).send().await);
    harness.block(RevocationKind::Agent, None, "coordinator").await;
    harness.refresh().await;
    assert!(!is_active(&harness, "inventory", &token).await);
}

#[tokio::test]
async fn revoking_a_token_revokes_every_descendant_and_no_sibling() {
    let harness = Harness::start().await;
    let (first, sibling) = (harness.first_hop().await, harness.first_hop().await);
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await.token().to_owned();
    let third = harness.exchange_by("warehouse", &second, "shelf").send().await.token().to_owned();
    let request = harness.revoke("coordinator", &first);
    let correlation_id = request.correlation_id();
    let answer = request.send().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!(answer.header("cache-control"), "no-store");
    let events = harness.events(&correlation_id).await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].event, events[0].client_id.as_deref()), (EventKind::Revoked, Some("coordinator")));
    // It holds here, now.
    for (agent, token) in [("inventory", &first), ("warehouse", &second), ("warehouse", &third)] {
        assert!(!is_active(&harness, agent, token).await, "{agent}");
    }
    assert!(is_active(&harness, "inventory", &sibling).await);
    let request = harness.exchange_by("inventory", &first, "warehouse");
    harness.assert_refused("itself", request, ErrorKind::Token, "token_revoked").await;
    let request = harness.exchange_by("warehouse", &second, "shelf");
    harness.assert_refused("its child", request, ErrorKind::Token, "token_revoked").await;
    harness.exchange_by("inventory", &sibling, "warehouse").send().await.token();
}

#[tokio::test]
async fn rfc_7009_section_2_2_what_needs_no_revocation_is_a_success() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    for (label, token) in [
        ("no token", "x".to_owned()),
        ("an outside token", harness.user_token()),
        ("a token", token.clone()),
        ("the same again", token),
    ] {
        let answer = harness.revoke("coordinator", &token).set("token_type_hint", "access_token").send().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{label}");
    }
}

#[tokio::test]
async fn rfc_7009_section_2_1_a_token_of_another_agent_is_not_revoked() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    for agent in ["inventory", "warehouse"] {
        let request = harness.revoke(agent, &token);
        harness.assert_refused(agent, request, ErrorKind::Grant, "not_the_clients_token").await;
    }
    assert!(is_active(&harness, "inventory", &token).await);
}

#[tokio::test]
async fn a_revocation_holds_on_other_servers_too() {
    let harness = Harness::start().await;
    let replica = harness.replica().await;
    let token = harness.first_hop().await;
    let there = || harness.introspect("inventory", &token).at(&replica.wire);
    assert_eq!(there().send().await.json["active"], true);
    assert_eq!(harness.revoke("coordinator", &token).send().await.status, 200);
    // Whether or not it has followed the database, the transaction that records a token finds the revocation.
    let exchange = harness.exchange_by("inventory", &token, "warehouse").at(&replica.wire);
    harness.assert_refused("at once", exchange, ErrorKind::Token, "token_revoked").await;
    replica.server.sts().refresh().await.unwrap();
    assert_inactive("there", &there().send().await);
}

#[tokio::test]
async fn blocks_cover_what_was_issued_until_then_and_nothing_after() {
    use RevocationKind::{Agent, Subject, Tenant};
    for (kind, value, reason) in [
        (Subject, "alice", "subject_revoked"),
        (Agent, "coordinator", "agent_revoked"),
        (Tenant, "acme", "tenant_revoked"),
    ] {
        let harness = Harness::start().await;
        let user_token = harness.user_token();
        let first = harness.first_hop().await;
        let second = harness.exchange_by("inventory", &first, "warehouse").send().await.token().to_owned();
        harness.block(kind, None, value).await;
        harness.refresh().await;
        let request = harness.exchange_by("coordinator", &user_token, "inventory");
        harness.assert_refused("the user's token", request, ErrorKind::Token, reason).await;
        let request = harness.exchange_by("inventory", &first, "warehouse");
        harness.assert_refused("the first hop", request, ErrorKind::Token, reason).await;
        let request = harness.exchange_by("warehouse", &second, "shelf");
        harness.assert_refused("the second hop", request, ErrorKind::Token, reason).await;
        for (agent, token) in [("inventory", &first), ("warehouse", &second)] {
            assert!(!is_active(&harness, agent, token).await, "{kind:?} {agent}");
        }
        let same_second = harness.user_token();
        let request = harness.exchange_by("coordinator", &same_second, "inventory");
        harness.assert_refused("of the same second", request, ErrorKind::Token, reason).await;
        let without_iat = harness.user_token_with(&json!({ "iat": null }));
        // The block is as late as the database's clock, which has run on while the server's stood still, and covers what a clock that is
        // ahead calls later.
        harness.advance(120);
        let request = harness.exchange_by("coordinator", &without_iat, "inventory");
        harness.assert_refused("of no known time", request, ErrorKind::Token, reason).await;
        let later = harness.exchange().send().await;
        assert!(is_active(&harness, "inventory", later.token()).await, "{kind:?}");
        // The block stands for what it covered.
        let request = harness.exchange_by("inventory", &first, "warehouse");
        harness.assert_refused("still", request, ErrorKind::Token, reason).await;
        harness.store.lift(kind, None, value, &[]).await.unwrap();
        harness.refresh().await;
        harness.exchange_by("inventory", &first, "warehouse").send().await.token();
        assert!(is_active(&harness, "inventory", &first).await, "{kind:?} lifted");
    }
}

#[tokio::test]
async fn blocks_touch_nobody_else() {
    use RevocationKind::{Agent, Subject, Tenant};
    let harness = Harness::start().await;
    let cluster = harness.cluster.url();
    for (kind, issuer, value) in
        [(Subject, None, "bob"), (Subject, Some(cluster), "alice"), (Agent, None, "reporter"), (Tenant, None, "globex")]
    {
        harness.block(kind, issuer, value).await;
    }
    harness.refresh().await;
    let first = harness.first_hop().await;
    harness.exchange_by("inventory", &first, "warehouse").send().await.token();
}

#[tokio::test]
async fn blocks_an_agent_anywhere_in_the_chain_blocks_the_chain() {
    let harness = Harness::start().await;
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await.token().to_owned();
    harness.block(RevocationKind::Agent, None, "coordinator").await;
    harness.refresh().await;
    let request = harness.exchange_by("warehouse", &second, "shelf");
    harness.assert_refused("a prior actor", request, ErrorKind::Token, "agent_revoked").await;
}

#[tokio::test]
async fn outside_tokens_are_revoked_by_issuer_and_jti() {
    let harness = Harness::start().await;
    let idp = harness.idp.url();
    let token = harness.user_token_with(&json!({ "jti": "the-one" }));
    let first = harness.exchange_by("coordinator", &token, "inventory").send().await.token().to_owned();
    harness.block(RevocationKind::Token, Some(harness.cluster.url()), "the-one").await;
    harness.refresh().await;
    harness.exchange_by("coordinator", &token, "inventory").send().await.token();
    harness.block(RevocationKind::Token, Some(idp), "the-one").await;
    harness.refresh().await;
    let request = harness.exchange_by("coordinator", &token, "inventory");
    harness.assert_refused("itself", request, ErrorKind::Token, "token_revoked").await;
    assert!(!is_active(&harness, "inventory", &first).await, "what came of it");
    harness.advance(1);
    let again = harness.user_token_with(&json!({ "jti": "the-one" }));
    let request = harness.exchange_by("coordinator", &again, "inventory");
    harness.assert_refused("whenever it was issued", request, ErrorKind::Token, "token_revoked").await;
}

#[tokio::test]
async fn a_fresh_token_within_the_skew_of_a_block_is_refused_with_the_party_that_is_blocked() {
    use RevocationKind::{Agent, Subject, Tenant};
    for (kind, value, party) in
        [(Subject, "alice", "its user"), (Agent, "coordinator", "one of its agents"), (Tenant, "acme", "its tenant")]
    {
        let harness = Harness::start().await;
        harness.block(kind, None, value).await;
        harness.refresh().await;
        // Later than the skew of outside tokens, earlier than that of our own.
        harness.advance(45);
        let request = harness.exchange();
        let correlation_id = request.correlation_id();
        let reason = format!("{}_revoked", kind.as_str());
        harness.assert_refused("fresh", request, ErrorKind::Token, &reason).await;
        let detail = harness.events(&correlation_id).await.remove(0).detail;
        assert_eq!(detail, Some(format!("the new token would be covered by the revocation of {party}")), "{kind:?}");
    }
}

#[tokio::test]
async fn an_exchange_that_races_a_revocation_yields_nothing_after_the_commit() {
    use RevocationKind::{Agent, Subject, Tenant, Transaction};
    let harness = Harness::start().await;
    for kind in [Subject, Agent, Tenant, Transaction] {
        harness.advance(1);
        let first = harness.exchange().send().await;
        let txn = first.claims()["txn"].as_str().unwrap().to_owned();
        let (value, reason) = match kind {
            Subject => ("alice", "subject_revoked"),
            Agent => ("coordinator", "agent_revoked"),
            Tenant => ("acme", "tenant_revoked"),
            _ => (txn.as_str(), "transaction_revoked"),
        };
        harness.block(kind, None, value).await;
        // No refresh: most likely the server has not seen it when it decides, and must when it records.
        let request = harness.exchange_by("inventory", first.token(), "warehouse");
        harness.assert_refused(reason, request, ErrorKind::Token, reason).await;
        harness.store.lift(kind, None, value, &[]).await.unwrap();
        harness.refresh().await;
    }
}

#[tokio::test]
async fn parity_who_is_disabled_after_issue_is_so_for_exchange_and_introspection() {
    let disabled = "disabled = true";
    for (who, asker, reason) in [
        ("issuer", "inventory", "subject_issuer_disabled"),
        ("current actor", "inventory", "subject_actor_disabled"),
        ("target", "coordinator", ""),
    ] {
        let mut harness = Harness::start().await;
        let first = harness.first_hop().await;
        assert!(is_active(&harness, asker, &first).await);
        let idp = harness.idp.url().to_owned();
        harness
            .apply(|registry, _| match who {
                "issuer" => registry.issuer(&idp, disabled),
                "current actor" => registry.agent("coordinator", disabled),
                _ => registry.agent("inventory", disabled),
            })
            .await;
        assert!(!is_active(&harness, asker, &first).await, "{who}");
        let request = harness.exchange_by("inventory", &first, "warehouse");
        if who == "target" {
            harness.assert_refused_unrecorded(who, request, ErrorKind::Client).await;
        } else {
            harness.assert_refused(who, request, ErrorKind::Token, reason).await;
        }
    }
}

#[tokio::test]
async fn parity_who_is_registered_no_more_is_so_for_exchange_and_introspection() {
    let mut harness = Harness::start().await;
    let first = harness.first_hop().await;
    let idp = harness.idp.url().to_owned();
    let other = harness.cluster.url().to_owned();
    harness.apply(|registry, _| registry.rename_issuer(&idp, &format!("{other}/other"))).await;
    assert!(!is_active(&harness, "inventory", &first).await);
    let request = harness.exchange_by("inventory", &first, "warehouse");
    harness.assert_refused("its issuer", request, ErrorKind::Token, "subject_issuer_disabled").await;
    let request = harness.exchange();
    harness.assert_refused("a first hop", request, ErrorKind::Token, "subject_issuer_unknown").await;
}

#[tokio::test]
async fn an_issuer_that_is_disabled_is_believed_in_no_slot() {
    let mut harness = Harness::start().await;
    let (idp, cluster) = (harness.idp.url().to_owned(), harness.cluster.url().to_owned());
    harness.apply(|registry, _| registry.issuer(&cluster, "disabled = true")).await;
    let request = harness.exchange_by("runner", &harness.user_token(), "inventory");
    harness.assert_refused_unrecorded("actor", request, ErrorKind::Token).await;
    harness.exchange().send().await.token();
    harness.apply(|registry, _| registry.issuer(&idp, "disabled = true")).await;
    harness.assert_refused("subject", harness.exchange(), ErrorKind::Token, "subject_issuer_disabled").await;
}

#[tokio::test]
async fn every_decision_of_a_known_agent_is_one_event_that_tells_what_was_known() {
    let harness = Harness::start().await;
    let request = harness.exchange().set("scope", "stock:read");
    let correlation_id = request.correlation_id();
    let answer = request.send().await;
    let claims = answer.claims();
    let events = harness.events(&correlation_id).await;
    assert_eq!(events.len(), 1);
    let mut event = serde_json::to_value(&events[0]).unwrap();
    assert_eq!(event["jti"], claims["jti"]);
    assert_eq!(event["txn"], claims["txn"]);
    assert_eq!(event["exp"], claims["exp"]);
    for volatile in ["jti", "txn", "exp", "at", "parent_exp", "parent_jti", "duration_micros"] {
        assert_ne!(event[volatile], Value::Null, "{volatile}");
        event.as_object_mut().unwrap().remove(volatile);
    }
    assert_eq!(
        event,
        json!({
            "event": "token.issued",
            "correlation_id": correlation_id,
            "source": "127.0.0.1",
            "grant": "urn:ietf:params:oauth:grant-type:token-exchange",
            "client_id": "coordinator",
            "auth_method": "client_secret_basic",
            "subject_issuer": harness.idp.url(),
            "sub": "alice",
            "actors": ["coordinator"],
            "target": "inventory",
            "audience": "inventory-agent",
            "requested_scope": "stock:read",
            "scope": "stock:read",
            "tenant_id": "acme",
            "delegation": "coordinator->inventory",
            "parent_iss": harness.idp.url(),
        })
    );
}

#[tokio::test]
async fn what_is_not_honoured_is_refused_at_every_endpoint() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    for request in [harness.introspect("inventory", &token), harness.revoke("coordinator", &token)] {
        let answer = request.set("authorization_details", "[]").send().await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_request"), "{}", answer.text());
    }
    assert!(is_active(&harness, "inventory", &token).await);
}

#[tokio::test]
async fn the_transaction_of_a_token_without_jti_stays_revoked_under_another_signature() {
    let harness = Harness::start().await;
    let mut claims = harness.user_claims();
    claims.as_object_mut().expect("claims").remove("jti");
    let token = harness.idp.sign(&claims);
    let issued = harness.exchange().set("subject_token", &token).send().await;
    let txn = issued.claims()["txn"].as_str().expect("a transaction").to_owned();
    harness.block(RevocationKind::Transaction, None, &txn).await;
    for (label, token) in [("as it was", token.clone()), ("signed otherwise", other_signature(&token))] {
        let again = harness.exchange().set("subject_token", token);
        harness.assert_refused(label, again, ErrorKind::Token, "token_revoked").await;
    }
}

/// The same token with the other of the two ECDSA signatures that verify: s becomes n - s.
fn other_signature(token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = token.rsplit_once('.').expect("a token");
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature");
    let mut borrow = 0_i16;
    for (digit, order) in signature[32..].iter_mut().zip(ORDER).rev() {
        let difference = i16::from(order) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
