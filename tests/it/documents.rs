//! The tables of the documentation say what the code says.
//!
//! Where the code is data, the test reads the data; where it is not, the test reads the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sts_server::config::OPTIONS;
use sts_server::error_kind::ErrorKind;
use sts_server::rate_limits::RateLimit;
use sts_server::record::Event;
use sts_server::telemetry::METRICS;

/// Makes the tests of this file write the tables of the pages.
const GENERATE: &str = "STS_TESTS_GENERATE";

/// The kinds of error, to look up by name.
const KINDS: [ErrorKind; 19] = [
    ErrorKind::Request,
    ErrorKind::Token,
    ErrorKind::Target,
    ErrorKind::Scope,
    ErrorKind::Details,
    ErrorKind::Interaction,
    ErrorKind::Pending,
    ErrorKind::PollRate,
    ErrorKind::Deferral,
    ErrorKind::Denied,
    ErrorKind::Grant,
    ErrorKind::UnsupportedGrant,
    ErrorKind::Client,
    ErrorKind::Proof,
    ErrorKind::ProofNonce,
    ErrorKind::Binding,
    ErrorKind::TokenSize,
    ErrorKind::TooMany,
    ErrorKind::Unavailable,
];

#[test]
fn docs_configuration_has_every_option() {
    let mut expected = String::from("| option | default | value | what it is for |\n|---|---|---|---|\n");
    for option in OPTIONS.iter() {
        let default = option.default.map_or("none".to_owned(), |default| format!("`{}`", option.literal(default)));
        let _ = writeln!(expected, "| `{}` | {default} | {} | {} |", option.path(), option.form, option.doc);
    }
    assert_table("docs/configuration.md", "| option |", &expected);
}

#[test]
fn docs_metrics_has_every_metric() {
    let mut expected = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
        let _ = writeln!(expected, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind.name(), metric.doc);
    }
    assert_table("docs/metrics.md", "| metric |", &expected);
}

#[test]
fn docs_audit_has_every_field_of_an_event() {
    let source = read("sts-server/src/record/event.rs");
    let fields = documented(&source, "pub struct Event {", |line| {
        line.strip_prefix("pub ")?.split_once(':').map(|(name, _)| name.to_owned())
    });
    let names: BTreeSet<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let full = full_event();
    let serialized: BTreeSet<&str> = full.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, serialized, "the event of this test has another set of fields than the struct");
    assert_table("docs/audit.md", "| field |", &table("field", &fields));
}

#[test]
fn docs_audit_has_every_kind_of_event() {
    let source = read("sts-server/src/record/event.rs");
    let kinds = documented(&source, "pub enum EventKind {", |line| {
        line.strip_prefix("#[serde(rename = \"")?.split_once('"').map(|(name, _)| name.to_owned())
    });
    for (kind, _) in &kinds {
        let event = json!({ "event": kind, "at": "2026-01-01T00:00:00Z" });
        serde_json::from_value::<Event>(event).unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
    assert_table("docs/audit.md", "| event |", &table("event", &kinds));
}

#[test]
fn docs_audit_has_every_reason() {
    let document = read("docs/audit.md");
    let documented: BTreeSet<String> = rows(&document, "| reason |")
        .iter()
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(cells.len() == 6 && !cells[4].is_empty(), "no meaning: {row}");
            format!("{} | {} | {}", cells[1], cells[2], cells[3])
        })
        .collect();
    let in_source: BTreeSet<String> = reasons().into_iter().collect();
    let missing: Vec<&String> = in_source.difference(&documented).collect();
    let unknown: Vec<&String> = documented.difference(&in_source).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}\nnot in the source: {unknown:#?}");
}

#[test]
fn docs_audit_has_every_reason_of_the_admin_api() {
    let answer = read("sts-server/src/http/admin/answer.rs");
    let statuses = [arms(&answer, "status"), arms(&answer, "denied_status")].concat();
    let reasons = ["sts-server/src/admin/denied.rs", "sts-server/src/http/admin/refused.rs"]
        .map(|file| arms(&read(file), "reason"))
        .concat();
    let status = |pattern: &str| {
        let named = |known: &str| known.replace("Denied::", "Self::").replace("Refused::", "Self::");
        let of = statuses.iter().find(|(known, _)| variant(&named(known)) == variant(pattern));
        let (_, name) = of.unwrap_or_else(|| panic!("no status of {pattern}"));
        let name = plain(name);
        name.strip_prefix("StatusCode::").unwrap_or_else(|| panic!("{pattern}: {name}")).to_owned()
    };
    let mut rows_in_source: BTreeSet<String> = reasons
        .iter()
        .filter_map(|(pattern, reason)| Some(format!("`{}` | {}", literal(reason)?, status(pattern))))
        .collect();
    for limit in [RateLimit::FailedAttempts, RateLimit::SourceRequests] {
        rows_in_source.insert(format!("`{}` | TOO_MANY_REQUESTS", limit.reason()));
    }
    let documented: BTreeSet<String> = rows(&read("docs/audit.md"), "| admin reason |")
        .iter()
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(cells.len() == 5 && !cells[3].is_empty(), "no meaning: {row}");
            let number: u16 = cells[2].parse().expect("a status");
            let name = http::StatusCode::from_u16(number).expect("a status").canonical_reason().expect("a name");
            format!("{} | {}", cells[1], name.to_uppercase().replace(' ', "_"))
        })
        .collect();
    assert_eq!(documented, rows_in_source);
}

#[test]
fn the_arms_of_a_match_are_read() {
    let source = r#"fn name(self) -> &'static str { match self { Self::A { .. } | Self::B => "x, y", Self::C(_) if z => { f() } Self::D => 1, } }"#;
    let expected = [
        ("Self::A { .. }".to_owned(), "\"x, y\"".to_owned()),
        ("Self::B".to_owned(), "\"x, y\"".to_owned()),
        ("Self::C(_) if z".to_owned(), "{ f() }".to_owned()),
        ("Self::D".to_owned(), "1".to_owned()),
    ];
    assert_eq!(arms(source, "name"), expected);
}

/// An event with a value in every field.
fn full_event() -> Value {
    // As text: the macro would recurse too deeply.
    let event: Value = serde_json::from_str(
        r#"{
        "event": "token.issued", "at": "2026-01-01T00:00:00Z", "correlation_id": "c", "source": "::1", "admin": "b", "run_by": "u@h", "grant": "g",
        "client_id": "a", "auth_method": "m", "subject_issuer": "i", "sub": "s", "actors": ["a"], "target": "t",
        "audience": "u", "requested_scope": "x", "scope": "x",
        "requested_details": [{"type": "t"}], "authorization_details": [{"type": "t"}], "roles": ["r"], "dropped_roles": ["d"], "tenant_id": "n", "tenant_ids": ["n"],
        "delegation": "a->t", "approval": "p", "cnf": {"jkt": "k"}, "jti": "j", "parent_iss": "i", "parent_jti": "p", "parent_bound": true, "txn": "x", "exp": 2, "parent_exp": 3, "duration_micros": 4,
        "reason": "r", "detail": "d", "claimed_iss": "i", "claimed_aud": "u", "claimed_alg": "a", "claimed_kid": "k", "claimed_typ": "t", "row": "w:1", "evidence": "e", "count": 5, "cut": ["sub"]
        }"#,
    )
    .expect("JSON");
    let read: Event = serde_json::from_value(event.clone()).expect("every field is one of an event");
    assert_eq!(serde_json::to_value(read).expect("JSON"), event);
    event
}

/// The items after `head` that `name` finds, each with the text of its documentation.
fn documented(source: &str, head: &str, name: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let (_, body) = source.split_once(head).expect("the item stands in the source");
    let (body, _) = body.split_once("\n}").expect("the item ends");
    let mut items = Vec::new();
    let mut text: Vec<&str> = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(line) = line.strip_prefix("///") {
            text.push(line.trim());
        } else if let Some(name) = name(line) {
            items.push((name, text.join(" ")));
            text.clear();
        }
    }
    items
}

fn table(head: &str, items: &[(String, String)]) -> String {
    let mut table = format!("| {head} | meaning |\n|---|---|\n");
    for (name, text) in items {
        let _ = writeln!(table, "| `{name}` | {text} |");
    }
    table
}

/// Every stable reason in the source, as `reason | step | code`.
fn reasons() -> Vec<String> {
    let client = read("sts-server/src/client_auth/error.rs");
    let refusal = read("sts-server/src/exchange/refusal.rs");
    let request = read("sts-server/src/exchange/request.rs");
    let subject = read("sts-server/src/verify/error.rs");
    let policy = read("sts-server/src/policy/error.rs");
    let mint = read("sts-server/src/mint/mod.rs");
    let recorder = read("sts-server/src/record/recorder.rs");

    let mut found = Vec::new();
    found.extend(joined(&arms(&refusal, "reason"), &arms(&refusal, "kind"), refusal_step));
    found.extend(joined(&arms(&client, "reason"), &arms(&client, "kind"), |_| "client authentication"));
    found.extend(joined(&arms(&request, "reason"), &arms(&request, "kind"), |_| "request"));
    found.extend(joined(&arms(&policy, "reason"), &arms(&policy, "kind"), policy_step));
    found.extend(joined(&arms(&mint, "reason"), &arms(&mint, "kind"), |_| "mint"));
    found.extend(joined(&arms(&recorder, "reason"), &arms(&recorder, "kind"), |_| "record"));
    for (limit, step) in [
        (RateLimit::FailedAttempts, "client authentication"),
        (RateLimit::ClientRequests, "client authentication"),
        (RateLimit::SourceRequests, "before all"),
        (RateLimit::ClientRefusals, "any"),
        (RateLimit::ApprovalRequests, "policy"),
        (RateLimit::PendingApprovals, "policy"),
        (RateLimit::RememberedApprovals, "policy"),
    ] {
        found.push(line(limit.reason(), step, ErrorKind::TooMany));
    }
    // Every subject that is refused is a bad token; that its issuer's keys are out of reach is an outage.
    let bad_tokens =
        [arms(&subject, "reason"), arms(&subject, "time_reason"), arms(&subject, "subject_reason")].concat();
    for reason in literals(&bad_tokens) {
        let row = if reason == "keys_unavailable" { ErrorKind::Unavailable } else { ErrorKind::Token };
        found.push(line(&reason, "subject", row));
    }
    let revoked: BTreeSet<String> = literals(&arms(&recorder, "revoked_reason")).into_iter().collect();
    assert!(revoked.len() == 5, "{revoked:?}");
    for reason in revoked {
        found.push(line(&reason, "subject", ErrorKind::Token));
        found.push(line(&reason, "record", ErrorKind::Token));
    }
    // The credentials of step 2, arm by arm. A workload token is refused as a client assertion, or as an actor token.
    let failed =
        [arms(in_impl(&client, "Failure"), "reason"), arms(in_impl(&client, "AssertionError"), "reason")].concat();
    for reason in literals(&[failed, arms(&client, "assertion_trust")].concat()) {
        if reason != "keys_unavailable" {
            found.push(line(&reason, "client authentication", ErrorKind::Client));
        }
    }
    for reason in
        literals(&[arms(in_impl(&client, "WorkloadError"), "reason"), arms(&client, "workload_trust")].concat())
    {
        if reason != "keys_unavailable" {
            found.push(format!("`{reason}` | workload token | `invalid_client`, `invalid_request` of an actor token"));
        }
    }
    found.push(line("keys_unavailable", "actor and chain", ErrorKind::Unavailable));
    for reason in literals(&arms(in_impl(&read("sts-server/src/http/answer.rs"), "IntakeFault"), "reason")) {
        let (step, row) = match reason.as_str() {
            "request_memory" => ("before all", ErrorKind::TooMany),
            "too_slow" => ("any", ErrorKind::Unavailable),
            _ => ("before all", ErrorKind::Request),
        };
        found.push(line(&reason, step, row));
    }
    let single_use = read("sts-server/src/record/single_use.rs");
    for (reason, row) in [
        ("assertion_replayed", ErrorKind::Client),
        ("dpop_proof_replayed", ErrorKind::Proof),
        ("deferral_code_used", ErrorKind::Deferral),
    ] {
        assert!(single_use.contains(&format!("(\"{reason}\"")), "{reason}");
        found.push(line(reason, "record", row));
    }
    let dpop = read("sts-server/src/client_auth/dpop.rs");
    for reason in literals(&[arms(&dpop, "reason"), arms(&dpop, "proof_reason")].concat()) {
        let row = if reason.starts_with("dpop_nonce") { ErrorKind::ProofNonce } else { ErrorKind::Proof };
        found.push(line(&reason, "client authentication", row));
    }
    assert!(found.len() > 60, "{found:#?}");
    found
}

/// The source from an `impl` on.
fn in_impl<'a>(source: &'a str, name: &str) -> &'a str {
    let head = format!("\nimpl {name} {{");
    &source[source.find(&head).unwrap_or_else(|| panic!("no impl of {name}"))..]
}

/// The step of a policy error: the chain is extended before a delegation is looked for.
fn policy_step(variant: &str) -> &'static str {
    if matches!(variant, "ChainTooDeep" | "MayActMismatch") { "actor and chain" } else { "policy" }
}

/// The step that a refusal of the exchange itself belongs to.
fn refusal_step(variant: &str) -> &'static str {
    match variant {
        "Form" => "form",
        "Unconfirmed" => "any",
        "ActorToken" | "ActorTokenMismatch" => "actor and chain",
        "Outdated" => "record",
        "DeferralCode" | "PolledTooFast" => "request",
        "ApprovalRequired" | "Deferred" | "StillPending" | "Unsealed" => "policy",
        "NotTheClients" | "Revoke" => "revocation",
        "Snapshot" => "introspection",
        other => panic!("which step does {other} belong to?"),
    }
}

/// The reasons of one match and the rows of another, joined by the variant that both are about.
fn joined(reasons: &[(String, String)], rows: &[(String, String)], step: impl Fn(&str) -> &'static str) -> Vec<String> {
    let rows: BTreeMap<(String, bool), &str> =
        rows.iter().map(|(pattern, row)| (variant(pattern), plain(row))).collect();
    let mut found = Vec::new();
    for (pattern, value) in reasons {
        let Some(reason) = literal(value) else { continue };
        let key = variant(pattern);
        let row = rows.get(&key).unwrap_or_else(|| panic!("no row of {pattern}"));
        let row = KINDS.iter().find(|known| format!("ErrorKind::{known:?}") == **row);
        let row = row.unwrap_or_else(|| panic!("{pattern} has no plain row"));
        found.push(line(&reason, step(&key.0), *row));
    }
    found
}

/// The value of an arm without the braces around it.
fn plain(value: &str) -> &str {
    value.trim_matches(|char: char| "{} \n".contains(char))
}

fn line(reason: &str, step: &str, row: ErrorKind) -> String {
    let code = serde_json::to_value(row.code()).expect("JSON");
    format!("`{reason}` | {step} | `{}`", code.as_str().expect("a code is a string"))
}

fn literals(arms: &[(String, String)]) -> Vec<String> {
    arms.iter().filter_map(|(_, value)| literal(value)).collect()
}

fn literal(value: &str) -> Option<String> {
    value.strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
}

/// The outermost variant of a pattern, and whether a guard stands behind it.
fn variant(pattern: &str) -> (String, bool) {
    let (_, name) = pattern.split_once("::").unwrap_or_else(|| panic!("{pattern} names no variant"));
    (name.chars().take_while(|char| char.is_alphanumeric()).collect(), pattern.contains(" if "))
}

/// The arms of the first match in a function, each alternative for itself.
fn arms(source: &str, function: &str) -> Vec<(String, String)> {
    let (_, text) = source.split_once(&format!("fn {function}(")).expect("the function stands in the source");
    let (_, text) = text.split_once("match ").expect("the function has a match");
    let (_, text) = text.split_once('{').expect("a match has arms");
    let mut arms = Vec::new();
    let mut patterns = vec![String::new()];
    let mut value: Option<String> = None;
    let (mut depth, mut quoted) = (0_u32, false);
    for char in text.chars() {
        quoted ^= char == '"';
        let at_top = depth == 0 && !quoted;
        if at_top && (char == '}' || char == ',') {
            let value = value.take().unwrap_or_default();
            let complete = std::mem::replace(&mut patterns, vec![String::new()]);
            let complete =
                complete.iter().map(|pattern| pattern.trim().to_owned()).filter(|pattern| !pattern.is_empty());
            arms.extend(complete.map(|pattern| (pattern, value.trim().to_owned())));
            if char == '}' {
                return arms;
            }
            continue;
        }
        if !quoted {
            depth += u32::from("([{".contains(char));
            depth -= u32::from(")]}".contains(char));
        }
        match (&mut value, char) {
            (Some(value), char) => value.push(char),
            (None, '|') if at_top => patterns.push(String::new()),
            (None, '>') if at_top && patterns.last().is_some_and(|pattern| pattern.ends_with('=')) => {
                patterns.last_mut().expect("there is always one").pop();
                value = Some(String::new());
            }
            (None, char) => patterns.last_mut().expect("there is always one").push(char),
        }
        // An arm that is a block needs no comma.
        if char == '}' && depth == 0 && value.as_ref().is_some_and(|value| value.trim_start().starts_with('{')) {
            let value = value.take().unwrap_or_default();
            let complete = std::mem::replace(&mut patterns, vec![String::new()]);
            arms.extend(complete.iter().map(|pattern| (pattern.trim().to_owned(), value.trim().to_owned())));
        }
    }
    panic!("the match of {function} does not end")
}

/// The rows of the table that begins with `head`, without the head.
fn rows(document: &str, head: &str) -> Vec<String> {
    let from_head = document.lines().skip_while(|line| !line.starts_with(head));
    let table: Vec<String> = from_head.take_while(|line| line.starts_with('|')).map(str::to_owned).collect();
    assert!(table.len() > 2, "there is no table {head}");
    table[2..].to_vec()
}

/// The table that begins with `head` is `expected`. With [`GENERATE`] in the environment, it is written instead.
fn assert_table(path: &str, head: &str, expected: &str) {
    let document = read(path);
    let from_head = document.lines().skip_while(|line| !line.starts_with(head));
    let actual = from_head.take_while(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    if actual == expected.trim_end() {
        return;
    }
    let generate = std::env::var_os(GENERATE).is_some_and(|value| value == "1");
    assert!(generate, "{path} should have this table (`just gen` writes it):\n{expected}");
    assert!(!actual.is_empty(), "{path} has no table {head}");
    fs::write(repository().join(path), document.replacen(&actual, expected.trim_end(), 1)).expect("the page");
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
