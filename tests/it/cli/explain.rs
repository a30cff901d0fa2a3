//! `explain`.

use serde_json::json;
use sts_jose::{Algorithm, Clock as _, SystemClock};
use sts_tests::{TestKey, base64url};

use super::{IDP, SECRET, Shop};

#[tokio::test]
async fn explain_says_which_delegation_allows_and_which_rule_refuses() {
    let (shop, _server) = Shop::serving().await;
    let alice = ["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", IDP, "--sub", "alice"];

    let allowed = shop.folder.run(&[&alice[..], &["--tenant", "acme"]].concat()).await;
    let lines = allowed.ended_with(0);
    assert!(lines.contains("allowed by coordinator->inventory"), "{lines}");
    assert!(lines.contains("aud      inventory"), "{lines}");
    assert!(lines.contains("   roles    none\n"), "an empty value has a word: {lines}");

    let refused = shop.folder.run(&[&alice[..], &["--tenant", "acme", "--scope", "stock:write"]].concat()).await;
    assert!(refused.ended_with(1).contains("refused: invalid_scope (scope_beyond)"), "{refused:?}");

    let refused =
        shop.folder.run(&[&alice[..], &["--tenant", "acme", "--scope", "stock:write", "--json"]].concat()).await;
    refused.ended_with(1);
    let text = refused.json()[0].to_string();
    assert!(text.contains("scope_beyond") && text.contains("client authentication"), "{text}");
}

#[tokio::test]
async fn explain_supposes_no_user_whose_token_would_be_refused() {
    let (shop, _server) = Shop::serving().await;
    let alice = ["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", IDP, "--sub", "alice"];
    let acme = [&alice[..], &["--tenant", "acme"]].concat();

    let without_tenant = shop.folder.run(&alice).await;
    assert!(without_tenant.ended_with(1).contains("(subject_tenant)"), "{without_tenant:?}");
    let by_a_stranger = shop.folder.run(&[&acme[..], &["--chain", "stranger"]].concat()).await;
    assert!(by_a_stranger.ended_with(1).contains("(subject_actor_disabled)"), "{by_a_stranger:?}");
}

#[tokio::test]
async fn explain_verifies_a_real_token_and_issues_nothing() {
    let (shop, _server) = Shop::serving().await;
    shop.folder.write("user.jwt", &shop.user_token());
    let question = ["explain", "--actor", "coordinator", "--target", "inventory", "--subject-token", "@user.jwt"];
    let explained = shop.folder.run(&question).await;
    assert!(explained.ended_with(0).contains("allowed by coordinator->inventory"), "{explained:?}");

    let stolen = ["explain", "--actor", "inventory", "--target", "coordinator", "--subject-token", "@user.jwt"];
    let explained = shop.folder.run(&stolen).await;
    assert!(explained.ended_with(1).contains("(subject_not_addressed)"), "{explained:?}");

    let events = shop.folder.run(&["audit", "list", "--json"]).await;
    assert!(!events.ended_with(0).contains("token."), "an explanation is no decision");
}

#[tokio::test]
async fn explain_shows_what_a_subject_token_says_beside_what_is_expected() {
    let (shop, _server) = Shop::serving().await;
    let now = SystemClock.now().as_second();
    let claims = json!({ "iss": format!("{IDP}/"), "sub": "alice", "aud": "web-app2", "iat": now, "exp": now - 5 });
    let key = TestKey::new(Algorithm::Es256);
    shop.folder.write("user.jwt", &key.sign(&claims));
    let question = ["explain", "--actor", "coordinator", "--target", "inventory", "--subject-token", "@user.jwt"];
    let explained = shop.folder.run(&question).await;
    let lines = explained.ended_with(1);
    for said in ["subject_token: signed", &format!("{IDP}/ "), &format!("did you mean {IDP}?"), "did you mean web-app?"]
    {
        assert!(lines.contains(said), "{said}: {lines}");
    }
    let exp = lines.lines().find(|line| line.starts_with("!  exp")).expect("a row of exp");
    assert!(exp.contains(" s ago)"), "{exp}");
    assert!(lines.contains("(subject_issuer_unknown)"), "{lines}");
    let json = shop.folder.run(&[&question[..], &["--json"]].concat()).await;
    json.ended_with(1);
    let rows = json.json()[0]["tokens"][0]["claims"].as_array().expect("rows").clone();
    let misfits: Vec<&str> =
        rows.iter().filter(|row| row["fits"] == false).filter_map(|row| row["claim"].as_str()).collect();
    assert_eq!(misfits, ["iss", "kid", "aud", "exp"], "{rows:?}");
    assert!(!lines.contains(&key.sign(&claims)), "no token is printed");
}

#[tokio::test]
async fn explain_shows_the_kid_beside_those_of_the_key_set() {
    let (shop, _server) = Shop::serving().await;
    let (now, kid) = (SystemClock.now().as_second(), shop.idp.kid());
    let claims = json!({ "iss": IDP, "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 60 });
    let question = ["explain", "--actor", "coordinator", "--target", "inventory", "--subject-token", "@user.jwt"];
    let nearest = format!("did you mean {kid}?");
    let listed = format!("a key of its key set: {kid}");
    for (header, fits, told) in [
        (json!({ "alg": "ES256", "kid": kid }), true, "a key of its key set"),
        (json!({ "alg": "ES256" }), true, "a key of its key set"),
        (json!({ "alg": "ES256", "kid": format!("{kid}x") }), false, nearest.as_str()),
        (json!({ "alg": "ES256", "kid": "another" }), false, listed.as_str()),
    ] {
        shop.folder.write("user.jwt", &shop.idp.sign_with(&header, &claims));
        let explained = shop.folder.run(&question).await;
        let lines = explained.ended_with(i32::from(!fits));
        assert!(lines.contains(told), "{told}: {lines}");
        assert_eq!(lines.contains("!  kid "), !fits, "{lines}");
    }
}

#[tokio::test]
async fn explain_shows_the_algorithm_beside_those_of_the_issuer() {
    let (shop, _server) = Shop::serving().await;
    let now = SystemClock.now().as_second();
    let claims = json!({ "iss": IDP, "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 60 });
    let signed = TestKey::new(Algorithm::Es256).sign(&claims);
    let (_header, rest) = signed.split_once('.').expect("a token");
    shop.folder.write("user.jwt", &format!("{}.{rest}", base64url(br#"{"alg":"ES384"}"#)));
    let question =
        ["explain", "--actor", "coordinator", "--target", "inventory", "--subject-token", "@user.jwt", "--json"];
    let explained = shop.folder.run(&question).await;
    explained.ended_with(1);
    let rows = explained.json()[0]["tokens"][0]["claims"].clone();
    let row = rows.as_array().expect("rows").iter().find(|row| row["claim"] == "alg").expect("a row");
    assert_eq!(
        (&row["token_says"], &row["registry_expects"], &row["fits"]),
        (&json!("ES384"), &json!("RS256, ES256, EdDSA"), &json!(false))
    );
}

#[tokio::test]
async fn explain_verifies_credentials_and_spends_nothing() {
    let shop = Shop::open();
    let key = TestKey::new(Algorithm::Es256);
    let jwks = toml::Value::try_from(json!({ "keys": [key.jwk()] })).expect("TOML").to_string();
    let registry = std::fs::read_to_string(shop.folder.path("registry.toml")).expect("the registry");
    let registry = format!("{registry}\n[[agents]]\nid = 'signer'\nauth = {{ jwks = {jwks} }}\n");
    shop.folder.write("registry.toml", &registry);
    let server = shop.folder.serve().await;
    let now = SystemClock.now().as_second();
    let assertion = |aud: &str, exp: i64| {
        key.sign(&json!({ "iss": "signer", "sub": "signer", "aud": aud, "iat": now, "exp": exp, "jti": "one" }))
    };
    let issuer = shop.folder.issuer().to_owned();
    shop.folder.write("good.jwt", &assertion(&issuer, now + 60));
    for _ in 0..2 {
        let explained = shop.folder.run(&["explain", "--client-assertion", "@good.jwt"]).await;
        assert!(explained.ended_with(0).contains("authenticated as signer by private_key_jwt"), "{explained:?}");
    }
    shop.folder.write("long.jwt", &assertion(&format!("{issuer}/oauth2/token"), now + 3600));
    let explained = shop.folder.run(&["explain", "--client-assertion", "@long.jwt"]).await;
    let lines = explained.ended_with(1);
    assert!(lines.contains("(assertion_audience)") && lines.contains("and no other"), "{lines}");
    assert!(lines.contains("max_assertion_lifetime"), "{lines}");
    shop.folder.write("stranger.jwt", &shop.user_token());
    let explained = shop.folder.run(&["explain", "--actor-token", "@stranger.jwt"]).await;
    assert!(explained.ended_with(1).contains("(workload_issuer_unknown)"), "{explained:?}");
    let both = shop.folder.run(&["explain", "--actor", "signer", "--client-assertion", "@good.jwt"]).await;
    assert_eq!(both.ended_with(2), "", "{both:?}");
    drop(server);
}

#[tokio::test]
async fn agent_secret_makes_a_secret_that_the_printed_lines_let_in() {
    let shop = Shop::open();
    let made = shop.folder.run(&["agent", "secret", "coordinator", "--json"]).await;
    made.ended_with(0);
    let made = made.json()[0].clone();
    let (secret, sha256) =
        (made["client_secret"].as_str().expect("a secret"), made["client_secret_sha256"].as_str().expect("a hash"));
    assert!(secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "{secret}");
    let printed = shop.folder.run(&["agent", "secret", "coordinator"]).await;
    let lines = printed.ended_with(0).to_owned();
    assert!(lines.contains("id = \"coordinator\"") && lines.contains("client_secret_sha256 = \""), "{lines}");
    assert!(!lines.contains(secret), "each has its own");
    // The new hash stands beside the former one: both secrets are good.
    let registry = std::fs::read_to_string(shop.folder.path("registry.toml")).expect("the registry");
    let line = registry.lines().find(|line| line.starts_with("client_secret_sha256")).expect("a hash").to_owned();
    let former = line.split_once(" = ").expect("a value").1;
    shop.folder.write(
        "registry.toml",
        &registry.replacen(&line, &format!("client_secret_sha256 = [\"{sha256}\", {former}]"), 1),
    );
    let _server = shop.folder.serve().await;
    for secret in [secret, SECRET] {
        let request = shop.http.post(format!("{}/oauth2/introspect", shop.folder.issuer()));
        let answer =
            request.basic_auth("coordinator", Some(secret)).form(&[("token", "x")]).send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    let bad = shop.folder.run(&["agent", "secret", "a b"]).await;
    assert_eq!(bad.ended_with(2), "", "{bad:?}");
}
