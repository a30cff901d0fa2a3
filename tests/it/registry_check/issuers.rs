//! The rules of issuers.

use sts_server::registry::FILE_KEYS;

use super::{ISSUER, JWKS, SCOPES, SECRET, VALID, after, assert_each_makes_one_fault, faults};

#[test]
fn names_that_could_begin_with_two_prefixes_are_a_fault() {
    let prefixed = |first: &str, second: &str| {
        let second = format!("[[issuers]]\nissuer = \"https://b.example\"\nsubject_prefix = \"{second}\"\n");
        VALID.replacen(ISSUER, &format!("{}{second}", after(ISSUER, &format!("subject_prefix = \"{first}\""))), 1)
    };
    for (first, second) in [("corp:", "corp:x:"), ("corp:x:", "corp:"), ("corp:", "corp:")] {
        let fault = format!(
            "r.toml:6: error: subject_prefix {second:?} of issuer \"https://b.example\" and {first:?} of issuer \
             \"https://login.example.com\" at line 1 begin the same names; choose prefixes of which none begins another"
        );
        assert_eq!(faults(&prefixed(first, second)), [fault]);
    }
    let domain = "[[issuers]]\nissuer = \"spiffe://shop.example\"\nbundle_uri = \"https://b.example/bundle\"\ntenant = \"acme\"\n";
    let with_domain =
        VALID.replacen(ISSUER, &format!("{}{domain}", after(ISSUER, "subject_prefix = \"spiffe://shop.example/\"")), 1);
    let found = faults(&with_domain);
    assert!(found.len() == 1 && found[0].contains("begin the same names"), "{found:?}");
    for (first, second) in [("corp:", "partner:"), ("a", "b"), ("corp:", "corp|")] {
        assert_eq!(faults(&prefixed(first, second)), [""; 0]);
    }
}

#[test]
fn an_issuer_of_workloads_that_seems_to_be_one_of_users_is_warned_of() {
    let workload = "workload = [{ issuer = \"https://login.example.com\", subject = \"w\" }]";
    let warning = "r.toml:1: warning: issuer \"https://login.example.com\" is named by a workload and listed in issuers of no \
                   delegation: its tokens are of workloads alone, and refused as subject tokens; if it names users too, list it in \
                   issuers of each delegation that they may use";
    let only = VALID.replacen(SECRET, workload, 1);
    assert_eq!(faults(&only), [warning], "no issuer is left for users");
    let others = only.replacen(ISSUER, &format!("{ISSUER}[[issuers]]\nissuer = \"https://b.example\"\n"), 1);
    assert_eq!(faults(&others), [""; 0], "another issuer names the users");
    let with_tenants = others.replacen(ISSUER, &after(ISSUER, "tenant_claim = \"org_id\""), 1);
    assert_eq!(faults(&with_tenants), [warning], "a workload has no tenant");
    let listed = after(&with_tenants, "issuers = [\"https://login.example.com\"]");
    assert_eq!(faults(&listed), [""; 0], "a delegation lists it");
    let service_accounts = after(&only, "service_account = true");
    assert_eq!(faults(&service_accounts), [""; 0], "there need be no users");
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
    let present = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let ca = after(ISSUER, &format!("jwks = {JWKS}\njwks_bearer_token_file = \"{present}\""));
    let prefix = after(ISSUER, "subject_prefix = \"a\\u0007\"");
    assert_each_makes_one_fault(&[
        (ISSUER, &twice, "r.toml:4: error: issuer \"https://login.example.com\" is already defined at line 1"),
        (
            ISSUER,
            "issuer = \"https://sts.example.com\"\n",
            "r.toml:2: error: issuer \"https://sts.example.com\" is this service itself; leave it out: its own tokens are trusted without an entry",
        ),
        (ISSUER, "issuer = \"\"\n", "r.toml:2: error: issuer is empty"),
        (
            ISSUER,
            "issuer = \"http://login.example.com\"\n",
            "r.toml:2: error: issuer \"http://login.example.com\": http is only for the loopback interface; use https, or say allow_http = true",
        ),
        (
            ISSUER,
            &http_keys,
            "r.toml:3: error: jwks_uri \"http://login.example.com/jwks\" of issuer \"https://login.example.com\": http is only for the loopback interface; use https, or say allow_http = true",
        ),
        (
            ISSUER,
            "issuer = \"spiffe://example.org\"\n",
            "r.toml:2: error: issuer \"spiffe://example.org\" is not an http(s) URL, so its keys cannot be discovered; give bundle_uri or bundle_file",
        ),
        (
            ISSUER,
            "issuer = \"https://login.example.com?a\"\n",
            "r.toml:2: error: issuer \"https://login.example.com?a\" has a query or fragment, so its keys cannot be discovered; give jwks_uri, jwks or jwks_file",
        ),
        (ISSUER, &no_keys, "r.toml:3: error: jwks of issuer \"https://login.example.com\": it contains no usable key"),
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
            "r.toml:3: error: scope_claim of issuer \"https://login.example.com\" has no effect without scopes_from = \"token\"",
        ),
        (
            ISSUER,
            &algorithms,
            "r.toml:3: error: algorithms of issuer \"https://login.example.com\" is empty: none of its tokens could verify; leave it out for RS256, ES256 and EdDSA",
        ),
        (
            ISSUER,
            &none,
            "r.toml:3: error: tenants of issuer \"https://login.example.com\" is empty: all its tokens would be refused; leave it out for every tenant",
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
        (
            ISSUER,
            &empty,
            "r.toml:3: error: tenant_claim = \"\": a selector is 1 to 512 bytes without control characters",
        ),
        (
            ISSUER,
            &ca,
            "r.toml:4: warning: jwks_bearer_token_file of issuer \"https://login.example.com\" has no effect: its keys are not fetched",
        ),
        (
            ISSUER,
            &prefix,
            "r.toml:3: error: subject_prefix of issuer \"https://login.example.com\" contains a control character",
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
fn a_file_that_is_no_regular_file_is_an_error_wherever_the_server_runs() {
    for key in FILE_KEYS {
        let issuer = if key == "bundle_file" { "spiffe://shop.example" } else { "https://login.example.com" };
        let text = format!("issuer = \"{issuer}\"\n{key} = \"/dev/zero\"\n");
        let fault = format!("r.toml:3: error: {key} of issuer \"{issuer}\" cannot be used: not a regular file");
        assert_each_makes_one_fault(&[(ISSUER, &text, &fault)]);
    }
}

#[test]
fn the_names_of_issuers_are_told_where_no_token_can_have_them() {
    let keys = "jwks_uri = \"https://login.microsoftonline.com/common/discovery/v2.0/keys\"";
    let named = |name: &str, more: &str| VALID.replacen(ISSUER, &format!("issuer = {name:?}\n{keys}\n{more}\n"), 1);
    let entra = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let alias = |alias: &str| format!("aliases = [{alias:?}]");
    let windows = alias("https://sts.windows.net/{tenantid}/");
    for tenants in ["tenants = [\"t-1\"]", "tenants = [\"*\"]"] {
        assert_eq!(faults(&named(entra, &format!("tenant_claim = \"tid\"\n{tenants}"))), [""; 0]);
        assert_eq!(faults(&named(entra, &format!("tenant_claim = \"tid\"\n{tenants}\n{windows}"))), [""; 0]);
    }
    assert_eq!(
        faults(&named(entra, "tenant_claim = \"tid\"")),
        [
            "r.toml:2: warning: issuer \"https://login.microsoftonline.com/{tenantid}/v2.0\" has {tenantid} and no tenants: every tenant of the provider is trusted; list its tenants, or write tenants = [\"*\"] if every one is meant"
        ]
    );
    for (name, more, told) in [
        (
            "https://login.microsoftonline.com/common/v2.0",
            "",
            "warning: \"https://login.microsoftonline.com/common/v2.0\" is never the iss of a token",
        ),
        ("https://login.microsoftonline.com/organizations/v2.0", "", "\"organizations\" means several tenants"),
        (
            "https://login.example.com/{tenant}/v2.0",
            "",
            "warning: \"https://login.example.com/{tenant}/v2.0\" is taken literally",
        ),
        (entra, "", "has {tenantid}, but no tenant_claim"),
        ("https://login.example.com/x{tenantid}/v2.0", "tenant_claim = \"tid\"", "must be one whole segment"),
        ("https://login.example.com", windows.as_str(), "tenant_claim"),
        (entra, "tenant_claim = \"tid\"\naliases = [\"https://plain.example\"]", "and an alias of it has not"),
        ("https://login.example.com", "aliases = [\"https://sts.example.com\"]", "is this service itself"),
        ("https://login.example.com/.well-known/openid-configuration", "", "is the URL of a discovery document"),
    ] {
        let all = faults(&named(name, more)).join("\n");
        assert!(all.contains(told), "{name}: {all}");
    }
    let twice = format!(
        "{ISSUER}{}\n[[issuers]]\nissuer = \"https://b.example\"\ntenant = \"b\"\n",
        alias("https://b.example")
    );
    let all = faults(&VALID.replacen(ISSUER, &twice, 1)).join("\n");
    assert!(all.contains("error: issuer \"https://b.example\" is already defined"), "{all}");
    let listed = after(SCOPES, "issuers = [\"accounts.google.com\"]");
    let text = VALID.replacen(ISSUER, &after(ISSUER, &alias("accounts.google.com")), 1).replacen(SCOPES, &listed, 1);
    let all = faults(&text).join("\n");
    assert!(all.contains("is an alias of issuer \"https://login.example.com\""), "{all}");
}

#[test]
fn selectors_that_seem_to_be_paths_are_told() {
    let dotted = after(ISSUER, "roles_claim = \"realm_access.roles\"");
    let fault = "r.toml:3: warning: roles_claim \"realm_access.roles\" of issuer \"https://login.example.com\" is the literal name of a \
                 claim, not a path; write \"/realm_access/roles\" for the path, or \"/realm_access.roles\" for the claim";
    let star = after(ISSUER, "tenant_claim = \"/*\"");
    let refused = "r.toml:3: error: tenant_claim = \"/*\": '*' is the last step of a pointer and follows the name of a claim, as in \
                   /organization/*";
    assert_each_makes_one_fault(&[(ISSUER, &dotted, fault), (ISSUER, &star, refused)]);
    for selector in ["/realm_access.roles", "https://x.example/roles", "/organization/*"] {
        assert_eq!(faults(&VALID.replacen(ISSUER, &after(ISSUER, &format!("roles_claim = {selector:?}")), 1)), [""; 0]);
    }
}

#[test]
fn keys_that_are_lost_are_told_with_kid_and_reason() {
    let private = JWKS.replacen("kid = \"1\"", "kid = \"1\", d = \"AAAA\"", 1);
    let text = after(ISSUER, &format!("jwks = {private}"));
    let none = "r.toml:3: error: jwks of issuer \"https://login.example.com\": it contains no usable key: the key \"1\" cannot be used: it \
                contains private members";
    let more = JWKS.replacen(
        "keys = [",
        "keys = [{ kty = \"EC\", crv = \"P-521\", kid = \"odd\", x = \"AA\", y = \"AA\" }, ",
        1,
    );
    let some = after(ISSUER, &format!("jwks = {more}"));
    let warning = "r.toml:3: warning: jwks of issuer \"https://login.example.com\": the key \"odd\" cannot be used: the key is weak or \
                   invalid";
    assert_each_makes_one_fault(&[(ISSUER, &text, none), (ISSUER, &some, warning)]);
}
