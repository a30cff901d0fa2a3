//! How operators of the admin API are configured, and what is told when they are not.

use sts_server::config::Overrides;

use super::{Files, HASH};

#[test]
fn the_faults_of_operators_are_told_with_their_lines_and_no_hash_is_repeated() {
    let files = Files::with(
        r#"issuer = "https://sts.example.com"
[[admin.tokens]]
name = "carol"
roll = "admin"
hash = "the token itself, put there by mistake"
[[admin.tokens]]
name = "a b"
role = "root"
hash = 7
[admin.oidc]
issuer = "http://login.example.com"
algorithms = ["HS256"]
audiance = "x"
[admin.odic]
x = 1
"#,
    );
    assert_eq!(
        files.faults(&[], &Overrides::default()),
        [
            "sts.toml:4: error: unknown key \"roll\" in [[admin.tokens]]; did you mean \"role\"?",
            "sts.toml:5: error: hash: must be an argon2id hash in PHC form, which begins with $argon2id$; `sts-server admin token` prints one",
            "sts.toml:7: error: name = \"a b\": 1 to 64 letters, digits, - and _",
            "sts.toml:8: error: role = \"root\": must be reader, operator or admin",
            "sts.toml:9: error: hash must be a string, not an integer",
            "sts.toml:11: error: admin.oidc.issuer = \"http://login.example.com\": not an https url",
            "sts.toml:12: error: admin.oidc.algorithms = \"HS256\": \"HS256\": not an accepted signature algorithm: use ES256, ES384, ES512, EdDSA, RS256, RS384, RS512, PS256, PS384 or PS512",
            "sts.toml:13: error: unknown key \"audiance\" in [admin.oidc]; did you mean \"audience\"?",
            "sts.toml:14: error: unknown key \"odic\" in [admin]; did you mean \"oidc\"?",
        ]
    );
}

#[test]
fn operators_in_the_environment_are_a_json_array_that_is_checked_like_the_file() {
    let files = Files::with("issuer = \"https://sts.example.com\"\n");
    let token = |name: &str| format!("{{\"name\":\"{name}\",\"role\":\"reader\",\"hash\":\"{HASH}\"}}");
    let loaded =
        files.load(&[("STS__ADMIN__TOKENS", &format!("[{},{}]", token("a"), token("b")))], &Overrides::default());
    assert_eq!(loaded.faults, []);
    assert_eq!(loaded.config.unwrap().admin.tokens.len(), 2);
    for (value, fault) in [
        ("carol".to_owned(), "must be a JSON array of objects"),
        (format!("[{},{}]", token("a"), token("a")), "two tokens are named \"a\""),
        (
            "[{\"name\":\"a\",\"role\":\"reader\",\"hash\":\"by mistake\"}]".to_owned(),
            "hash: must be an argon2id hash in PHC form, which begins with $argon2id$; `sts-server admin token` prints one",
        ),
        (
            format!("[{{\"name\":\"a\",\"roll\":\"reader\",\"hash\":\"{HASH}\",\"role\":\"admin\"}}]"),
            "unknown key \"roll\" in [[admin.tokens]]; did you mean \"role\"?",
        ),
    ] {
        let faults = files.faults(&[("STS__ADMIN__TOKENS", &value)], &Overrides::default());
        assert_eq!(faults, [format!("environment: error: STS__ADMIN__TOKENS: {fault}")]);
    }
    let two = files.faults(&[("STS__ADMIN__TOKENS", "[{\"name\":\"a b\"},{}]")], &Overrides::default());
    assert_eq!(two.len(), 6, "every fault of every token: {two:?}");
}

#[test]
fn the_rules_of_an_issuer_of_operators_are_told() {
    for (text, faults) in [
        ("audience = \"x\"", vec!["3: error: admin.oidc.audience needs admin.oidc.issuer too"]),
        ("admins = [\"x\"]", vec!["3: error: admin.oidc.admins needs admin.oidc.issuer too"]),
        (
            "client_id = \"console\"",
            vec![
                "3: error: admin.oidc.client_id needs admin.oidc.issuer too",
                "3: error: admin.oidc.client_id needs admin.url, to which the issuer sends browsers back",
            ],
        ),
        ("client_secret_file = \"secret\"", vec!["3: error: admin.oidc.client_secret_file needs admin.oidc.client_id"]),
        (
            "issuer = \"https://login.example.com\"",
            vec![
                "3: error: admin.oidc.issuer needs admin.oidc.audience: else a token for any audience is accepted",
                "3: error: admin.oidc.issuer needs one of admin.oidc.readers, operators and admins: else every operator is rejected",
            ],
        ),
        (
            "issuer = \"https://sts.example.com\"\naudience = \"x\"\nreaders = [\"x\"]",
            vec!["3: error: admin.oidc.issuer is this service itself, whose tokens are for agents"],
        ),
    ] {
        let files = Files::with(&format!("issuer = \"https://sts.example.com\"\n[admin.oidc]\n{text}\n"));
        let faults: Vec<String> = faults.iter().map(|fault| format!("sts.toml:{fault}")).collect();
        assert_eq!(files.faults(&[], &Overrides::default()), faults, "{text}");
    }
}

#[test]
fn tokens_of_operators_that_travel_in_the_clear_are_warned_of() {
    let tokens = format!("[admin]\ntokens = [{{ name = \"carol\", role = \"admin\", hash = \"{HASH}\" }}]\n");
    let issuer = "issuer = \"https://sts.example.com\"\n";
    let files = Files::with(&format!("{issuer}{tokens}[listen]\nadmin = \"10.0.0.1:8081\"\n"));
    let what = "lets operators send their tokens unencrypted beyond the loopback interface: set tls.admin";
    assert_eq!(files.faults(&[], &Overrides::default()), [format!("sts.toml:5: warning: listen.admin {what}")]);
    let files = Files::with(&format!("{issuer}[listen]\nadmin = \"10.0.0.1:8081\"\n"));
    assert_eq!(files.faults(&[], &Overrides::default()), Vec::<String>::new(), "nobody has a token to send");
}
