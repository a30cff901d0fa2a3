//! What `check` says about a registry file: exact messages with their lines.
//!
//! Here is what is told of a file as a whole; the rules of its entries are below.

mod agents;
mod delegations;
mod issuers;

use std::path::Path;

use sts_server::config::{self, Config, Overrides};
use sts_server::registry::{RegistryFile, check, expiring};

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
    assert_each_makes_one_fault_of(VALID, cases);
}

fn assert_each_makes_one_fault_of(valid: &str, cases: &[(&str, &str, &str)]) {
    assert_eq!(faults(valid), [""; 0]);
    for (old, new, fault) in cases {
        assert!(valid.contains(old), "{old:?} is not in the valid registry");
        assert_eq!(faults(&valid.replacen(old, new, 1)), [*fault], "{new}");
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
            "r.toml:7: error: unknown key \"client_secret\" in [agents.auth]; the registry has only hashes of secrets: `sts-server agent secret ID` makes a secret and its line",
        ),
        (ISSUER, "", "r.toml:1: error: missing key \"issuer\" in [[issuers]]"),
        (
            ISSUER,
            &number,
            "r.toml:3: error: max_token_age must be a string, not an integer; a span of time is a whole number above zero and s, m, h or d, such as \"5m\"; ten years at most",
        ),
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
        (ISSUER, &star, "r.toml:3: error: tenants: \"*\" means every tenant and must be the only value"),
        (
            ISSUER,
            &algorithm,
            "r.toml:5: error: algorithms = \"HS256\": not an accepted signature algorithm: use ES256, ES384, ES512, EdDSA, RS256, RS384, RS512, PS256, PS384 or PS512",
        ),
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
            "r.toml:15: error: scopes = \"a b\": a scope token contains a character that RFC 6749 section 3.3 does not allow",
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
        ["r.toml:2: error: not TOML at column 10: string values must be quoted, expected literal string"]
    );
    let missing = RegistryFile::read(Path::new("/nowhere/r.toml"));
    let all: Vec<String> = missing.faults().iter().map(ToString::to_string).collect();
    assert_eq!(all, ["/nowhere/r.toml: error: cannot be read: No such file or directory (os error 2)"]);
}

#[test]
fn a_broken_entry_is_not_told_again_by_those_that_name_it() {
    let broken = VALID.replacen(A, "id = \"a\"\ntoken_ttl = 5\n", 1);
    assert_eq!(
        faults(&broken),
        [
            "r.toml:6: error: token_ttl must be a string, not an integer; a span of time is a whole number above zero and s, m, h or d, such as \"5m\"; ten years at most"
        ]
    );
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
    let expected = r#"r.toml:3: error: issuer "http://login.example.com": http is only for the loopback interface; use https, or say allow_http = true
r.toml:4: error: unknown key "tenant_clam" in [[issuers]]; did you mean "tenant_claim"?
r.toml:5: error: algorithms = "none": not an accepted signature algorithm: use ES256, ES384, ES512, EdDSA, RS256, RS384, RS512, PS256, PS384 or PS512
r.toml:7: error: missing key "issuer" in [[issuers]]
r.toml:12: error: token_ttl = "0m": a span of time is a whole number above zero and s, m, h or d, such as "5m"; ten years at most
r.toml:13: error: default_target "inventroy" of agent "coordinator" is not an agent; did you mean "inventory"?
r.toml:15: error: client_secret_sha256 of agent "coordinator" is not 64 hexadecimal digits
r.toml:16: error: unknown key "audiences" in workload of [agents.auth]; did you mean "audience"?
r.toml:16: warning: workload issuer "https://cluster" of agent "coordinator" is not registered
r.toml:20: error: audience "coordinator" of agent "inventory" is a name of agent "coordinator" at line 10
r.toml:21: error: tenants must be an array of strings, not a string
r.toml:25: error: target "inventory-agent" of a delegation is not an agent; "inventory-agent" is an audience of agent "inventory"; its id is meant here
r.toml:26: error: scopes = "stock read": a scope token contains a character that RFC 6749 section 3.3 does not allow
r.toml:26: error: unknown key "form" in scopes of [[delegations]]; did you mean "from"?
r.toml:27: error: max_ttl = "1w": a span of time is a whole number above zero and s, m, h or d, such as "5m"; ten years at most
r.toml:32: error: unknown key "scope" in [[delegations]]; did you mean "scopes"?
r.toml:34: error: unknown key "limits" in the registry"#;
    assert_eq!(faults(text).join("\n"), expected);
}

#[test]
fn what_an_entry_says_for_persons_is_checked() {
    for (line, fault) in [
        ("owner = \"\"", "owner = \"\": 1 to 255 characters, without control characters"),
        ("purpose = \"a\\u001b[2J\"", "purpose = \"a\\u{1b}[2J\": 1 to 255 characters, without control characters"),
        ("expires_at = \"soon\"", "expires_at = \"soon\": a time with its offset, such as \"2027-01-31T00:00:00Z\""),
    ] {
        let text = VALID.replacen(A, &format!("{A}{line}\n"), 1);
        let found = faults(&text);
        assert!(found.len() == 1 && found[0].contains(fault), "{line}: {found:?}");
    }
}

#[test]
fn an_entry_that_has_expired_or_will_soon_is_told() {
    let told = |old: &str, lines: &str| -> Vec<String> {
        let text = VALID.replacen(old, &format!("{old}{lines}"), 1);
        assert_eq!(faults(&text), [""; 0]);
        let file = RegistryFile::parse(Path::new("r.toml"), &text);
        let now = "2026-03-01T12:00:00Z".parse().expect("a time");
        expiring(&file, now).iter().map(ToString::to_string).collect()
    };
    let at = |time: &str| format!("expires_at = \"{time}\"\n");
    for (old, time, fault) in [
        (B, "2026-03-15T12:00:01Z", None),
        (
            B,
            "2026-03-15T12:00:00Z",
            Some("r.toml:11: warning: agent \"b\" expires at 2026-03-15 12:00:00Z, in 336 hours"),
        ),
        (
            B,
            "2026-03-01T12:00:00Z",
            Some("r.toml:11: warning: agent \"b\" expired at 2026-03-01 12:00:00Z and is disabled"),
        ),
        (
            SCOPES,
            "2026-03-02T11:59:59Z",
            Some("r.toml:16: warning: the delegation of \"a\" to \"b\" expires at 2026-03-02 11:59:59Z, in 23 hours"),
        ),
    ] {
        let faults = told(old, &at(time));
        assert_eq!(faults.len(), usize::from(fault.is_some()), "{time}: {faults:?}");
        assert!(fault.is_none_or(|fault| faults[0].starts_with(fault)), "{time}: {faults:?}");
    }
    assert_eq!(told(B, &format!("{}disabled = true\n", at("2026-03-02T00:00:00Z"))), [""; 0]);
}
