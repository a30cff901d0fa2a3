//! The checks of a proof, and what a good one changes.

use serde_json::{Value, json};
use sts_jose::Algorithm;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Harness, ProofKey, Setup, base64url, members};

#[tokio::test]
async fn rfc_9449_section_5_a_token_is_bound_to_the_key_of_the_proof() {
    let harness = Harness::start().await;
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let key = ProofKey::of(algorithm);
        for request in [harness.exchange(), harness.client_credentials()] {
            let request = request.proving(&harness, &key);
            let correlation_id = request.correlation_id();
            let answer = request.send().await;
            let cnf = json!({ "jkt": key.jkt() });
            assert_eq!(answer.claims()["cnf"], cnf, "{algorithm}");
            assert_eq!((&answer.json["token_type"], &answer.json["cnf"]), (&json!("DPoP"), &cnf));
            assert_eq!(answer.header("dpop-nonce"), "");
            let event = &harness.events(&correlation_id).await[0];
            assert_eq!(serde_json::to_value(&event.cnf).expect("JSON"), cnf);

            let introspected = harness.introspect("inventory", answer.token()).send().await;
            assert_eq!((&introspected.json["token_type"], &introspected.json["cnf"]), (&json!("DPoP"), &cnf));
        }
    }
    let bearer = harness.exchange().send().await;
    assert_eq!(
        members(&bearer.json),
        ["access_token", "expires_in", "issued_token_type", "scope", "token_type"],
        "a bearer token is answered as before"
    );
    assert_eq!((&bearer.json["token_type"], bearer.claims().get("cnf")), (&json!("Bearer"), None));
}

#[tokio::test]
async fn metadata_lists_the_algorithms_of_proofs() {
    let harness = Harness::start().await;
    for document in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let listed = harness.get(document).await.json["dpop_signing_alg_values_supported"].clone();
        assert_eq!(listed, json!(Algorithm::ALL), "{document}");
    }
}

/// A change of a proof: its header, its claims, and the reason of its refusal.
type Row = (&'static str, Value, Value, &'static str);

#[tokio::test]
async fn a_proof_that_fails_one_check_is_refused_whatever_agent_sends_it() {
    let harness = Harness::start().await;
    let (key, now) = (ProofKey::new(), harness.now());
    let at = |path: &str| json!({ "htu": format!("{}{path}", harness.issuer()) });
    let private =
        json!({ "jwk": { "kty": "EC", "crv": "P-256", "x": key.jwk()["x"], "y": key.jwk()["y"], "d": "AA" } });
    let rows: Vec<Row> = vec![
        ("typ of a token", json!({ "typ": "at+jwt" }), json!({}), "dpop_proof_typ"),
        ("no typ", json!({ "typ": null }), json!({}), "dpop_proof_typ"),
        ("alg none", json!({ "alg": "none" }), json!({}), "dpop_proof_malformed"),
        ("alg symmetric", json!({ "alg": "HS256" }), json!({}), "dpop_proof_malformed"),
        ("alg of another key", json!({ "alg": "ES384" }), json!({}), "dpop_proof_signature"),
        ("crit", json!({ "crit": ["jwk"] }), json!({}), "dpop_proof_malformed"),
        ("no jwk", json!({ "jwk": null }), json!({}), "dpop_proof_key"),
        ("a private jwk", private, json!({}), "dpop_proof_key"),
        ("a symmetric jwk", json!({ "jwk": { "kty": "oct", "k": "AA" } }), json!({}), "dpop_proof_key"),
        ("the jwk of another", json!({ "jwk": ProofKey::new().jwk() }), json!({}), "dpop_proof_signature"),
        ("no jti", json!({}), json!({ "jti": null }), "dpop_proof_claim"),
        ("a jti of 300 characters", json!({}), json!({ "jti": "j".repeat(300) }), "dpop_proof_claim"),
        ("no htm", json!({}), json!({ "htm": null }), "dpop_proof_claim"),
        ("htm of another method", json!({}), json!({ "htm": "GET" }), "dpop_proof_method"),
        ("htm in lower case", json!({}), json!({ "htm": "post" }), "dpop_proof_method"),
        ("no htu", json!({}), json!({ "htu": null }), "dpop_proof_claim"),
        ("htu of another path", json!({}), at("/oauth2/revoke"), "dpop_proof_uri"),
        ("htu with a slash at the end", json!({}), at("/oauth2/token/"), "dpop_proof_uri"),
        ("htu in another case", json!({}), at("/OAuth2/token"), "dpop_proof_uri"),
        (
            "htu of another server",
            json!({}),
            json!({ "htu": "https://sts.example.net/oauth2/token" }),
            "dpop_proof_uri",
        ),
        ("no iat", json!({}), json!({ "iat": null }), "dpop_proof_claim"),
        ("iat as a text", json!({}), json!({ "iat": "now" }), "dpop_proof_claim"),
        ("iat too old", json!({}), json!({ "iat": now - 121 }), "dpop_proof_too_old"),
        ("iat ahead", json!({}), json!({ "iat": now + 31 }), "dpop_proof_not_yet_valid"),
    ];
    let mut cases = Vec::new();
    for (label, header, changes, reason) in rows {
        let proof = key.prove(&header, harness.proof_claims(), &changes);
        cases.push((label.to_owned(), harness.exchange().header("dpop", proof), ErrorKind::Proof, reason));
    }
    let good = || harness.proof(&key);
    let malformed = "dpop_proof_malformed";
    let request = |proof: &str| harness.exchange().header("dpop", proof);
    for (label, proof) in [
        ("empty", String::new()),
        ("no JWS", "x".to_owned()),
        ("two in one header", format!("{}, {}", good(), good())),
        ("too long", harness.proof_with(&key, &json!({ "x": "x".repeat(8 * 1024) }))),
        ("cut", good()[..200].to_owned()),
    ] {
        cases.push((label.to_owned(), request(&proof), ErrorKind::Proof, malformed));
    }
    let two = harness.exchange().another_header("dpop", &good()).another_header("dpop", &good());
    cases.push(("two headers".to_owned(), two, ErrorKind::Proof, "dpop_proof_several"));
    let not_ascii = harness.exchange().header("dpop", [0xFF]);
    cases.push(("not ASCII".to_owned(), not_ascii, ErrorKind::Proof, malformed));
    harness.assert_each_refused(|| harness.exchange().proving(&harness, &key), cases).await;
}

#[tokio::test]
async fn a_proof_at_its_limits_and_in_another_spelling_is_accepted() {
    let harness = Harness::start().await;
    let (key, now) = (ProofKey::new(), harness.now());
    let spelled = |path: &str| json!({ "htu": format!("{}{path}", harness.issuer().replace("http", "HTTP")) });
    for changes in [
        json!({ "iat": now - 120 }),
        json!({ "iat": now + 30 }),
        json!({ "iat": now as f64 - 0.5 }),
        json!({ "nonce": "of another server" }),
        json!({ "ath": "of a token" }),
        spelled("/oauth2/./token?query#fragment"),
        spelled("/oauth2/%74oken"),
    ] {
        let answer = harness.exchange().header("dpop", harness.proof_with(&key, &changes)).send().await;
        assert_eq!(answer.status, 200, "{changes}: {}", answer.text());
    }
}

/// A proxy may rewrite the host: the issuer's URL decides.
#[tokio::test]
async fn htu_is_compared_with_the_issuer_and_not_with_the_host() {
    let harness = Harness::start().await;
    let key = ProofKey::new();
    let forwarded = |changes: &Value| {
        let request = harness.exchange().header("dpop", harness.proof_with(&key, changes));
        request.header("host", "sts.internal").header("x-forwarded-host", "sts.internal")
    };
    let by_host = forwarded(&json!({ "htu": "http://sts.internal/oauth2/token" }));
    harness.assert_refused("the host", by_host, ErrorKind::Proof, "dpop_proof_uri").await;
    forwarded(&json!({})).send().await.token();
}

#[tokio::test]
async fn a_proof_without_an_authenticated_agent_is_worth_nothing() {
    let harness = Harness::start().await;
    let key = ProofKey::new();
    let request = harness.exchange().authenticated(sts_tests::Credentials::None).proving(&harness, &key);
    harness.assert_refused_unrecorded("no credential", request, ErrorKind::Client).await;
    // The proof was not spent.
    let proof = harness.proof(&key);
    let wrong = sts_tests::Credentials::Basic("coordinator".to_owned(), "wrong".to_owned());
    let request = harness.exchange().authenticated(wrong).header("dpop", &proof);
    harness.assert_refused_unrecorded("a wrong secret", request, ErrorKind::Client).await;
    harness.exchange().header("dpop", &proof).send().await.token();
}

#[tokio::test]
async fn a_proof_is_used_once_at_any_server_and_after_a_restart() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.start().await;
        let (key, replica) = (ProofKey::new(), harness.replica().await);
        let proof = harness.proof(&key);
        let request = || harness.exchange().header("dpop", &proof);
        request().send().await.token();
        harness.assert_refused("here", request(), ErrorKind::Proof, "dpop_proof_replayed").await;
        let there = request().at(&replica.wire);
        harness.assert_refused("at another server", there, ErrorKind::Proof, "dpop_proof_replayed").await;
        let started_later = harness.replica().await;
        let there = request().at(&started_later.wire);
        harness.assert_refused("after a start", there, ErrorKind::Proof, "dpop_proof_replayed").await;

        // Another key may use the same name, and a refused request spends its proof too.
        let jti = json!({ "jti": "one name" });
        for key in [ProofKey::new(), ProofKey::new()] {
            harness.exchange().header("dpop", harness.proof_with(&key, &jti)).send().await.token();
        }
        let spent = harness.proof(&key);
        let refused = harness.exchange().set("scope", "stock:delete").header("dpop", &spent);
        harness.assert_refused("too much scope", refused, ErrorKind::Scope, "scope_beyond").await;
        let again = harness.exchange().header("dpop", &spent);
        harness.assert_refused("spent by a refusal", again, ErrorKind::Proof, "dpop_proof_replayed").await;
    }
}

#[tokio::test]
async fn of_fifty_requests_with_one_proof_one_succeeds() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.start().await;
        let replica = harness.replica().await;
        let proof = harness.proof(&ProofKey::new());
        let wires = [harness.wire(), &replica.wire];
        let requests = (0..50).map(|number| harness.exchange().header("dpop", &proof).at(wires[number % 2]).send());
        let answers = futures_util::future::join_all(requests).await;
        let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
        let replayed = answers.iter().filter(|answer| answer.error() == "invalid_dpop_proof").count();
        assert_eq!((succeeded, replayed), (1, 49));
    }
}

/// An assertion and a proof are both single use: each replay is refused for its own reason.
#[tokio::test]
async fn an_assertion_and_a_proof_are_each_used_once() {
    let harness = Harness::start().await;
    let key = ProofKey::new();
    let (assertion, proof) = (harness.assertion_with(&json!({})), harness.proof(&key));
    let request = |assertion: &str, proof: &str| {
        let credentials = sts_tests::Credentials::Assertion(assertion.to_owned());
        harness
            .exchange_by("reporter", &harness.user_token(), "inventory")
            .authenticated(credentials)
            .header("dpop", proof)
    };
    request(&assertion, &proof).send().await.token();
    let other_proof = request(&assertion, &harness.proof(&key));
    harness.assert_refused("the assertion again", other_proof, ErrorKind::Client, "assertion_replayed").await;
    let other_assertion = request(&harness.assertion_with(&json!({})), &proof);
    harness.assert_refused("the proof again", other_assertion, ErrorKind::Proof, "dpop_proof_replayed").await;
}

/// RFC 9449 says nothing of these endpoints: a proof is checked there, and changes nothing.
#[tokio::test]
async fn a_proof_at_introspection_and_revocation_is_checked_and_has_no_effect() {
    let harness = Harness::start().await;
    let (key, other) = (ProofKey::new(), ProofKey::new());
    let token = harness.exchange().proving(&harness, &key).send().await.token().to_owned();
    let proof_at = |path: &str| harness.proof_with(&other, &json!({ "htu": format!("{}{path}", harness.issuer()) }));

    let introspection = || harness.introspect("inventory", &token);
    let wrong = introspection().header("dpop", harness.proof(&other));
    harness.assert_refused_unrecorded("introspection", wrong, ErrorKind::Proof).await;
    let proof = proof_at("/oauth2/introspect");
    let answer = introspection().header("dpop", &proof).send().await;
    assert_eq!((&answer.json["active"], &answer.json["cnf"]["jkt"]), (&json!(true), &json!(key.jkt())));
    let again = introspection().header("dpop", &proof);
    harness.assert_refused_unrecorded("introspection, the proof again", again, ErrorKind::Proof).await;

    let revocation = || harness.revoke("coordinator", &token);
    let wrong = revocation().header("dpop", harness.proof(&other));
    harness.assert_refused("revocation", wrong, ErrorKind::Proof, "dpop_proof_uri").await;
    assert_eq!(introspection().send().await.json["active"], json!(true));
    let answer = revocation().header("dpop", proof_at("/oauth2/revoke")).send().await;
    assert_eq!((answer.status, introspection().send().await.json["active"].clone()), (200, json!(false)));
}

/// A proof carries its key, and an attacker may put in anything: it is never a token in another place.
#[tokio::test]
async fn a_proof_is_no_token_in_any_other_slot() {
    let harness = Harness::start().await;
    let key = ProofKey::new();
    let request = harness.exchange().set("subject_token", harness.proof_with(&key, &harness.user_claims()));
    harness.assert_refused("a subject token", request, ErrorKind::Token, "subject_signature").await;
    let signed_by_idp = harness.idp.key().sign_with(
        &json!({ "alg": "ES256", "kid": harness.idp.key().kid(), "typ": "dpop+jwt" }),
        &harness.user_claims(),
    );
    let request = harness.exchange().set("subject_token", signed_by_idp);
    harness.assert_refused("signed by an issuer", request, ErrorKind::Token, "subject_typ").await;
    let unsigned = format!("{}.{}.", base64url(json!({ "alg": "none" }).to_string()), base64url("{}"));
    let request = harness.exchange().header("dpop", unsigned);
    harness.assert_refused("without a signature", request, ErrorKind::Proof, "dpop_proof_malformed").await;
}
