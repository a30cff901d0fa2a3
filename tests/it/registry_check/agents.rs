//! The rules of agents.

use std::path::Path;

use sts_server::config::{self, Overrides};
use sts_server::registry::{RegistryFile, check};

use super::{
    A, B, JWKS, SCOPES, SECRET, VALID, after, assert_each_makes_one_fault, assert_each_makes_one_fault_of, faults,
};

#[test]
fn every_rule_of_agents_is_told() {
    let audience = |list: &str| after(B, &format!("audience = {list}"));
    let taken = audience("[\"b\", \"a\"]");
    let repeated = audience("[\"x\", \"x\"]");
    let unnamed = audience("[\"\"]");

    let fragment = audience("[\"https://b.example/#top\"]");
    let own = audience("[\"https://sts.example.com\"]");
    let accepts = after(B, "accepts = [\"\"]");
    let target = after(A, "default_target = \"bb\"");
    let tenants = after(B, "tenants = []");
    let forward = after(A, "tenants = [\"acme\"]\nforward_tenants = [\"acme\", \"globex\"]");
    let alg = after(B, "signing_alg = \"ES384\"");
    let ttl = after(B, "token_ttl = \"1h\"");
    let both = format!(
        "{SECRET}\nclient_secret_hash = \"$argon2id$v=19$m=19456,t=2,p=1$YWJjZGVmZ2g$Zm9vYmFyYmF6Zm9vYmFyYmF6\""
    );
    let zeros = "0".repeat(64);
    let three = format!("client_secret_sha256 = [\"{zeros}\", \"{zeros}\", \"{zeros}\"]");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let of_nothing = format!("client_secret_sha256 = [\"{zeros}\", \"{empty}\"]");
    let needless = format!("{SECRET}\nmax_assertion_lifetime = \"5m\"");
    let allowing = |option: &str| format!("jwks_uri = \"https://a.example/jwks\"\n{option}");
    let keys = format!("jwks = {JWKS}\njwks_uri = \"https://a.example/jwks\"");
    let workload = |more: &str| {
        format!("workload = [\n  {{ issuer = \"https://login.example.com\", subject = \"w\" }},\n  {more},\n]")
    };
    let unknown = workload("{ issuer = \"https://login.example.co\", subject = \"w\" }");
    let pair = workload("{ issuer = \"https://login.example.com\", subject = \"w\" }");
    let nobody = workload("{ issuer = \"https://login.example.com\", subject = \"\" }");
    let shared = workload("{ issuer = \"https://login.example.com\", subject = \"v\", audience = \"cluster\" }");
    assert_each_makes_one_fault(&[
        (B, "id = \"b\"\n[[agents]]\nid = \"b\"\n", "r.toml:12: error: agent \"b\" is already defined at line 9"),
        (B, &taken, "r.toml:11: error: audience \"a\" of agent \"b\" is a name of agent \"a\" at line 4"),
        (B, &repeated, "r.toml:11: error: audience \"x\" of agent \"b\" is listed twice"),
        (B, &unnamed, "r.toml:11: error: audience \"\" of agent \"b\" is empty"),
        (
            B,
            &fragment,
            "r.toml:11: error: audience \"https://b.example/#top\" of agent \"b\" has a fragment, so no resource parameter can name it (RFC 8707 section 2)",
        ),
        (B, &own, "r.toml:11: error: audience \"https://sts.example.com\" of agent \"b\" is this service itself"),
        (B, &accepts, "r.toml:11: error: accepts of agent \"b\" contains an empty text"),
        (A, &target, "r.toml:6: error: default_target \"bb\" of agent \"a\" is not an agent; did you mean \"b\"?"),
        (
            B,
            &tenants,
            "r.toml:11: error: tenants of agent \"b\" is empty: it could neither ask nor receive; leave it out for every tenant, or say disabled = true",
        ),
        (A, &forward, "r.toml:7: error: forward_tenants of agent \"a\": \"globex\" is not among its tenants"),
        (
            B,
            &alg,
            "r.toml:11: error: signing_alg \"ES384\" of agent \"b\": tokens are signed with ES256, RS256 or EdDSA",
        ),
        (
            B,
            &after(B, "bearer_only = true\ndpop_bound_access_tokens_required = true"),
            "r.toml:11: error: agent \"b\" has both bearer_only and dpop_bound_access_tokens_required; keep one of them",
        ),
        (B, &ttl, "r.toml:11: warning: token_ttl 1h of agent \"b\" is cut to limits.max_ttl, 15m"),
        (
            SECRET,
            "",
            "r.toml:6: error: auth of agent \"a\" names no credential; leave it out for an agent that only receives",
        ),
        (
            SECRET,
            &both,
            "r.toml:7: error: agent \"a\" has both client_secret_hash and client_secret_sha256; keep one of them",
        ),
        (
            SECRET,
            "client_secret_hash = \"$2b$12$abc\"",
            "r.toml:7: error: client_secret_hash of agent \"a\" must be an argon2id hash in PHC form, which begins with $argon2id$",
        ),
        (
            SECRET,
            "client_secret_hash = \"$argon2id$v=19$m=4294967295,t=2,p=1$YWJjZGVmZ2g$Zm9vYmFyYmF6Zm9vYmFyYmF6\"",
            "r.toml:7: error: client_secret_hash of agent \"a\" asks for m=4294967295,t=2,p=1, and at most m=262144,t=10,p=4 are computed",
        ),
        (
            SECRET,
            "client_secret_sha256 = \"00\"",
            "r.toml:7: error: client_secret_sha256 of agent \"a\" is not 64 hexadecimal digits",
        ),
        (SECRET, &three, "r.toml:7: error: client_secret_sha256 of agent \"a\" has 3 hashes; 1 or 2 are allowed"),
        (
            SECRET,
            "client_secret_sha256 = []",
            "r.toml:7: error: client_secret_sha256 of agent \"a\" has 0 hashes; 1 or 2 are allowed",
        ),
        (
            SECRET,
            "client_secret_sha256 = 1",
            "r.toml:7: error: auth.client_secret_sha256 must be a string or an array of strings, not an integer",
        ),
        (
            SECRET,
            &of_nothing,
            "r.toml:7: error: client_secret_sha256 of agent \"a\" is the hash of an empty secret: was $SECRET set?",
        ),
        (
            SECRET,
            &needless,
            "r.toml:8: error: max_assertion_lifetime of agent \"a\": it has no key to sign client assertions with; name its jwks or jwks_uri",
        ),
        (
            SECRET,
            &allowing("assertion_audience = \"issuer_or_token_endpoint\""),
            "r.toml:8: warning: client assertions of agent \"a\" may be addressed to the token endpoint: keep it to our issuer alone, if its library can",
        ),
        (
            SECRET,
            &allowing("max_assertion_lifetime = \"1h\""),
            "r.toml:8: warning: client assertions of agent \"a\" may live for 1h, and 5m is the default: keep it, if its library can",
        ),
        (
            SECRET,
            &allowing("max_assertion_lifetime = \"61m\""),
            "r.toml:8: error: max_assertion_lifetime 61m of agent \"a\" is longer than 1h",
        ),
        (SECRET, &keys, "r.toml:8: error: agent \"a\" has both jwks and jwks_uri; keep one of them"),
        (SECRET, "jwks = { keys = [] }", "r.toml:7: error: jwks of agent \"a\": it contains no usable key"),
        (
            SECRET,
            "jwks_uri = \"http://a.example/jwks\"",
            "r.toml:7: error: jwks_uri \"http://a.example/jwks\" of agent \"a\": http is only for the loopback interface",
        ),
    ]);
    // The issuer of these workloads is one of users too.
    let listed = after(VALID, "issuers = [\"https://login.example.com\"]");
    assert_each_makes_one_fault_of(
        &listed,
        &[
            (
                SECRET,
                &unknown,
                "r.toml:9: warning: workload issuer \"https://login.example.co\" of agent \"a\" is not registered; did you mean \"https://login.example.com\"?",
            ),
            (
                SECRET,
                &pair,
                "r.toml:9: error: workload \"w\" of \"https://login.example.com\" is agent \"a\" already, at line 4",
            ),
            (SECRET, &nobody, "r.toml:9: error: workload subject of agent \"a\" is empty"),
            (
                SECRET,
                &shared,
                "r.toml:9: warning: workload audience \"cluster\" of agent \"a\" is not this service: others that this audience names can present its tokens here; project tokens for our issuer alone, if you can",
            ),
        ],
    );
}

#[test]
fn hashes_of_different_costs_are_warned_of() {
    let hash =
        |cost: &str| format!("client_secret_hash = \"$argon2id$v=19${cost}$YWJjZGVmZ2g$Zm9vYmFyYmF6Zm9vYmFyYmF6\"");
    let with = |cost: &str| {
        let text = VALID.replacen(SECRET, &hash("m=19456,t=2,p=1"), 1);
        faults(&text.replacen(B, &after(B, &format!("[agents.auth]\n{}", hash(cost))), 1))
    };
    assert_eq!(with("m=19456,t=2,p=1"), [""; 0]);
    assert_eq!(
        with("m=65536,t=3,p=4"),
        [
            "r.toml:7: warning: client_secret_hash of agent \"a\" costs m=19456,t=2,p=1, and another agent's m=65536,t=3,p=4: the time of an answer tells which ids there are; make all hashes with the same parameters"
        ]
    );
}

#[test]
fn an_agent_id_is_printable_ascii() {
    let long = "x".repeat(256);
    for id in ["", "a b", "ä", "a\\n", &long] {
        let text = VALID.replacen(B, &format!("id = \"{id}\"\n"), 1).replacen(
            "target = \"b\"",
            &format!("target = \"{id}\""),
            1,
        );
        let all = faults(&text);
        assert!(
            all.iter().any(|fault| fault.ends_with("1 to 255 printable ASCII characters without space")),
            "{id:?}: {all:?}"
        );
    }
    assert_eq!(faults(&VALID.replacen(B, "id = \"b\"\naudience = [\"b\", \"https://b.example/\"]\n", 1)), [""; 0]);
}

#[test]
fn a_star_stands_at_the_end_of_a_class_and_of_its_subject_alone() {
    let class = |id: &str, subject: &str| {
        let workload = format!("workload = [{{ issuer = \"https://login.example.com\", subject = {subject:?} }}]");
        let issuers = "issuers = [\"https://login.example.com\"]";
        let text = VALID.replacen("id = \"a\"", &format!("id = {id:?}"), 1).replacen(
            "actor = \"a\"",
            &format!("actor = {id:?}"),
            1,
        );
        text.replacen(SECRET, &workload, 1).replacen(SCOPES, &format!("{SCOPES}{issuers}\n"), 1)
    };
    for subject in
        ["system:serviceaccount:batch:*", "repo:acme/shop:ref:refs/heads/*", "system:serviceaccount:batch:job-*"]
    {
        assert_eq!(faults(&class("batch/*", subject)), [""; 0], "{subject}");
    }
    for (id, subject, told) in [
        ("a", "repo:acme/shop:*", "ends with '*', but the agent is not a class"),
        ("batch/*", "repo:*:x", "contains a '*' before its end"),
        ("batch/*", "repo:*:*", "contains a '*' before its end"),
        ("batch/*", "*", "has no ':' or '/' before its '*'"),
        ("batch/*", "system:serviceaccount:batch:one", "does not end with '*', and the agent is a class"),
        ("batch*", "s:a", "contains a '*' that is not its last segment"),
        ("/*", "s:*", "a class has a name without '*' before its /*"),
    ] {
        let all = faults(&class(id, subject)).join("\n");
        assert!(all.contains(told), "{id} {subject}: {all}");
    }
    let secret = class("batch/*", "s:*").replacen("workload", &format!("{SECRET}\nworkload"), 1);
    assert!(faults(&secret).join("\n").contains("whose instances authenticate only as workloads"));
    let instance = format!("{}\n[[agents]]\nid = \"batch/one\"\n", class("batch/*", "s:*"));
    assert!(faults(&instance).join("\n").contains("is the name of an instance of the class \"batch/*\""));
    let second = "\n[[agents]]\nid = \"other/*\"\nauth = { workload = [{ issuer = \"https://login.example.com\", subject = \"s:job-*\" }] }\n";
    let other = "subject = \"s:*\" }, { issuer = \"https://login.example.com\", subject = \"t:*\" }";
    let several = class("batch/*", "s:*").replacen("subject = \"s:*\" }", other, 1);
    assert!(faults(&several).join("\n").contains("is a class with several workloads"));
    let overlapping = format!("{}{second}", class("batch/*", "s:*"));
    assert!(faults(&overlapping).join("\n").contains("match the same subjects"));
}

#[test]
fn a_name_of_a_certificate_that_the_server_does_not_verify_is_warned_of() {
    for key in ["tls_client_auth_san_uri", "tls_client_auth_san_dns", "tls_client_auth_subject_dn"] {
        let text = VALID.replacen(SECRET, &format!("{key} = \"CN=a\""), 1);
        let warning = format!(
            "r.toml:7: warning: {key} of agent \"a\": the server verifies no client certificates; \
             set tls.client_ca_file, or listen.client_certificate_header"
        );
        assert_eq!(faults(&text), [warning], "{key}");
        let file = RegistryFile::parse(Path::new("r.toml"), &text);
        let header =
            [("STS__LISTEN__CLIENT_CERTIFICATE_HEADER", "Client-Cert"), ("STS__LISTEN__TRUSTED_PROXIES", "10.0.0.1")];
        let header = header.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let overrides = Overrides { issuer: Some("https://sts.example.com".to_owned()), ..Overrides::default() };
        let behind_a_proxy = config::load(None, header, &overrides).config.expect("a configuration");
        assert_eq!(check(&file, Some(&behind_a_proxy)), [], "{key}");
    }
}
