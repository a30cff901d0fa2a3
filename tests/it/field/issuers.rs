//! Issuers as real identity providers are: where claims stand, how keys are published, which names an issuer has.

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sts_jose::Algorithm;
use sts_server::error_kind::ErrorKind;
use sts_server::storage::RevocationKind;
use sts_tests::{Fault, FormRequest, Harness, Setup, TestIssuer, TestKey, base64url};

/// The entry of the users' issuer with other values, and a delegation that passes the role `buyer`.
fn idp(values: &'static str) -> Setup {
    Setup::default().registry_with(move |registry, names| {
        registry.issuer_without(names.idp.url(), &["tenant_claim"]);
        registry.issuer(names.idp.url(), values);
        registry.delegation("coordinator", "inventory", "roles = ['buyer']");
    })
}

/// An exchange of a user's token with other claims. A member that is null stays, as null.
fn with(harness: &Harness, changes: Value) -> FormRequest {
    let mut claims = harness.user_claims();
    claims.as_object_mut().expect("claims").extend(changes.as_object().expect("changes").clone());
    harness.exchange().set("subject_token", harness.idp.sign(&claims))
}

async fn issued(request: FormRequest) -> Value {
    request.send().await.claims()
}

/// The users' issuer publishes these keys from the start.
fn publishing(keys: impl FnOnce(&TestIssuer) -> Value + Send + 'static) -> Setup {
    Setup::default().registry_with(move |_registry, names| names.idp.publish(json!({ "keys": keys(&names.idp) })))
}

fn changed(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[tokio::test]
async fn keycloak_roles_stand_at_a_path_and_those_that_do_not_pass_are_told() {
    let harness = idp("roles_claim = '/realm_access/roles'").start().await;
    let request = with(&harness, json!({ "realm_access": { "roles": ["buyer", "offline_access"] }, "roles": ["x"] }));
    let correlation_id = request.correlation_id();
    assert_eq!(issued(request).await["roles"], json!(["buyer"]));
    let event = harness.events(&correlation_id).await.remove(0);
    assert_eq!((event.roles, event.dropped_roles), (vec!["buyer".to_owned()], vec!["offline_access".to_owned()]));
    let objects = idp("roles_claim = ['/nowhere', 'roles']").start().await;
    let casdoor = with(&objects, json!({ "roles": [{ "owner": "org", "name": "buyer" }] }));
    assert_eq!(issued(casdoor).await["roles"], json!(["buyer"]));
}

#[tokio::test]
async fn a_keycloak_organization_that_is_an_object_names_the_tenant() {
    let harness = idp("tenant_claim = ['organization', '/organization/*']").start().await;
    for organization in [json!("acme"), json!(["acme"]), json!({ "acme": { "id": "42" } })] {
        let token = issued(with(&harness, json!({ "organization": organization }))).await;
        assert_eq!(token["tenant_id"], "acme", "{organization}");
    }
    let cases = [
        ("several members", json!({ "acme": {}, "globex": {} })),
        ("no member", json!({})),
        ("several elements", json!(["acme", "globex"])),
        ("no tenant", json!("a/b")),
        ("null", json!(null)),
        ("a boolean", json!(true)),
    ];
    for (label, organization) in cases {
        let request = with(&harness, json!({ "organization": organization }));
        harness.assert_refused(label, request, ErrorKind::Token, "subject_tenant").await;
    }
}

#[tokio::test]
async fn cognito_access_and_id_tokens_of_one_pool_pass() {
    let harness = idp("audience_claim = ['aud', 'client_id']").start().await;
    issued(with(&harness, json!({ "aud": null, "client_id": "web-app" }))).await;
    issued(with(&harness, json!({ "aud": [], "client_id": "web-app" }))).await;
    issued(with(&harness, json!({ "aud": "web-app" }))).await;
    let foreign = with(&harness, json!({ "aud": "another", "client_id": "web-app" }));
    harness.assert_refused("aud of another", foreign, ErrorKind::Token, "subject_not_addressed").await;
    let nobody = with(&harness, json!({ "aud": [], "client_id": null }));
    harness.assert_refused("nobody", nobody, ErrorKind::Token, "subject_not_addressed").await;
}

#[tokio::test]
async fn entra_names_its_users_by_oid_and_the_principal_is_that() {
    let harness = idp("subject_claim = ['oid', 'sub']").start().await;
    let token = issued(with(&harness, json!({ "oid": "user-1", "sub": "pairwise" }))).await;
    assert_eq!((&token["sub"], &token["sub_id"]["sub"]), (&json!("user-1"), &json!("user-1")));
    harness.block(RevocationKind::Subject, Some(harness.idp.url()), "user-1").await;
    let blocked = with(&harness, json!({ "oid": "user-1", "sub": "other" }));
    harness.assert_refused("blocked", blocked, ErrorKind::Token, "subject_revoked").await;
    let two = with(&harness, json!({ "oid": ["a", "b"] }));
    harness.assert_refused("two subjects", two, ErrorKind::Token, "subject_claim_malformed").await;
}

const ENTRA: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";

pub(crate) fn entra(tenant: &str) -> String {
    ENTRA.replace("{tenantid}", tenant)
}

/// One entry for all tenants of the identity provider.
pub(crate) fn one_entry_of_entra() -> Setup {
    Setup::default().registry_with(|registry, names| {
        let aliases = "aliases = ['https://sts.windows.net/{tenantid}/']";
        let keys = format!("jwks_uri = '{}'\ntenant_claim = 'tid'\n{aliases}", names.idp.jwks_uri());
        registry.issuer(names.idp.url(), &keys);
        registry.rename_issuer(names.idp.url(), ENTRA);
        registry.delegation("coordinator", "inventory", &format!("issuers = ['{ENTRA}']"));
    })
}

#[tokio::test]
async fn one_entry_stands_for_every_tenant_of_entra() {
    let harness = one_entry_of_entra().start().await;
    let (one, two) = ("11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555");
    let windows = format!("https://sts.windows.net/{one}/");
    for iss in [entra(one), windows.clone()] {
        let token = issued(with(&harness, json!({ "iss": iss, "tid": one }))).await;
        assert_eq!((&token["tenant_id"], &token["sub_id"]["iss"]), (&json!(one), &json!(entra(one))), "{iss}");
    }
    let cases = [
        ("another tenant", json!({ "iss": entra(two), "tid": one }), "subject_tenant"),
        ("no tenant", json!({ "iss": entra(one) }), "subject_tenant"),
        ("two segments", json!({ "iss": entra("a/b"), "tid": "a/b" }), "subject_issuer_unknown"),
        ("no segment", json!({ "iss": entra(""), "tid": one }), "subject_issuer_unknown"),
        ("a dot", json!({ "iss": entra("a.b"), "tid": "a.b" }), "subject_issuer_unknown"),
        ("too long", json!({ "iss": entra(&"a".repeat(65)), "tid": "a".repeat(65) }), "subject_issuer_unknown"),
        ("the template itself", json!({ "iss": ENTRA, "tid": "{tenantid}" }), "subject_issuer_unknown"),
    ];
    for (label, changes, reason) in cases {
        harness.assert_refused(label, with(&harness, changes), ErrorKind::Token, reason).await;
    }
    harness.block(RevocationKind::Subject, Some(&entra(one)), "alice").await;
    for iss in [entra(one), windows] {
        let request = with(&harness, json!({ "iss": iss, "tid": one }));
        harness.assert_refused("blocked under both names", request, ErrorKind::Token, "subject_revoked").await;
    }
    let answer = with(&harness, json!({ "iss": entra(two), "tid": two })).send().await;
    let next = harness.exchange_by("inventory", answer.token(), "warehouse").send().await.claims();
    assert_eq!(next["sub_id"]["iss"], entra(two), "the next hop finds the entry of the principal");
}

#[tokio::test]
async fn an_issuer_with_several_names_has_one_principal_and_one_block() {
    let harness = Setup::default()
        .registry_with(|registry, names| registry.issuer(names.idp.url(), "aliases = ['accounts.google.com']"))
        .start()
        .await;
    let under_alias = || with(&harness, json!({ "iss": "accounts.google.com" }));
    assert_eq!(issued(under_alias()).await["sub_id"]["iss"], harness.idp.url());
    harness.block(RevocationKind::Subject, Some(harness.idp.url()), "alice").await;
    for request in [under_alias(), harness.exchange()] {
        harness.assert_refused("blocked", request, ErrorKind::Token, "subject_revoked").await;
    }
    let near = with(&harness, json!({ "iss": "accounts.google.com/" }));
    harness.assert_refused("another name", near, ErrorKind::Token, "subject_issuer_unknown").await;
}

#[tokio::test]
async fn a_block_holds_when_the_name_it_was_made_under_becomes_an_alias() {
    let mut harness = Harness::start().await;
    harness.block(RevocationKind::Subject, Some("accounts.google.com"), "alice").await;
    harness.refresh().await;
    harness.exchange().send().await.token();
    harness.apply(|registry, names| registry.issuer(names.idp.url(), "aliases = ['accounts.google.com']")).await;
    for request in [with(&harness, json!({ "iss": "accounts.google.com" })), harness.exchange()] {
        harness.assert_refused("blocked under both names", request, ErrorKind::Token, "subject_revoked").await;
    }
    harness.block(RevocationKind::Subject, Some("accounts.google.com"), "bob").await;
    harness.refresh().await;
    let bob = with(&harness, json!({ "sub": "bob" }));
    harness.assert_refused("blocked since", bob, ErrorKind::Token, "subject_revoked").await;
}

#[tokio::test]
async fn null_counts_as_absent_where_absence_is_allowed() {
    let harness = Harness::start().await;
    for claim in ["nbf", "jti"] {
        issued(with(&harness, json!({ claim: null }))).await;
    }
    let cases = [
        ("exp", "subject_exp_missing"),
        ("sub", "subject_sub"),
        ("aud", "subject_not_addressed"),
        ("iss", "subject_issuer_missing"),
        ("cnf", "subject_cnf"),
        ("act", "subject_act"),
        ("may_act", "subject_may_act"),
        ("tenant_ids", "subject_service_account"),
        ("org_id", "subject_tenant"),
    ];
    for (claim, reason) in cases {
        harness.assert_refused(claim, with(&harness, json!({ claim: null })), ErrorKind::Token, reason).await;
    }
}

#[tokio::test]
async fn a_scope_claim_may_have_spare_white_space() {
    let harness = idp("scopes_from = 'token'\nscope_claim = ['/ext/scope', 'scope', 'scp']").start().await;
    for changes in [
        json!({ "scope": " openid  stock:read " }),
        json!({ "scp": ["openid", "stock:read"] }),
        json!({ "ext": { "scope": "stock:read" }, "scope": "stock:write" }),
    ] {
        assert_eq!(issued(with(&harness, changes.clone())).await["scope"], "stock:read", "{changes}");
    }
    let malformed = with(&harness, json!({ "scope": "stock:read \"" }));
    harness.assert_refused("malformed", malformed, ErrorKind::Token, "subject_scope").await;
}

#[tokio::test]
async fn a_token_of_20_kib_is_read_where_the_limit_says_so_and_else_refused_with_the_numbers() {
    let groups = |harness: &Harness| with(harness, json!({ "groups": vec!["0123456789abcdef0123456789abcdef"; 450] }));
    let harness = Harness::start().await;
    let request = groups(&harness);
    let correlation_id = request.correlation_id();
    harness.assert_refused("20 KiB", request, ErrorKind::Token, "subject_malformed").await;
    let detail = harness.events(&correlation_id).await.remove(0).detail.unwrap();
    assert!(detail.contains("at most 16384 are read"), "{detail}");
    let harness = Setup::default().option("LIMITS__MAX_TOKEN_BYTES", "32KiB").start().await;
    issued(groups(&harness)).await;
}

#[tokio::test]
async fn keycloak_one_kid_may_name_keys_of_several_algorithms() {
    let harness = publishing(|idp| {
        let rsa = TestKey::new(Algorithm::Rs256).jwk();
        let kid = idp.key().jwk()["kid"].clone();
        json!([
            changed(rsa.clone(), "kid", kid.clone()),
            changed(changed(rsa, "kid", kid), "alg", json!("RS512")),
            idp.key().jwk(),
            idp.key().jwk()
        ])
    });
    harness.start().await.exchange().send().await.token();
}

#[tokio::test]
async fn a_coordinate_may_lack_its_leading_zero() {
    let key = std::iter::repeat_with(|| TestKey::new(Algorithm::Es256)).find(|key| key.public_bytes()[1] == 0);
    let key = key.expect("one of a few hundred keys");
    let short = changed(key.jwk(), "x", json!(base64url(&key.public_bytes()[2..33])));
    let harness = publishing(move |_| json!([short])).start().await;
    let token = key.sign(&harness.user_claims());
    harness.exchange().set("subject_token", token).send().await.token();
}

#[tokio::test]
async fn tokens_without_kid_pass_while_two_keys_are_published() {
    let harness = publishing(|idp| json!([TestKey::new(Algorithm::Es256).jwk(), idp.key().jwk()])).start().await;
    let token = harness.idp.key().sign_with(&json!({ "alg": "ES256" }), &harness.user_claims());
    harness.exchange().set("subject_token", token).send().await.token();
    let forged = TestKey::new(Algorithm::Es256).sign_with(&json!({ "alg": "ES256" }), &harness.user_claims());
    let forged = harness.exchange().set("subject_token", forged);
    harness.assert_refused("of no key", forged, ErrorKind::Token, "subject_signature").await;
}

#[tokio::test]
#[expect(clippy::disallowed_types, reason = "aws-lc wants one and ignores it")]
async fn es512_is_verified() {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(66);
    let jwk = json!({ "kty": "EC", "crv": "P-521", "kid": "p", "x": base64url(x), "y": base64url(y) });
    let setup = publishing(move |_| json!([jwk]));
    let setup = setup.registry_with(|registry, names| registry.issuer(names.idp.url(), "algorithms = ['ES512']"));
    let harness = setup.start().await;
    let input =
        format!("{}.{}", base64url(r#"{"alg":"ES512","kid":"p"}"#), base64url(harness.user_claims().to_string()));
    let signature = pair.sign(&random, input.as_bytes()).unwrap();
    let token = format!("{input}.{}", base64url(signature));
    harness.exchange().set("subject_token", token).send().await.token();
}

#[tokio::test]
async fn what_a_key_set_loses_is_told_once_with_issuer_kid_and_reason() {
    let lost = json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "lost-key" });
    let private = changed(TestKey::new(Algorithm::Es256).jwk(), "d", json!(base64url([1; 32])));
    let harness = publishing(move |idp| json!([lost, private, idp.key().jwk()])).start().await;
    harness.exchange().send().await.token();
    harness.server.sts().snapshot().trusted.refresh().await;
    let log = harness.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("lost-key")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(harness.idp.url()) && told[0].contains("weak or invalid"), "{}", told[0]);
    let private = |line: &str| line.contains("it contains private members") && line.contains(harness.idp.url());
    assert!(log.lines().any(private), "{log}");
    let metrics = harness.get_admin("/metrics").await.text();
    assert!(metrics.contains(&format!("sts_issuer_keys_lost{{issuer=\"{}\"}} 2", harness.idp.url())), "{metrics}");
}

#[tokio::test]
async fn a_key_set_that_holds_no_usable_key_is_a_refusal_and_no_outage() {
    let lost = json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "p" });
    let harness = publishing(move |_| json!([lost])).start().await;
    harness.assert_refused("useless", harness.exchange(), ErrorKind::Token, "issuer_keys_unusable").await;
}

#[tokio::test]
async fn a_new_key_while_the_issuer_is_down_is_an_outage_as_often_as_it_is_asked() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    harness.idp.fail(Fault::Status(500));
    let new = TestKey::new(Algorithm::Es256);
    for _ in 0..3 {
        let request = harness.exchange().set("subject_token", new.sign(&harness.user_claims()));
        harness.assert_refused("a new key", request, ErrorKind::Unavailable, "keys_unavailable").await;
    }
    let forged = new.sign_with(&harness.idp.key().header(), &harness.user_claims());
    let forged = harness.exchange().set("subject_token", forged);
    harness.assert_refused("a forged token of a known key", forged, ErrorKind::Token, "subject_signature").await;
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn a_key_that_was_replaced_under_its_kid_is_fetched_once() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    let before = harness.idp.paths().len();
    let new = TestKey::new(Algorithm::Es256);
    let header = harness.idp.key().header();
    harness.idp.publish(json!({ "keys": [changed(new.jwk(), "kid", header["kid"].clone())] }));
    let token = || harness.exchange().set("subject_token", new.sign_with(&header, &harness.user_claims()));
    token().send().await.token();
    for _ in 0..3 {
        harness.assert_refused("the former key", harness.exchange(), ErrorKind::Token, "subject_signature").await;
    }
    token().send().await.token();
    assert_eq!(harness.idp.paths()[before..], ["/.well-known/openid-configuration", "/jwks"]);
}

#[tokio::test]
async fn keys_are_fetched_through_the_proxy_and_the_loopback_interface_directly() {
    let proxy = TestIssuer::start().await;
    let setup = Setup::default().option("EGRESS__PROXY", proxy.url()).registry_with(|registry, names| {
        registry.issuer(names.idp.url(), "jwks_uri = 'http://idp.internal.example/jwks'\nallow_http = true");
        registry.rename_issuer(names.idp.url(), "http://idp.internal.example");
        registry.add(&format!("[[issuers]]\nissuer = '{}'\ntenant = 'acme'\nsubject_prefix = 'l:'", names.idp.url()));
    });
    let harness = setup.start().await;
    let mut claims = harness.user_claims();
    harness.exchange().set("subject_token", harness.idp.sign(&claims)).send().await.token();
    claims["iss"] = json!("http://idp.internal.example");
    harness.exchange().set("subject_token", proxy.sign(&claims)).send().await.token();
    assert_eq!(proxy.paths(), ["/jwks"]);
}

#[tokio::test]
async fn a_bearer_token_of_a_key_set_never_goes_by_a_proxy_in_clear() {
    let (proxy, folder) = (TestIssuer::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("token");
    std::fs::write(&file, "secret").unwrap();
    let setup = Setup::default().option("EGRESS__PROXY", proxy.url()).registry_with(move |registry, names| {
        let keys = format!(
            "jwks_uri = 'http://0.0.0.0:1/jwks'\nallow_http = true\njwks_bearer_token_file = '{}'",
            file.display()
        );
        registry.issuer(names.idp.url(), &keys);
    });
    let harness = setup.start().await;
    assert_eq!(harness.exchange().send().await.status, 503, "nothing listens there");
    assert_eq!((proxy.paths().len(), proxy.authorizations().len()), (0, 0));
}

#[tokio::test]
async fn a_redirect_of_discovery_is_told_with_url_and_target() {
    let harness = Setup::default()
        .registry_with(|_, names| names.idp.fail(Fault::Redirect("https://new.example/x".to_owned())))
        .start()
        .await;
    let request = harness.exchange();
    let correlation_id = request.correlation_id();
    harness.assert_refused("redirected", request, ErrorKind::Unavailable, "keys_unavailable").await;
    let detail = harness.events(&correlation_id).await.remove(0).detail.unwrap();
    for told in [harness.idp.url(), "302", "https://new.example/x", "oauth-authorization-server"] {
        assert!(detail.contains(told), "{told}: {detail}");
    }
}

#[tokio::test]
async fn no_security_rule_is_looser_for_an_issuer_with_selectors() {
    let harness =
        idp("audience_claim = ['aud', 'azp']\nsubject_claim = ['oid', 'sub']\nroles_claim = ['/a/b', 'roles']")
            .start()
            .await;
    let claims = harness.user_claims();
    let key = harness.idp.key();
    let header = |name: &str, value: Value| changed(key.header(), name, value);
    let hs256 = format!("{}.{}", base64url(header("alg", json!("HS256")).to_string()), base64url(claims.to_string()));
    let twice = claims.to_string().replacen('{', "{\"sub\":\"mallory\",", 1);
    let cases = [
        ("HS256", format!("{hs256}.{}", base64url([1; 32])), "subject_malformed"),
        ("none", key.sign_with(&header("alg", json!("none")), &claims), "subject_malformed"),
        ("crit", key.sign_with(&header("crit", json!(["exp"])), &claims), "subject_malformed"),
        ("typ of a logout token", key.sign_with(&header("typ", json!("logout+jwt")), &claims), "subject_typ"),
        ("JOSE", key.sign_with(&header("typ", json!("JOSE")), &claims), "subject_typ"),
        ("duplicate members", key.sign_bytes(key.header().to_string(), twice), "subject_malformed"),
        ("cnf", key.sign(&changed(claims.clone(), "cnf", json!({}))), "subject_cnf"),
        ("a foreign audience", key.sign(&changed(claims.clone(), "aud", json!("another"))), "subject_not_addressed"),
    ];
    for (label, token, reason) in cases {
        let request = harness.exchange().set("subject_token", token);
        harness.assert_refused(label, request, ErrorKind::Token, reason).await;
    }
}
