//! An event has bounds in each of its texts and as a whole, against hostile requests.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use sts_jose::SystemEntropy;
use sts_protocol::{Scope, ScopeToken};
use sts_server::record::{AuditWriter, DETAIL_CHARS, EVENT_BYTES, Event, EventKind, TEXT_CHARS};
use sts_server::storage::AuditFilter;
use sts_tests::world::{Node, World};

use super::small::{self, FRONT, MIDDLE};
use super::{config, runtime};

/// Texts of every length around the bounds, and far beyond, of characters that JSON writes in one to six bytes.
fn text() -> impl Strategy<Value = String> {
    let character = prop::sample::select(vec!["a", "\"", "\u{1}", "é", "日", "𝕊", " ", "\u{202e}"]);
    (character, prop::sample::select(vec![0, 1, 30, 64, 255, 256, 257, 5_000, 60_000]))
        .prop_map(|(character, count)| character.repeat(count))
}

fn words() -> impl Strategy<Value = Scope> {
    let word = prop::sample::select(vec![1, 40, 256, 257, 4_000]);
    prop::collection::vec(word, 0..120).prop_map(|lengths| {
        let words = lengths.into_iter().enumerate().map(|(index, length)| format!("{index}:{}", "s".repeat(length)));
        words.map(|word| ScopeToken::new(&word).unwrap()).collect()
    })
}

fn event() -> impl Strategy<Value = Event> {
    let texts = prop::collection::vec(prop::option::of(text()), 17);
    let lists = [prop::collection::vec(text(), 0..20), prop::collection::vec(text(), 0..20)];
    (texts, lists, prop::option::of(words()), prop::option::of(words())).prop_map(|(texts, lists, asked, scope)| {
        let mut event = Event::new(EventKind::TokenRefused, Timestamp::UNIX_EPOCH);
        let mut texts = texts.into_iter();
        for field in [
            &mut event.correlation_id,
            &mut event.source,
            &mut event.admin,
            &mut event.grant,
            &mut event.client_id,
            &mut event.auth_method,
            &mut event.subject_issuer,
            &mut event.sub,
            &mut event.target,
            &mut event.audience,
            &mut event.delegation,
            &mut event.jti,
            &mut event.parent_iss,
            &mut event.parent_jti,
            &mut event.txn,
            &mut event.reason,
            &mut event.detail,
        ] {
            *field = texts.next().flatten();
        }
        [event.actors, event.roles] = lists;
        (event.requested_scope, event.scope) = (asked, scope);
        event
    })
}

#[test]
fn no_event_is_larger_than_its_bounds() {
    let mut runner = TestRunner::new(proptest::test_runner::Config { cases: 64, ..config() });
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[0; 32]);
    let outcome = runner.run(&event(), |event| {
        let body = AuditWriter::seal_alone(&key, &SystemEntropy, &event).body;
        prop_assert!(body.len() <= EVENT_BYTES, "{} bytes", body.len());
        let stored: Event = serde_json::from_str(&body).expect("an event");
        prop_assert_eq!(event == stored, stored.cut.is_empty(), "{:?}", stored.cut);
        let object: Value = serde_json::from_str(&body).expect("an object");
        for (name, value) in object.as_object().expect("an object") {
            let most = match name.as_str() {
                "detail" => DETAIL_CHARS,
                "scope" | "requested_scope" => 2048,
                _ => TEXT_CHARS,
            };
            prop_assert!(longest(value) <= most, "{}: {}", name, longest(value));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The characters of the longest text.
fn longest(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(values) => values.iter().map(longest).max().unwrap_or(0),
        _ => 0,
    }
}

#[test]
fn what_is_cut_is_marked_and_named() {
    let mut event = Event::new(EventKind::TokenRefused, Timestamp::UNIX_EPOCH);
    event.sub = Some("é".repeat(300));
    event.txn = Some("t".repeat(256));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[0; 32]);
    let row = AuditWriter::seal_alone(&key, &SystemEntropy, &event);
    let stored: Event = serde_json::from_str(&row.body).expect("an event");
    assert_eq!(stored.sub, Some(format!("{}…", "é".repeat(255))));
    assert_eq!((&stored.txn, &row.txn), (&event.txn, &None));
    assert_eq!(stored.cut, ["sub"]);
}

/// One hostile thing about a request that is valid otherwise.
#[derive(Debug, Clone)]
enum Hostile {
    /// A parameter with this value.
    Parameter(&'static str, String),
    /// A header with this value.
    Header(&'static str, String),
    /// A claim of the user's token.
    Claim(&'static str, Value),
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let scope = (prop::sample::select(vec!["a ", "aaaa ", "stock:read "]), 1_usize..15_000)
        .prop_map(|(value, count)| value.repeat(count).trim_end().to_owned());
    let parameter = prop::sample::select(vec![
        "scope",
        "audience",
        "resource",
        "grant_type",
        "subject_token",
        "subject_token_type",
        "requested_token_type",
        "actor_token",
    ]);
    let header = prop::sample::select(vec!["x-correlation-id", "x-tenant-id", "dpop"]);
    let claim = prop::sample::select(vec!["iss", "sub", "aud", "jti", "org_id", "scope", "azp"]);
    let act = (text(), text(), 1_usize..12).prop_map(|(sub, iss, depth)| {
        let level = |act: Value| json!({ "sub": sub, "iss": iss, "act": act });
        (1..depth).fold(json!({ "sub": sub, "iss": iss }), |act, _| level(act))
    });
    // Half of what the body of a request may hold: some characters are sent as three bytes.
    let short = || text().prop_map(|text| text.chars().take(9_000).collect::<String>());
    prop_oneof![
        scope.prop_map(|scope| Hostile::Parameter("scope", scope)),
        (parameter, short()).prop_map(|(name, value)| Hostile::Parameter(name, value)),
        (header, 0_usize..20_000).prop_map(|(name, length)| Hostile::Header(name, "x".repeat(length))),
        (claim, short()).prop_map(|(name, value)| Hostile::Claim(name, json!(value))),
        act.prop_map(|act| Hostile::Claim("act", act)),
    ]
}

impl Hostile {
    async fn send(&self, world: &World, node: &Node) {
        let now = world.now().as_second();
        let model = small::model();
        let mut claims = json!({
            "iss": model.issuers[0].name, "sub": "alice", "aud": model.agents[FRONT].id, "org_id": "acme",
            "iat": now, "exp": now + 3000,
        });
        if let Self::Claim(name, value) = self {
            claims[*name] = value.clone();
        }
        let mut form = small::exchange(&model.issuers[0].signer().sign(&claims), MIDDLE);
        let mut headers = HeaderMap::new();
        match self {
            Self::Parameter(name, value) => {
                form.retain(|(known, _)| known != name);
                form.push(((*name).to_owned(), value.clone()));
            }
            Self::Header(name, value) => {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
            }
            Self::Claim(..) => {}
        }
        node.post("/oauth2/token", &[small::by_secret(FRONT), form].concat(), &headers).await;
    }
}

#[test]
fn no_hostile_request_makes_a_stored_event_larger_than_its_bounds() {
    runtime().block_on(async {
        for world in [World::sqlite(&small::model()).await, World::postgres(&small::model()).await] {
            let node = world.node().await;
            let requests = prop::collection::vec(hostile(), 120);
            let mut runner = TestRunner::new(config());
            let requests = requests.new_tree(&mut runner).expect("requests").current();
            for request in &requests {
                request.send(&world, &node).await;
            }
            let rows = world.store.audit(&AuditFilter::default(), 1_000).await.expect("the audit log").rows;
            assert!(rows.len() > requests.len() / 4, "{} of {} are events", rows.len(), requests.len());
            for row in rows {
                assert!(row.row.body.len() <= EVENT_BYTES, "{} bytes", row.row.body.len());
                let event: Value = serde_json::from_str(&row.row.body).expect("an event");
                let texts = event.as_object().expect("an object").iter().filter(|(name, _)| *name != "requested_scope");
                assert!(texts.clone().all(|(_, value)| longest(value) <= DETAIL_CHARS), "{event}");
            }
        }
    });
}
