//! Deferred answers (draft-ietf-oauth-deferred-token-response): a request waits for a decision, and polls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_server::storage::RevocationKind;
use sts_tests::{Answer, FormRequest, Harness, ProofKey, members, refuses};

use super::{BY_OPERATOR, awaited, decided, on_both, setup, state, write};

const DEFERRED: &str = "urn:ietf:params:oauth:grant-type:deferred";

fn wait(harness: &Harness) -> FormRequest {
    write(harness).set("completion_mode", "deferred")
}

pub(super) fn poll(harness: &Harness, agent: &str, code: &str) -> FormRequest {
    let request = FormRequest::new(harness.wire(), "/oauth2/token");
    request.set("grant_type", DEFERRED).set("deferral_code", code).authenticated(harness.credentials(agent))
}

/// The code of a deferred answer.
fn code_of(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.error()), (400, "authorization_pending"), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(members(&answer.json), ["deferral_code", "error", "error_description", "expires_in", "interval"]);
    answer.json["deferral_code"].as_str().expect("a code").to_owned()
}

/// A code, and the approval that it waits for.
pub(super) async fn deferred(harness: &Harness) -> (String, String) {
    let code = code_of(&wait(harness).send().await);
    harness.seen.remember(&code);
    (code, awaited(write(harness)).await)
}

fn assert_pending(answer: &Answer) {
    refuses("pending", answer, ErrorKind::Pending);
}

#[tokio::test]
async fn a_deferred_exchange_polls_until_it_is_granted_and_is_redeemed_once() {
    for harness in on_both(BY_OPERATOR).await {
        let answer = wait(&harness).send().await;
        assert_eq!((&answer.json["expires_in"], &answer.json["interval"]), (&json!(300), &json!(5)));
        let code = code_of(&answer);
        harness.seen.remember(&code);
        let id = awaited(write(&harness)).await;
        let events = harness.audit_count().await;
        for _ in 0..3 {
            assert_pending(&poll(&harness, "coordinator", &code).send().await);
        }
        assert_eq!(harness.audit_count().await, events, "a poll that waits is no event");
        decided(&harness, &id, "grant").await;
        let request = poll(&harness, "coordinator", &code);
        let issued = request.clone().send().await;
        assert_eq!(issued.claims()["scope"], "stock:write");
        assert_eq!(issued.json["issued_token_type"], "urn:ietf:params:oauth:token-type:access_token");
        let event = super::event(&harness, &request.correlation_id()).await;
        assert_eq!((event.grant.as_deref(), event.approval.as_deref()), (Some(DEFERRED), Some(id.as_str())));
        let again = poll(&harness, "coordinator", &code);
        harness.assert_refused("twice", again, ErrorKind::Deferral, "deferral_code_used").await;
        assert_eq!(harness.token_count().await, 1);
    }
}

#[tokio::test]
async fn polls_that_get_nothing_are_answered_alike() {
    let harness = setup(BY_OPERATOR).start().await;
    let (code, id) = deferred(&harness).await;
    let (late, _) = deferred(&harness).await;
    let by_reporter = poll(&harness, "reporter", &code);
    decided(&harness, &id, "grant").await;
    poll(&harness, "coordinator", &code).send().await.token();
    let mut altered = code.clone();
    altered.replace_range(10..11, if &code[10..11] == "A" { "B" } else { "A" });
    let mut bodies = Vec::new();
    for (label, request) in [
        ("of another client", by_reporter),
        ("redeemed", poll(&harness, "coordinator", &code)),
        ("altered", poll(&harness, "coordinator", &altered)),
        ("unknown", poll(&harness, "coordinator", "unknown")),
        ("a token", poll(&harness, "coordinator", &harness.user_token())),
    ] {
        let answer = request.send().await;
        refuses(label, &answer, ErrorKind::Deferral);
        bodies.push(answer.text());
    }
    harness.advance(300);
    let answer = poll(&harness, "coordinator", &late).send().await;
    refuses("late", &answer, ErrorKind::Deferral);
    bodies.push(answer.text());
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn a_poll_after_a_denial_or_a_withdrawal_is_denied_and_asks_for_nothing_new() {
    for decision in ["deny", "withdraw"] {
        for harness in on_both(BY_OPERATOR).await {
            let (code, id) = deferred(&harness).await;
            decided(&harness, &id, decision).await;
            let poll = poll(&harness, "coordinator", &code);
            harness.assert_refused(decision, poll, ErrorKind::Denied, "approval_denied").await;
            assert_eq!(harness.store.approvals().await.expect("a database").rows.len(), 1, "{decision}");
        }
    }
}

#[tokio::test]
async fn a_code_never_outlives_the_subject_token() {
    let harness = setup(BY_OPERATOR).start().await;
    let token = harness.user_token_with(&json!({ "exp": harness.now() + 60 }));
    let answer = wait(&harness).set("subject_token", token).send().await;
    assert_eq!(answer.json["expires_in"], 60);
    let code = code_of(&answer);
    harness.seen.remember(&code);
    let id = awaited(write(&harness)).await;
    decided(&harness, &id, "grant").await;
    harness.advance(60);
    refuses("expired", &poll(&harness, "coordinator", &code).send().await, ErrorKind::Deferral);
}

#[tokio::test]
async fn the_redemption_applies_every_rule_anew() {
    let mut harness = setup(BY_OPERATOR).start().await;
    let (code, id) = deferred(&harness).await;
    decided(&harness, &id, "grant").await;
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "disabled = true")).await;
    let request = || poll(&harness, "coordinator", &code);
    harness.assert_refused("no delegation", request(), ErrorKind::Target, "no_delegation").await;
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "disabled = false")).await;
    let revoked = harness.admin("POST", "/revocations").by("operator").json(&json!({ "sub": "alice" })).send().await;
    assert_eq!(revoked.status, 200);
    let request = poll(&harness, "coordinator", &code);
    harness.assert_refused("revoked", request, ErrorKind::Token, "subject_revoked").await;
    assert_eq!(state(&harness, &id).await, "ended");
}

/// A poll whose approval waits is decided again as soon as anything that decides has changed.
#[tokio::test]
async fn a_poll_that_waits_applies_every_rule_after_a_change() {
    let mut harness = setup(BY_OPERATOR).start().await;
    let token = harness.user_token_with(&json!({ "jti": "the-one" }));
    let code = code_of(&wait(&harness).set("subject_token", token).send().await);
    harness.seen.remember(&code);
    let id = awaited(write(&harness)).await;
    assert_pending(&poll(&harness, "coordinator", &code).send().await);
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "disabled = true")).await;
    let request = || poll(&harness, "coordinator", &code);
    harness.assert_refused("no delegation", request(), ErrorKind::Target, "no_delegation").await;
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "disabled = false")).await;
    let request = || poll(&harness, "coordinator", &code);
    assert_pending(&request().send().await);
    harness.block(RevocationKind::Token, Some(harness.idp.url()), "the-one").await;
    harness.refresh().await;
    harness.assert_refused("revoked", request(), ErrorKind::Token, "token_revoked").await;
    assert_eq!(state(&harness, &id).await, "pending");
}

#[tokio::test]
async fn the_key_of_the_first_request_binds_the_code() {
    let harness = setup(BY_OPERATOR).start().await;
    let (key, other) = (ProofKey::new(), ProofKey::new());
    let with = |request: FormRequest, key: &ProofKey| request.proving(&harness, key);
    let code = code_of(&with(wait(&harness), &key).send().await);
    harness.seen.remember(&code);
    let id = awaited(write(&harness)).await;
    let request = || poll(&harness, "coordinator", &code);
    refuses("no proof", &request().send().await, ErrorKind::Deferral);
    refuses("another key", &with(request(), &other).send().await, ErrorKind::Deferral);
    assert_pending(&with(request(), &key).send().await);
    decided(&harness, &id, "grant").await;
    refuses("another key", &with(request(), &other).send().await, ErrorKind::Deferral);
    let issued = with(request(), &key).send().await;
    assert_eq!(issued.json["token_type"], "DPoP");
}

#[tokio::test]
async fn the_certificate_of_the_first_request_binds_the_code() {
    let setup = setup(BY_OPERATOR)
        .option("LISTEN__CLIENT_CERTIFICATE_HEADER", "Client-Cert")
        .option("LISTEN__TRUSTED_PROXIES", "127.0.0.1")
        .registry(|registry| registry.agent("coordinator", "tls_client_certificate_bound_access_tokens = true"));
    let harness = setup.start().await;
    let certificate = || {
        let certified = rcgen::generate_simple_self_signed(["coordinator".to_owned()]).expect("a certificate");
        format!(":{}:", STANDARD.encode(certified.cert.der()))
    };
    let (own, other) = (certificate(), certificate());
    let with = |request: FormRequest, certificate: &str| request.header("Client-Cert", certificate);
    let code = code_of(&with(wait(&harness), &own).send().await);
    harness.seen.remember(&code);
    let id = awaited(with(write(&harness), &own)).await;
    decided(&harness, &id, "grant").await;
    let request = || poll(&harness, "coordinator", &code);
    refuses("no certificate", &request().send().await, ErrorKind::Deferral);
    refuses("another one", &with(request(), &other).send().await, ErrorKind::Deferral);
    let claims = with(request(), &own).send().await.claims();
    assert!(claims["cnf"]["x5t#S256"].is_string(), "{claims}");
}

#[tokio::test]
async fn a_request_that_is_too_long_for_a_code_asks_for_no_approval() {
    let harness = setup(BY_OPERATOR).option("LIMITS__MAX_TOKEN_BYTES", "40KiB").start().await;
    let long = harness.user_token_with(&json!({ "more": "x".repeat(25_000) }));
    harness.seen.remember(&long);
    let request = wait(&harness).set("subject_token", &long);
    harness.assert_refused("too long", request, ErrorKind::Request, "deferral_too_long").await;
    assert_eq!(harness.store.approvals().await.expect("a database").rows.len(), 0);
    awaited(write(&harness).set("subject_token", &long)).await;
    let usual = harness.user_token_with(&json!({ "more": "x".repeat(20_000) }));
    let code = code_of(&wait(&harness).set("subject_token", &usual).send().await);
    harness.seen.remember(&usual);
    harness.seen.remember(&code);
    assert_pending(&poll(&harness, "coordinator", &code).send().await);
}

#[tokio::test]
async fn rfc_8628_section_3_5_polls_that_come_too_fast_are_slowed_down() {
    let harness = setup(BY_OPERATOR).start().await;
    let (code, id) = deferred(&harness).await;
    let (another, _) = deferred(&harness).await;
    let events = harness.audit_count().await;
    for _ in 0..12 {
        assert_pending(&poll(&harness, "coordinator", &code).send().await);
    }
    let slowed = poll(&harness, "coordinator", &code).send().await;
    refuses("too fast", &slowed, ErrorKind::PollRate);
    assert_eq!(harness.audit_count().await, events, "no event");
    decided(&harness, &id, "grant").await;
    refuses("granted, too fast", &poll(&harness, "coordinator", &code).send().await, ErrorKind::PollRate);
    poll(&harness, "coordinator", &another).send().await.token();
}

#[tokio::test]
async fn what_needs_no_approval_is_answered_at_once_and_only_who_asks_waits() {
    let harness = setup(BY_OPERATOR).start().await;
    wait(&harness).set("scope", "stock:read").send().await.token();
    for mode in ["", "later", "deferred_later"] {
        awaited(write(&harness).set("completion_mode", mode)).await;
    }
    code_of(&write(&harness).set("completion_mode", "later deferred").send().await);
    let (code, _) = deferred(&harness).await;
    let request = || poll(&harness, "coordinator", &code);
    for (label, request, reason) in [
        ("no code", request().without("deferral_code"), "parameter_missing"),
        ("a completion mode", request().set("completion_mode", "deferred"), "parameter_foreign"),
    ] {
        harness.assert_refused(label, request, ErrorKind::Request, reason).await;
    }
    let unauthenticated = poll(&harness, "coordinator", &code).authenticated(sts_tests::Credentials::None);
    refuses("nobody", &unauthenticated.send().await, ErrorKind::Client);
}

#[tokio::test]
async fn a_code_is_redeemed_once_across_servers() {
    for harness in on_both(BY_OPERATOR).await {
        let replica = harness.replica().await;
        let (code, id) = deferred(&harness).await;
        let at_replica = || poll(&harness, "coordinator", &code).at(&replica.wire);
        assert_pending(&at_replica().send().await);
        decided(&harness, &id, "grant").await;
        replica.server.sts().refresh().await.expect("a database");
        let (here, there) = tokio::join!(poll(&harness, "coordinator", &code).send(), at_replica().send());
        let mut statuses = [here.status, there.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400], "{} {}", here.text(), there.text());
        assert_eq!(harness.token_count().await, 1);
    }
}

#[tokio::test]
async fn metadata_names_the_grant() {
    let harness = setup(BY_OPERATOR).start().await;
    let metadata: Value = harness.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(metadata["deferred_token_response_supported"], true);
    assert!(metadata["grant_types_supported"].as_array().expect("grants").contains(&json!(DEFERRED)));
}
