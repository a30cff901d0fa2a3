//! Subject tokens of outside issuers: address, times, kinds, values.

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{FormRequest, Harness, Setup};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// An exchange of a user's token with other claims.
fn with(harness: &Harness, changes: &Value) -> FormRequest {
    harness.exchange().set("subject_token", harness.user_token_with(changes))
}

/// An exchange of a user's token, one claim of which is this value, null included.
fn with_value(harness: &Harness, claim: &str, value: Value) -> FormRequest {
    let mut claims = harness.user_claims();
    claims[claim] = value;
    harness.exchange().set("subject_token", harness.idp.sign(&claims))
}

/// Changed claims, and why they are refused.
async fn refused(harness: &Harness, cases: Vec<(Value, &str)>) {
    let cases = cases.into_iter().map(|(changes, reason)| {
        let claims = changes.as_object().unwrap().iter();
        let request = claims.fold(harness.user_claims(), |mut claims, (name, value)| {
            claims[name] = value.clone();
            claims
        });
        let request = harness.exchange().set("subject_token", harness.idp.sign(&request));
        (changes.to_string(), request, ErrorKind::Token, reason)
    });
    harness.assert_each_refused(|| harness.exchange(), cases.collect::<Vec<_>>()).await;
}

async fn accepted(harness: &Harness, cases: Vec<Value>) {
    for changes in cases {
        let answer = with(harness, &changes).send().await;
        assert_eq!(answer.status, 200, "{changes}: {}", answer.text());
    }
}

#[tokio::test]
async fn binding_a_subject_token_is_accepted_only_from_an_agent_that_it_is_addressed_to() {
    let harness = Harness::start().await;
    accepted(&harness, vec![json!({ "aud": "coordinator" }), json!({ "aud": ["other", "web-app"] })]).await;
    refused(
        &harness,
        vec![
            (json!({ "aud": "other" }), "subject_not_addressed"),
            (json!({ "aud": "inventory-agent" }), "subject_not_addressed"),
            (json!({ "aud": "Web-App" }), "subject_not_addressed"),
            (json!({ "aud": harness.issuer() }), "subject_not_addressed"),
            (json!({ "aud": ["other", "another"] }), "subject_not_addressed"),
            (json!({ "aud": null }), "subject_not_addressed"),
            (json!({ "aud": [] }), "subject_not_addressed"),
            (json!({ "aud": "" }), "subject_claim_malformed"),
            (json!({ "aud": ["web-app", ""] }), "subject_claim_malformed"),
            (json!({ "aud": ["web-app", 1] }), "subject_claim_malformed"),
            (json!({ "aud": { "web-app": true } }), "subject_claim_malformed"),
        ],
    )
    .await;
    let without = with(&harness, &json!({ "aud": null }));
    harness.assert_refused("no aud", without, ErrorKind::Token, "subject_not_addressed").await;
}

#[tokio::test]
async fn binding_a_captured_token_is_of_no_use_to_another_agent() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    let twin = || harness.exchange_by("inventory", &token, "warehouse");
    let cases = [
        ("the agent that asked for it", harness.exchange_by("coordinator", &token, "inventory")),
        ("the next agent", harness.exchange_by("warehouse", &token, "shelf")),
        ("any agent", harness.exchange_by("reporter", &token, "inventory")),
        ("a workload", harness.exchange_by("runner", &token, "inventory")),
    ];
    let cases = cases.map(|(label, request)| (label, request, ErrorKind::Token, "subject_not_addressed"));
    harness.assert_each_refused(twin, cases).await;
}

#[tokio::test]
async fn binding_accepts_is_for_outside_tokens_alone() {
    let setup = Setup::default();
    let harness =
        setup.registry(|registry| registry.agent("warehouse", r#"accepts = ["inventory-agent"]"#)).start().await;
    let token = harness.first_hop().await;
    let request = harness.exchange_by("warehouse", &token, "shelf");
    harness.assert_refused("accepts", request, ErrorKind::Token, "subject_not_addressed").await;
}

#[tokio::test]
async fn time_exp_has_no_grace_and_iat_and_nbf_have_30_seconds() {
    let harness = Harness::start().await;
    let now = harness.now();
    #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
    let half = now as f64 + 1.5;
    accepted(
        &harness,
        vec![
            json!({ "exp": now + 1 }),
            json!({ "exp": half }),
            json!({ "iat": now + 30 }),
            json!({ "nbf": now + 30 }),
            json!({ "nbf": now }),
            json!({ "iat": null }),
        ],
    )
    .await;
    refused(
        &harness,
        vec![
            (json!({ "exp": now }), "subject_expired"),
            (json!({ "exp": now - 1 }), "subject_expired"),
            (json!({ "exp": half - 1.0 }), "subject_expired"),
            (json!({ "exp": 0 }), "subject_expired"),
            (json!({ "iat": now + 31 }), "subject_not_yet_valid"),
            (json!({ "nbf": now + 31 }), "subject_not_yet_valid"),
            (json!({ "exp": null }), "subject_exp_missing"),
            (json!({ "exp": true }), "subject_claim_malformed"),
            (json!({ "exp": -1 }), "subject_claim_malformed"),
            (json!({ "exp": 1e300 }), "subject_claim_malformed"),
            (json!({ "exp": (now + 60).to_string() }), "subject_claim_malformed"),
            (json!({ "exp": [now + 60] }), "subject_claim_malformed"),
            (json!({ "iat": "now" }), "subject_claim_malformed"),
            (json!({ "iat": -5 }), "subject_claim_malformed"),
            (json!({ "nbf": false }), "subject_claim_malformed"),
            (json!({ "nbf": u64::MAX }), "subject_claim_malformed"),
        ],
    )
    .await;
    let without = with(&harness, &json!({ "exp": null }));
    harness.assert_refused("no exp, no token", without, ErrorKind::Token, "subject_exp_missing").await;
}

#[tokio::test]
async fn time_a_subject_token_that_dies_is_refused_from_that_second_on() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    let request = || harness.exchange_by("inventory", &token, "warehouse");
    harness.advance(299);
    assert_eq!(request().send().await.json["expires_in"], 1);
    harness.advance(1);
    harness.assert_refused("own", request(), ErrorKind::Token, "subject_expired").await;
}

#[tokio::test]
async fn age_a_token_older_than_the_issuer_lets_it_be_is_refused() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.issuer(names.idp.url(), r#"max_token_age = "10m""#);
    });
    let harness = setup.start().await;
    let now = harness.now();
    accepted(
        &harness,
        vec![
            json!({ "iat": now - 600, "exp": now + 9999 }),
            json!({ "iat": null, "exp": now + 600 }),
            json!({ "iat": now }),
        ],
    )
    .await;
    let too_old = [json!({ "iat": now - 601 }), json!({ "iat": null, "exp": now + 601 })];
    for changes in too_old {
        let request = with(&harness, &changes);
        harness.assert_refused(&changes.to_string(), request, ErrorKind::Token, "subject_too_old").await;
    }
}

#[tokio::test]
async fn kinds_the_typ_of_a_token_must_fit_its_declared_type() {
    let harness = Harness::start().await;
    let request = |declared: &str, typ: Option<&str>| {
        let mut header = harness.idp.key().header();
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        let token = harness.idp.key().sign_with(&header, &harness.user_claims());
        harness.exchange().set("subject_token", token).set("subject_token_type", declared)
    };
    let any = [None, Some("JWT"), Some("jwt"), Some("application/JWT"), Some("APPLICATION/jwt")];
    let access = [Some("at+jwt"), Some("AT+JWT"), Some("application/at+jwt")];
    for (declared, fitting) in [
        (sts_tests::ACCESS_TOKEN, [any.as_slice(), access.as_slice()].concat()),
        (JWT, [any.as_slice(), access.as_slice()].concat()),
        (ID_TOKEN, any.to_vec()),
    ] {
        for typ in fitting {
            let answer = request(declared, typ).send().await;
            assert_eq!(answer.status, 200, "{declared} {typ:?}: {}", answer.text());
        }
    }
    let of_others = [
        "",
        "application/",
        "id_token",
        "JOSE",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "entity-statement+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "client-authentication+jwt",
        "txntoken+jwt",
        "application/application/jwt",
        "jwt ",
    ];
    let mut cases = Vec::new();
    for declared in [sts_tests::ACCESS_TOKEN, JWT, ID_TOKEN] {
        for typ in of_others {
            cases.push((format!("{declared} {typ:?}"), request(declared, Some(typ)), ErrorKind::Token, "subject_typ"));
        }
    }
    for typ in access {
        cases.push((format!("id token {typ:?}"), request(ID_TOKEN, typ), ErrorKind::Token, "subject_typ"));
    }
    let own = harness.first_hop().await;
    let own = harness.exchange_by("inventory", &own, "warehouse").set("subject_token_type", ID_TOKEN);
    cases.push(("one of ours as an id token".to_owned(), own, ErrorKind::Token, "subject_typ"));
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}

#[tokio::test]
async fn values_sub_has_1_to_255_characters_and_no_control_characters() {
    let harness = Harness::start().await;
    accepted(
        &harness,
        vec![
            json!({ "sub": "a" }),
            json!({ "sub": "\u{e4}".repeat(255) }),
            json!({ "sub": "a b/c|d\"e" }),
            json!({ "sub": "\u{202e}" }),
        ],
    )
    .await;
    refused(
        &harness,
        vec![
            (json!({ "sub": "" }), "subject_sub"),
            (json!({ "sub": "a".repeat(256) }), "subject_sub"),
            (json!({ "sub": "a".repeat(4096) }), "subject_sub"),
            (json!({ "sub": "a\nb" }), "subject_sub"),
            (json!({ "sub": "a\u{0}" }), "subject_sub"),
            (json!({ "sub": "a\u{7f}" }), "subject_sub"),
            (json!({ "sub": "a\u{85}" }), "subject_sub"),
            (json!({ "sub": null }), "subject_sub"),
            (json!({ "sub": 7 }), "subject_claim_malformed"),
            (json!({ "sub": ["alice"] }), "subject_claim_malformed"),
            (json!({ "jti": "" }), "subject_jti"),
            (json!({ "jti": "a".repeat(256) }), "subject_jti"),
            (json!({ "jti": "a\r\nb" }), "subject_jti"),
            (json!({ "jti": 7 }), "subject_claim_malformed"),
        ],
    )
    .await;
    let without = with(&harness, &json!({ "sub": null }));
    harness.assert_refused("no sub", without, ErrorKind::Token, "subject_sub").await;
}

#[tokio::test]
async fn subject_a_user_whose_sub_is_the_id_of_an_agent_is_refused() {
    let harness = Harness::start().await;
    for agent in ["coordinator", "inventory", "shelf"] {
        let request = with(&harness, &json!({ "sub": agent }));
        harness.assert_refused(agent, request, ErrorKind::Token, "subject_sub_is_agent").await;
    }
    accepted(&harness, vec![json!({ "sub": "Coordinator" }), json!({ "sub": "nobody" })]).await;
}

#[tokio::test]
async fn subject_the_prefix_of_an_issuer_stands_in_sub_and_not_in_sub_id() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.issuer(names.idp.url(), r#"subject_prefix = "idp|""#);
    });
    let harness = setup.start().await;
    let first = harness.exchange().send().await;
    let sub_id = json!({ "format": "iss_sub", "iss": harness.idp.url(), "sub": "alice" });
    let second = harness.exchange_by("inventory", first.token(), "warehouse").send().await;
    for claims in [first.claims(), second.claims()] {
        assert_eq!((&claims["sub"], &claims["sub_id"]), (&json!("idp|alice"), &sub_id));
    }
    accepted(&harness, vec![json!({ "sub": "coordinator" }), json!({ "sub": "a".repeat(251) })]).await;
    let too_long = with(&harness, &json!({ "sub": "a".repeat(252) }));
    harness.assert_refused("with its prefix too long", too_long, ErrorKind::Token, "subject_sub").await;
}

#[tokio::test]
async fn a_token_bound_to_a_key_is_never_exchanged_for_a_bearer_token() {
    let harness = Harness::start().await;
    for cnf in [json!({ "jkt": "x" }), json!({ "x5t#S256": "x" }), json!({ "jwk": {} })] {
        let request = with_value(&harness, "cnf", cnf.clone());
        harness.assert_refused(&cnf.to_string(), request, ErrorKind::Binding, "binding_downgrade").await;
    }
    for cnf in [json!({}), Value::Null, json!("x"), json!([])] {
        let request = with_value(&harness, "cnf", cnf.clone());
        harness.assert_refused(&cnf.to_string(), request, ErrorKind::Token, "subject_cnf").await;
    }
    let actor = harness.cluster.sign(&{
        let mut claims = harness.workload_claims();
        claims["cnf"] = json!({ "jkt": "x" });
        claims
    });
    let request = harness.exchange_by("runner", &harness.user_token(), "inventory").set("actor_token", actor);
    harness.assert_refused_unrecorded("an actor token", request, ErrorKind::Token).await;
}

#[tokio::test]
async fn how_the_user_authenticated_is_copied_from_the_first_subject_token() {
    let harness = Harness::start().await;
    let authentication = json!({ "auth_time": harness.now() - 60, "acr": "gold", "amr": ["pwd", "otp"] });
    let first = with(&harness, &authentication).send().await;
    let second = harness.exchange_by("inventory", first.token(), "warehouse").send().await;
    for claims in [first.claims(), second.claims()] {
        for (name, value) in authentication.as_object().unwrap() {
            assert_eq!(claims[name], *value, "{name}");
        }
    }
    let other_shapes = with(&harness, &json!({ "auth_time": "noon", "acr": 1, "amr": [1] })).send().await.claims();
    for name in authentication.as_object().unwrap().keys() {
        assert_eq!(other_shapes[name], Value::Null, "{name}");
    }
}

#[tokio::test]
async fn the_issuer_of_a_token_is_compared_byte_for_byte() {
    let harness = Harness::start().await;
    let idp = harness.idp.url().to_owned();
    let others = [
        format!("{idp}/"),
        idp.to_uppercase(),
        idp.replace("127.0.0.1", "127.0.0.01"),
        idp.replace("127.0.0.1", "localhost"),
        idp.replace("http", "https"),
        format!("{idp}0"),
        idp.replace('1', "\u{ff11}"),
        format!("{idp} "),
        String::new(),
    ];
    let refused = |iss: &str| with(&harness, &json!({ "iss": iss }));
    let mut cases: Vec<_> =
        others.iter().map(|iss| (iss.clone(), refused(iss), ErrorKind::Token, "subject_issuer_unknown")).collect();
    for (value, reason) in [
        (json!(7), "subject_claim_malformed"),
        (Value::Null, "subject_issuer_missing"),
        (json!([idp]), "subject_claim_malformed"),
    ] {
        cases.push((value.to_string(), with_value(&harness, "iss", value), ErrorKind::Token, reason));
    }
    let without = with(&harness, &json!({ "iss": null }));
    cases.push(("absent".to_owned(), without, ErrorKind::Token, "subject_issuer_missing"));
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}

#[tokio::test]
async fn a_key_of_one_issuer_signs_nothing_for_another() {
    let harness = Harness::start().await;
    // Same kid, other key: the claims say idp, the key is the cluster's.
    let mut header = harness.cluster.key().header();
    header["kid"] = json!(harness.idp.key().kid());
    let token = harness.cluster.key().sign_with(&header, &harness.user_claims());
    let request = harness.exchange().set("subject_token", token);
    harness.assert_refused("the kid of the other", request, ErrorKind::Token, "subject_signature").await;
    let request = harness.exchange().set("subject_token", harness.cluster.sign(&harness.user_claims()));
    harness.assert_refused("its own kid", request, ErrorKind::Token, "subject_key_unknown").await;
}

#[tokio::test]
async fn only_what_this_service_signed_is_a_token_of_its_own() {
    let harness = Harness::start().await;
    let claims = harness.verify(&harness.first_hop().await).await;
    let exchange = |token: String| harness.exchange_by("inventory", &token, "warehouse");
    let twin = || exchange(harness.sign_as_ours(Some("at+jwt"), &claims));
    let mut of_idp = harness.idp.key().header();
    of_idp["typ"] = json!("at+jwt");
    let edited = |edit: fn(&mut Value)| {
        let mut claims = claims.clone();
        edit(&mut claims);
        exchange(harness.sign_as_ours(Some("at+jwt"), &claims))
    };
    let malformed = "subject_claim_malformed";
    let cases = [
        ("signed by the idp", exchange(harness.idp.key().sign_with(&of_idp, &claims)), "subject_signature"),
        ("without typ", exchange(harness.sign_as_ours(None, &claims)), "subject_typ"),
        ("typ of any JWT", exchange(harness.sign_as_ours(Some("JWT"), &claims)), "subject_typ"),
        ("no act", edited(|claims| drop(claims.as_object_mut().unwrap().remove("act"))), "subject_service_account"),
        (
            "no sub_id",
            edited(|claims| drop(claims.as_object_mut().unwrap().remove("sub_id"))),
            "subject_service_account",
        ),
        ("no txn", edited(|claims| drop(claims.as_object_mut().unwrap().remove("txn"))), malformed),
        ("aud of several", edited(|claims| claims["aud"] = json!(["inventory-agent"])), malformed),
        ("act malformed", edited(|claims| claims["act"] = json!({ "iss": "x" })), malformed),
        ("bound", edited(|claims| claims["cnf"] = json!({})), "subject_cnf"),
    ];
    let cases = cases.map(|(label, request, reason)| (label, request, ErrorKind::Token, reason));
    harness.assert_each_refused(twin, cases).await;
}
