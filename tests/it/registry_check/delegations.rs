//! The rules of delegations.

use super::{A, B, SCOPES, VALID, after, assert_each_makes_one_fault, faults};

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
            "r.toml:13: error: actor \"A\" of a delegation is not an agent; did you mean \"a\"?",
        ),
        (
            "target = \"b\"",
            "target = \"inventory\"",
            "r.toml:14: error: target \"inventory\" of a delegation is not an agent",
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
        (
            SCOPES,
            "scopes = [\"s\", \"t\",\n\"s\"]\n",
            "r.toml:16: error: scope \"s\" of delegation a->b is listed twice",
        ),
        (
            SCOPES,
            "scopes = [{ scope = \"s\", from = [] }]\n",
            "r.toml:15: error: scope \"s\" of delegation a->b has an empty from; list in from the scopes that entitle to it",
        ),
        (
            SCOPES,
            &overlap,
            "r.toml:16: error: delegation a->b covers subjects that the one at line 12 covers; keep their tenants or their issuers apart: delegations are never combined",
        ),
        (
            SCOPES,
            &issuer,
            "r.toml:16: error: issuer \"https://login.example.org\" of delegation a->b is not registered; did you mean \"https://login.example.com\"?",
        ),
        (
            SCOPES,
            &nobody,
            "r.toml:16: error: issuers of delegation a->b is empty: it covers no issuer; leave it out for any issuer",
        ),
        (
            SCOPES,
            &no_tenant,
            "r.toml:16: error: tenants of delegation a->b is empty: it covers no tenant; leave it out for every tenant, or say disabled = true",
        ),
        (SCOPES, &long, "r.toml:16: warning: max_ttl 16m of delegation a->b is cut to limits.max_ttl, 15m"),
    ]);
    let text = VALID.replacen(A, &outside, 1).replacen(SCOPES, &with("tenants = [\"globex\"]"), 1);
    assert_eq!(faults(&text), ["r.toml:17: warning: delegation a->b covers no tenant of its actor: it is never used"]);
}

#[test]
fn an_approval_that_waits_or_is_remembered_too_long_is_told() {
    for (member, longest, too_long) in [("wait", "24h", "25h"), ("remember", "1d", "2d")] {
        let with = |value: &str| {
            after(SCOPES, &format!("approval = {{ scopes = [\"s\"], by = \"user\", {member} = \"{value}\" }}"))
        };
        assert_eq!(faults(&VALID.replacen(SCOPES, &with(longest), 1)), [""; 0]);
        let told = format!("r.toml:16: error: {member} {too_long} of approval of delegation a->b is longer than 1d");
        assert_eq!(faults(&VALID.replacen(SCOPES, &with(too_long), 1)), [told]);
    }
}

#[test]
fn delegations_of_a_pair_that_are_apart_are_no_fault() {
    let apart = "scopes = [\"s\"]\ntenants = [\"acme\"]\n[[delegations]]\nactor = \"a\"\ntarget = \"b\"\nscopes = [\"t\"]\ntenants = [\"globex\"]\n";
    assert_eq!(faults(&VALID.replacen(SCOPES, apart, 1)), [""; 0]);
    let itself = VALID.replacen("target = \"b\"", "target = \"a\"\nreentrant = true", 1);
    assert_eq!(faults(&itself), [""; 0]);
}

#[test]
fn a_delegation_from_a_bound_agent_to_one_that_takes_bearer_tokens_alone_is_told() {
    for key in ["dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens"] {
        let bound = VALID.replacen(A, &after(A, &format!("{key} = true")), 1);
        assert!(faults(&bound).is_empty(), "{:?}", faults(&bound));
        let never = bound.replacen(B, &after(B, "bearer_only = true"), 1);
        assert_eq!(
            faults(&never),
            [
                "r.toml:16: warning: delegation a->b is never used: its target is bearer_only; the tokens of \"a\" must be bound to its key"
            ],
            "{key}"
        );
    }
}
