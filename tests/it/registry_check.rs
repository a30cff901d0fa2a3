//! What `check` says about a registry file: exact messages with their lines.

use std::path::Path;

use sts_server::config::{self, Config, Overrides};
use sts_server::registry::{RegistryFile, check};

/// A registry without faults; each case changes one thing.
const VALID: &str = r#"[[issuers]]
issuer = "https://login.example.com"

[[agents]]
id = "a"
[agents.auth]
client_secret_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

[[agents]]
id = "b"

[[delegations]]
actor = "a"
target = "b"
scopes = ["s"]
"#;

const ISSUER: &str = "issuer = \"https://login.example.com\"\n";
const A: &str = "id = \"a\"\n";
const B: &str = "id = \"b\"\n";
const SECRET: &str = "client_secret_sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"";
const SCOPES: &str = "scopes = [\"s\"]\n";
const JWKS: &str = r#"{ keys = [{ kty = "EC", crv = "P-256", kid = "1", x = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", y = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" }] }"#;

fn configuration() -> Config {
    let overrides = Overrides { issuer: Some("https://sts.example.com".to_owned()), ..Overrides::default() };
    config::load(None, [], &overrides).config.expect("a configuration of an issuer alone is whole")
}

fn faults(text: &str) -> Vec<String> {
    let file = RegistryFile::parse(Path::new("r.toml"), text);
    check(&file, Some(&configuration())).iter().map(ToString::to_string).collect()
}

/// Each case: what to replace in the valid registry (once), by what, and the one fault that this makes.
fn assert_each_makes_one_fault(cases: &[(&str, &str, &str)]) {
    assert_eq!(faults(VALID), [""; 0]);
    for (old, new, fault) in cases {
        assert!(VALID.contains(old), "{old:?} is not in the valid registry");
        assert_eq!(faults(&VALID.replacen(old, new, 1)), [*fault], "{new}");
    }
}

fn after(line: &str, more: &str) -> String {
    format!("{line}{more}\n")
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let tenant_clam = after(ISSUER, "tenant_clam = \"org\"");
    let colour = after(A, "colour = \"red\"");
    let number = after(ISSUER, "max_token_age = 5");
    let age = after(ISSUER, "max_token_age = \"5x\"");
    let tenant = after(ISSUER, "tenants = [\"acme\", \"a b\"]");
    let star = after(ISSUER, "tenants = [\"acme\", \"*\"]");
    let algorithm = after(ISSUER, "algorithms = [\n  \"ES256\",\n  \"HS256\",\n]");
    let url = after(ISSUER, "jwks_uri = \"keys\"");
    let from = after(ISSUER, "scopes_from = \"tokens\"");
    let disabled = after(B, "disabled = \"yes\"");
    let not_json = after(ISSUER, "jwks = \"{\"");
    let date = after(ISSUER, "jwks = { keys = [1979-05-27] }");
    assert_each_makes_one_fault(&[
        (
            ISSUER,
            &tenant_clam,
            "r.toml:3: error: unknown key \"tenant_clam\" in [[issuers]]; did you mean \"tenant_claim\"?",
        ),
        (A, &colour, "r.toml:6: error: unknown key \"colour\" in [[agents]]"),
        (
            SECRET,
            "client_secret = \"x\"",
            "r.toml:7: error: unknown key \"client_secret\" in [agents.auth]; did you mean \"client_secret_hash\"?",
        ),
        (ISSUER, "", "r.toml:1: error: missing key \"issuer\" in [[issuers]]"),
        (ISSUER, &number, "r.toml:3: error: max_token_age must be a string, not an integer"),
        (
            ISSUER,
            &age,
            "r.toml:3: error: max_token_age = \"5x\": a span of time is a whole number above zero and s, m, h or d, such as \"5m\"; ten years at most",
        ),
        (
            ISSUER,
            &tenant,
            "r.toml:3: error: tenants = \"a b\": a tenant is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'",
        ),
        (ISSUER, &star, "r.toml:3: error: tenants: \"*\" means every tenant and stands alone"),
        (ISSUER, &algorithm, "r.toml:5: error: algorithms = \"HS256\": not an accepted signature algorithm"),
        (ISSUER, &url, "r.toml:3: error: jwks_uri = \"keys\": relative URL without a base"),
        (
            ISSUER,
            &from,
            "r.toml:3: error: scopes_from = \"tokens\": unknown variant `tokens`, expected `delegation` or `token`",
        ),
        (B, &disabled, "r.toml:11: error: disabled must be true or false, not a string"),
        (ISSUER, &not_json, "r.toml:3: error: jwks: not JSON: EOF while parsing an object at line 1 column 1"),
        (ISSUER, &date, "r.toml:3: error: jwks must be what JSON can hold, not a date or time"),
        (
            SCOPES,
            "scopes = [\"a b\"]\n",
            "r.toml:15: error: scopes = \"a b\": a scope token holds a character that RFC 6749 section 3.3 does not allow",
        ),
        (
            SCOPES,
            "scopes = [{ scope = \"s\" }]\n",
            "r.toml:15: error: missing key \"from\" in scopes of [[delegations]]",
        ),
        (SCOPES, "scopes = [1]\n", "r.toml:15: error: scopes must be a string or a table, not an integer"),
        (
            "[[delegations]]",
            "[[delegation]]",
            "r.toml:12: error: unknown key \"delegation\" in the registry; did you mean \"delegations\"?",
        ),
        ("[[delegations]]", "[delegations]", "r.toml:12: error: delegations must be an array of tables, not a table"),
    ]);
}

#[test]
fn a_file_that_is_not_toml_is_told_with_its_line() {
    assert_eq!(
        faults("[[issuers]]\nissuer = \n"),
        ["r.toml:2: error: not TOML: string values must be quoted, expected literal string"]
    );
    let missing = RegistryFile::read(Path::new("/nowhere/r.toml"));
    let all: Vec<String> = missing.faults().iter().map(ToString::to_string).collect();
    assert_eq!(all, ["/nowhere/r.toml: error: cannot be read: No such file or directory (os error 2)"]);
}

#[test]
fn every_rule_of_issuers_is_told() {
    let twice = format!("{ISSUER}[[issuers]]\n{ISSUER}");
    let both = after(ISSUER, "jwks_uri = \"https://login.example.com/jwks\"\njwks_file = \"/nowhere\"");
    let http_keys = after(ISSUER, "jwks_uri = \"http://login.example.com/jwks\"");
    let no_keys = after(ISSUER, "jwks = { keys = [] }");
    let no_set = after(ISSUER, "jwks = { key = [] }");
    let file = after(ISSUER, "jwks_file = \"/nowhere\"");
    let tenants = after(ISSUER, "tenant = \"acme\"\ntenant_claim = \"org_id\"");
    let scope_claim = after(ISSUER, "scope_claim = \"scp\"");
    let algorithms = after(ISSUER, "algorithms = []");
    let none = after(ISSUER, "tenants = []");
    let other = after(ISSUER, "tenant = \"acme\"\ntenants = [\"globex\"]");
    let unsaid = after(ISSUER, "tenants = [\"acme\"]");
    let empty = after(ISSUER, "tenant_claim = \"\"");
    let ca = after(ISSUER, &format!("jwks = {JWKS}\njwks_bearer_token_file = \"/dev/null\""));
    let prefix = after(ISSUER, "subject_prefix = \"a\\u0007\"");
    assert_each_makes_one_fault(&[
        (ISSUER, &twice, "r.toml:4: error: issuer \"https://login.example.com\" stands already at line 1"),
        (
            ISSUER,
            "issuer = \"https://sts.example.com\"\n",
            "r.toml:2: error: issuer \"https://sts.example.com\" is this service itself; leave it out: its own tokens are believed without an entry",
        ),
        (ISSUER, "issuer = \"\"\n", "r.toml:2: error: issuer is empty"),
        (
            ISSUER,
            "issuer = \"http://login.example.com\"\n",
            "r.toml:2: error: issuer \"http://login.example.com\": http goes no further than the loopback interface; use https, or say allow_http = true",
        ),
        (
            ISSUER,
            &http_keys,
            "r.toml:3: error: jwks_uri \"http://login.example.com/jwks\" of issuer \"https://login.example.com\": http goes no further than the loopback interface; use https, or say allow_http = true",
        ),
        (
            ISSUER,
            "issuer = \"spiffe://example.org\"\n",
            "r.toml:2: error: issuer \"spiffe://example.org\" is not an http(s) URL, so its keys cannot be discovered; give jwks_uri, jwks or jwks_file",
        ),
        (
            ISSUER,
            "issuer = \"https://login.example.com?a\"\n",
            "r.toml:2: error: issuer \"https://login.example.com?a\" has a query or fragment, so its keys cannot be discovered; give jwks_uri, jwks or jwks_file",
        ),
        (ISSUER, &no_keys, "r.toml:3: error: jwks of issuer \"https://login.example.com\": no key in it can be used"),
        (
            ISSUER,
            &no_set,
            "r.toml:3: error: jwks of issuer \"https://login.example.com\": keys is missing or not an array",
        ),
        (
            ISSUER,
            &file,
            "r.toml:3: warning: jwks_file of issuer \"https://login.example.com\" cannot be read here: No such file or directory (os error 2)",
        ),
        (
            ISSUER,
            &tenants,
            "r.toml:4: error: issuer \"https://login.example.com\" has both tenant and tenant_claim; keep one of them",
        ),
        (
            ISSUER,
            &scope_claim,
            "r.toml:3: error: scope_claim of issuer \"https://login.example.com\" is of no use without scopes_from = \"token\"",
        ),
        (
            ISSUER,
            &algorithms,
            "r.toml:3: error: algorithms of issuer \"https://login.example.com\" is empty: none of its tokens could verify; leave it out for RS256, ES256 and EdDSA",
        ),
        (
            ISSUER,
            &none,
            "r.toml:3: error: tenants of issuer \"https://login.example.com\" is empty: none of its tokens would count; leave it out for every tenant",
        ),
        (
            ISSUER,
            &other,
            "r.toml:3: error: tenant \"acme\" of issuer \"https://login.example.com\" is not among its tenants",
        ),
        (
            ISSUER,
            &unsaid,
            "r.toml:3: warning: tenants of issuer \"https://login.example.com\" are limited, but its tokens have no tenant: all are refused; say tenant_claim or tenant",
        ),
        (ISSUER, &empty, "r.toml:3: error: tenant_claim of issuer \"https://login.example.com\" is empty"),
        (
            ISSUER,
            &ca,
            "r.toml:4: warning: jwks_bearer_token_file of issuer \"https://login.example.com\" is of no use: its keys are not fetched",
        ),
        (
            ISSUER,
            &prefix,
            "r.toml:3: error: subject_prefix of issuer \"https://login.example.com\" holds a control character",
        ),
    ]);
    let all = faults(&VALID.replacen(ISSUER, &both, 1));
    assert_eq!(
        all.first().map(String::as_str),
        Some(
            "r.toml:4: error: issuer \"https://login.example.com\" has both jwks_uri and jwks_file; keep one of jwks_uri, jwks and jwks_file, or none for discovery"
        )
    );
}

#[test]
fn issuers_that_need_no_discovery_may_be_any_text() {
    for issuer in ["spiffe://example.org", "accounts.google.com"] {
        let named = format!("issuer = {issuer:?}\njwks = {JWKS}\n");
        assert_eq!(faults(&VALID.replacen(ISSUER, &named, 1)), [""; 0]);
    }
    for more in ["issuer = \"http://login.example.com\"\nallow_http = true\n", "issuer = \"http://localhost:8080\"\n"] {
        assert_eq!(faults(&VALID.replacen(ISSUER, more, 1)), [""; 0]);
    }
    let text = after(
        ISSUER,
        r#"jwks = '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'"#,
    );
    assert_eq!(faults(&VALID.replacen(ISSUER, &text, 1)), [""; 0]);
}

#[test]
fn every_rule_of_agents_is_told() {
    let audience = |list: &str| after(B, &format!("audience = {list}"));
    let taken = audience("[\"b\", \"a\"]");
    let repeated = audience("[\"x\", \"x\"]");
    let empty = audience("[\"\"]");
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
    let keys = format!("jwks = {JWKS}\njwks_uri = \"https://a.example/jwks\"");
    let workload = |more: &str| {
        format!("workload = [\n  {{ issuer = \"https://login.example.com\", subject = \"w\" }},\n  {more},\n]")
    };
    let unknown = workload("{ issuer = \"https://login.example.co\", subject = \"w\" }");
    let pair = workload("{ issuer = \"https://login.example.com\", subject = \"w\" }");
    let nobody = workload("{ issuer = \"https://login.example.com\", subject = \"\" }");
    let shared = workload("{ issuer = \"https://login.example.com\", subject = \"v\", audience = \"cluster\" }");
    assert_each_makes_one_fault(&[
        (B, "id = \"b\"\n[[agents]]\nid = \"b\"\n", "r.toml:12: error: agent \"b\" stands already at line 9"),
        (B, &taken, "r.toml:11: error: audience \"a\" of agent \"b\" is a name of agent \"a\" at line 4"),
        (B, &repeated, "r.toml:11: error: audience \"x\" of agent \"b\" stands twice"),
        (B, &empty, "r.toml:11: error: audience \"\" of agent \"b\" is empty"),
        (
            B,
            &fragment,
            "r.toml:11: error: audience \"https://b.example/#top\" of agent \"b\" has a fragment, so no resource parameter can name it (RFC 8707 section 2)",
        ),
        (B, &own, "r.toml:11: error: audience \"https://sts.example.com\" of agent \"b\" is this service itself"),
        (B, &accepts, "r.toml:11: error: accepts of agent \"b\" holds an empty text"),
        (A, &target, "r.toml:6: error: default_target \"bb\" of agent \"a\" is no agent; did you mean \"b\"?"),
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
            "r.toml:7: error: client_secret_hash of agent \"a\" is not an argon2id hash in PHC form; it begins with \"$argon2id$\"",
        ),
        (
            SECRET,
            "client_secret_sha256 = \"00\"",
            "r.toml:7: error: client_secret_sha256 of agent \"a\" is not 64 hexadecimal digits",
        ),
        (SECRET, &keys, "r.toml:8: error: agent \"a\" has both jwks and jwks_uri; keep one of them"),
        (SECRET, "jwks = { keys = [] }", "r.toml:7: error: jwks of agent \"a\": no key in it can be used"),
        (
            SECRET,
            "jwks_uri = \"http://a.example/jwks\"",
            "r.toml:7: error: jwks_uri \"http://a.example/jwks\" of agent \"a\": http goes no further than the loopback interface",
        ),
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
            "r.toml:9: warning: workload audience \"cluster\" of agent \"a\" is not this service: whoever else is addressed by it can present its tokens here; project tokens for our issuer alone, if you can",
        ),
    ]);
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
fn every_rule_of_delegations_is_told() {
    let with = |more: &str| after(SCOPES, more);
    let overlap = with("[[delegations]]\nactor = \"a\"\ntarget = \"b\"\nscopes = [\"t\"]\ntenants = [\"acme\"]");
    let issuer = with("issuers = [\"https://login.example.org\"]");
    let nobody = with("issuers = []");
    let no_tenant = with("tenants = []");
    let long = with("max_ttl = \"16m\"");
    let outside = after(A, "tenants = [\"acme\"]");
    assert_each_makes_one_fault(&[
        (
            "actor = \"a\"",
            "actor = \"A\"",
            "r.toml:13: error: actor \"A\" of a delegation is no agent; did you mean \"a\"?",
        ),
        (
            "target = \"b\"",
            "target = \"inventory\"",
            "r.toml:14: error: target \"inventory\" of a delegation is no agent",
        ),
        (
            "actor = \"a\"\ntarget = \"b\"",
            "actor = \"b\"\ntarget = \"a\"",
            "r.toml:13: warning: actor \"b\" of a delegation has no auth, so it can only receive; give the agent a credential, or leave the delegation out",
        ),
        (
            "target = \"b\"",
            "target = \"a\"",
            "r.toml:14: error: delegation a->a leads to its own actor; an agent that calls itself needs reentrant = true",
        ),
        (SCOPES, "scopes = []\n", "r.toml:15: error: scopes of delegation a->b is empty: it allows nothing"),
        (SCOPES, "scopes = [\"s\", \"t\",\n\"s\"]\n", "r.toml:16: error: scope \"s\" of delegation a->b stands twice"),
        (
            SCOPES,
            "scopes = [{ scope = \"s\", from = [] }]\n",
            "r.toml:15: error: scope \"s\" of delegation a->b is derived from nothing; list in from what entitles to it",
        ),
        (
            SCOPES,
            &overlap,
            "r.toml:16: error: delegation a->b covers subjects that the one at line 12 covers; keep their tenants or their issuers apart: they are never added up",
        ),
        (
            SCOPES,
            &issuer,
            "r.toml:16: error: issuer \"https://login.example.org\" of delegation a->b is not registered; did you mean \"https://login.example.com\"?",
        ),
        (
            SCOPES,
            &nobody,
            "r.toml:16: error: issuers of delegation a->b is empty: it covers nobody; leave it out for any issuer",
        ),
        (
            SCOPES,
            &no_tenant,
            "r.toml:16: error: tenants of delegation a->b is empty: it covers nobody; leave it out for every tenant, or say disabled = true",
        ),
        (SCOPES, &long, "r.toml:16: warning: max_ttl 16m of delegation a->b is cut to limits.max_ttl, 15m"),
    ]);
    let text = VALID.replacen(A, &outside, 1).replacen(SCOPES, &with("tenants = [\"globex\"]"), 1);
    assert_eq!(faults(&text), ["r.toml:17: warning: delegation a->b covers no tenant of its actor: it is never used"]);
}

#[test]
fn delegations_of_a_pair_that_are_apart_are_no_fault() {
    let apart = "scopes = [\"s\"]\ntenants = [\"acme\"]\n[[delegations]]\nactor = \"a\"\ntarget = \"b\"\nscopes = [\"t\"]\ntenants = [\"globex\"]\n";
    assert_eq!(faults(&VALID.replacen(SCOPES, apart, 1)), [""; 0]);
    let itself = VALID.replacen("target = \"b\"", "target = \"a\"\nreentrant = true", 1);
    assert_eq!(faults(&itself), [""; 0]);
}

#[test]
fn two_unprefixed_issuers_of_users_at_one_target_are_told() {
    let two = format!("{ISSUER}\n[[issuers]]\nissuer = \"https://login.example.org\"\n");
    let warning = "r.toml:4: warning: users of issuers \"https://login.example.com\" and \"https://login.example.org\" reach \"b\", which cannot tell them apart by sub alone; give all but one of the issuers a subject_prefix";
    let text = VALID.replacen(ISSUER, &two, 1);
    assert_eq!(faults(&text), [warning]);
    for mended in [
        text.replacen("org\"\n", "org\"\nsubject_prefix = \"org:\"\n", 1),
        text.replacen("org\"\n", "org\"\ndisabled = true\n", 1),
        text.replacen(SCOPES, "scopes = [\"s\"]\nissuers = [\"https://login.example.org\"]\n", 1),
        text.replacen(SECRET, "workload = [{ issuer = \"https://login.example.org\", subject = \"w\" }]", 1),
        text.replacen("org\"\n", "org\"\ntenant = \"acme\"\n", 1)
            .replacen(SCOPES, "scopes = [\"s\"]\ntenants = [\"globex\"]\n", 1)
            .replacen("com\"\n", "com\"\ntenant_claim = \"t\"\n", 1),
    ] {
        assert_eq!(faults(&mended), [""; 0], "{mended}");
    }
}

#[test]
fn a_broken_entry_is_not_told_again_by_those_that_name_it() {
    let broken = VALID.replacen(A, "id = \"a\"\ntoken_ttl = 5\n", 1);
    assert_eq!(faults(&broken), ["r.toml:6: error: token_ttl must be a string, not an integer"]);
    let headless = VALID.replacen(ISSUER, "issuer = \"https://login.example.com\"\njwks = 3\n", 1).replacen(
        SECRET,
        "workload = [{ issuer = \"https://login.example.com\", subject = 3 }]",
        1,
    );
    assert_eq!(
        faults(&headless),
        [
            "r.toml:3: error: jwks must be a table, or a string that holds a JSON object, not an integer",
            "r.toml:8: error: auth.workload.subject must be a string, not an integer",
        ]
    );
}

#[test]
fn without_a_configuration_its_rules_are_left_out() {
    let text = VALID.replacen(ISSUER, "issuer = \"https://sts.example.com\"\n", 1);
    assert_eq!(check(&RegistryFile::parse(Path::new("r.toml"), &text), None), []);
}

/// A file with a dozen faults, all found in one go.
#[test]
fn every_fault_of_a_file_is_told_at_once() {
    let text = r#"
[[issuers]]
issuer = "http://login.example.com"
tenant_clam = "org_id"
algorithms = ["RS256", "none"]

[[issuers]]
jwks_uri = "https://cluster/jwks"

[[agents]]
id = "coordinator"
token_ttl = "0m"
default_target = "inventroy"
[agents.auth]
client_secret_sha256 = "abc"
workload = [{ issuer = "https://cluster", subject = "x", audiences = "y" }]

[[agents]]
id = "inventory"
audience = ["inventory-agent", "coordinator"]
tenants = "acme"

[[delegations]]
actor = "coordinator"
target = "inventory-agent"
scopes = ["stock read", { scope = "bin:read", form = ["stock:read"] }]
max_ttl = "1w"

[[delegations]]
actor = "coordinator"
target = "inventory"
scope = ["stock:read"]

[limits]
chain_depth = 3
"#;
    let expected = r#"r.toml:3: error: issuer "http://login.example.com": http goes no further than the loopback interface; use https, or say allow_http = true
r.toml:4: error: unknown key "tenant_clam" in [[issuers]]; did you mean "tenant_claim"?
r.toml:5: error: algorithms = "none": not an accepted signature algorithm
r.toml:7: error: missing key "issuer" in [[issuers]]
r.toml:12: error: token_ttl = "0m": a span of time is a whole number above zero and s, m, h or d, such as "5m"; ten years at most
r.toml:13: error: default_target "inventroy" of agent "coordinator" is no agent; did you mean "inventory"?
r.toml:15: error: client_secret_sha256 of agent "coordinator" is not 64 hexadecimal digits
r.toml:16: error: unknown key "audiences" in workload of [agents.auth]; did you mean "audience"?
r.toml:16: warning: workload issuer "https://cluster" of agent "coordinator" is not registered
r.toml:20: error: audience "coordinator" of agent "inventory" is a name of agent "coordinator" at line 10
r.toml:21: error: tenants must be an array of strings, not a string
r.toml:25: error: target "inventory-agent" of a delegation is no agent; "inventory-agent" is an audience of agent "inventory"; its id is meant here
r.toml:26: error: missing key "from" in scopes of [[delegations]]
r.toml:26: error: scopes = "stock read": a scope token holds a character that RFC 6749 section 3.3 does not allow
r.toml:26: error: unknown key "form" in scopes of [[delegations]]; did you mean "from"?
r.toml:27: error: max_ttl = "1w": a span of time is a whole number above zero and s, m, h or d, such as "5m"; ten years at most
r.toml:29: error: missing key "scopes" in [[delegations]]
r.toml:32: error: unknown key "scope" in [[delegations]]; did you mean "scopes"?
r.toml:34: error: unknown key "limits" in the registry"#;
    assert_eq!(faults(text).join("\n"), expected);
}
