//! The envelope suite: the happy paths, and every refusal.

use std::time::Duration;

use agent_graph::idp::UserToken;
use serde_json::{Map, Value, json};
use sts_client::envelope::{AnswerError, Capability, OpenError};
use sts_jose::{Algorithm, Clock as _, SigningKey, SystemClock};

use crate::billing::{Drafted, Refund};
use crate::report::{Report, Suite};
use crate::stage::{ALICE, BOB, SECRET_ORDER, Stage};
use crate::support::{Ask, Call, fresh_id, json};

const DRAFT: &str = "refund:draft";

/// Plays it.
pub(crate) async fn play(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    happy_paths(stage, report).await?;
    changed_fields(stage, report).await?;
    others_tokens(stage, report).await?;
    replays(stage, report).await?;
    no_envelopes(stage, report).await?;
    answers(stage, report).await
}

/// Prepares a call of alice for a refund of so many cents.
async fn prepare(stage: &mut Stage, key: &str, cents: u32) -> anyhow::Result<Call> {
    let user = stage.idp.log_in(ALICE)?;
    prepare_as(stage, &user, key, cents).await
}

/// The same, with a token of hers. The STS's token for it is cached, so that two calls bear the same.
async fn prepare_as(stage: &mut Stage, user: &UserToken, key: &str, cents: u32) -> anyhow::Result<Call> {
    let payload = json(&Refund { order: SECRET_ORDER.to_owned(), cents })?;
    let (capability, details) = (Capability::ToolCall, json!([]));
    let ask = Ask { capability, scopes: DRAFT, idempotency_key: key, payload, details };
    prepare_ask(stage, user, &ask).await
}

/// Prepares a call of alice for a large refund, with a token that names `approved`. Support is honest if it
/// sends the same.
pub(crate) async fn prepare_large(
    stage: &mut Stage,
    key: &str,
    approved: &Refund,
    sent: &Refund,
) -> anyhow::Result<Call> {
    let user = stage.idp.log_in(ALICE)?;
    let (capability, details) = (Capability::WorkflowCommand, stage.support.details_for_large(key, approved)?);
    let ask = Ask { capability, scopes: DRAFT, idempotency_key: key, payload: json(sent)?, details };
    prepare_ask(stage, &user, &ask).await
}

async fn prepare_ask(stage: &mut Stage, user: &UserToken, ask: &Ask<'_>) -> anyhow::Result<Call> {
    let call = stage.support.prepare(&user.token, ask).await?;
    stage.remember(&user.token);
    stage.remember(&call.sealed.envelope);
    stage.remember(call.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default());
    Ok(call)
}

/// Sends what was prepared and opens the answer: `allowed`, or the reason of either side.
pub(crate) async fn ask(stage: &Stage, call: Call) -> anyhow::Result<(String, Option<Drafted>)> {
    let came = stage.support.send(&call.headers, &call.sealed.envelope).await?;
    match came {
        Err(error) => Ok((error, None)),
        Ok(answer) => match call.sealed.awaiting.open::<Drafted>(&answer).await {
            Ok(drafted) => Ok(("allowed".to_owned(), Some(drafted))),
            Err(error) => Ok((reason(&error), None)),
        },
    }
}

/// Sends a text in place of what was prepared: `allowed`, or the reason.
pub(crate) async fn send(stage: &Stage, call: &Call, text: &str) -> anyhow::Result<String> {
    let came = stage.support.send(&call.headers, text).await?;
    Ok(came.map_or_else(|error| error, |_answer| "allowed".to_owned()))
}

fn reason(error: &AnswerError) -> String {
    match error {
        AnswerError::Open(error) => OpenError::as_str(error).to_owned(),
        AnswerError::Schema(_) => "schema".to_owned(),
    }
}

async fn happy_paths(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("refunds are drafted once, and read");
    let call = prepare(stage, "refund-1", 1_250).await?;
    let (came, first) = ask(stage, call).await?;
    report.case(Suite::Envelope, "a refund is drafted", "allowed", &came);
    let call = prepare(stage, "refund-1", 1_250).await?;
    let (came, second) = ask(stage, call).await?;
    report.case(Suite::Envelope, "tried again: the same answer", "allowed", &came);
    report.check("and it is drafted once", first.is_some() && first == second && stage.billing.drafts() == 1);

    let user = stage.idp.log_in(BOB)?;
    let payload = json(&Refund { order: SECRET_ORDER.to_owned(), cents: 1 })?;
    let details = json!([]);
    let read = Ask { capability: Capability::Read, scopes: "refund:read", idempotency_key: "read-1", payload, details };
    let call = stage.support.prepare(&user.token, &read).await?;
    report.case(Suite::Envelope, "bob reads", "allowed", &ask(stage, call).await?.0);
    Ok(())
}

/// What an agent that was broken into signs.
async fn changed_fields(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("a thief with support's signing key changes what it signs");
    let future = (SystemClock.now() + Duration::from_secs(3_600)).to_string();
    let rows: [(&str, &[&str], Value, &str); 12] = [
        ("for another agent", &["auth", "audience"], json!("warehouse"), "wrong_audience"),
        ("more scope than was delegated", &["auth", "scopes"], json!([DRAFT, "refund:approve"]), "missing_scope"),
        ("expired", &["expiresAt"], json!("2026-01-01T00:00:00Z"), "expired_message"),
        ("from the future", &["issuedAt"], json!(future), "not_yet_valid"),
        ("for another tenant", &["caller", "tenantId"], json!("globex"), "wrong_tenant"),
        ("for another user", &["caller", "subject"], json!("bob"), "caller_mismatch"),
        ("without a trace id", &["traceId"], Value::Null, "missing_trace_or_idempotency"),
        ("without an idempotency key", &["idempotencyKey"], Value::Null, "missing_trace_or_idempotency"),
        ("a capability that is not served", &["capability"], json!("delegate"), "capability_not_delegated"),
        ("a capability whose scope is another", &["capability"], json!("read"), "capability_not_delegated"),
        (
            "a capability raised to one that is approved",
            &["capability"],
            json!("workflow_command"),
            "approval_required",
        ),
        ("with another trace id", &["traceId"], json!("another"), "undecryptable"),
    ];
    for (what, path, value, expected) in rows {
        let call = prepare(stage, &fresh_id(), 1).await?;
        // Not before the life that a message may have, so that the one fault is the time.
        let text = stage.forged(&call.sealed.envelope, |claims| {
            if expected == "not_yet_valid" {
                put(claims, &["expiresAt"], json!((SystemClock.now() + Duration::from_secs(3_660)).to_string()));
            }
            put(claims, path, value);
        })?;
        report.case(Suite::Envelope, what, expected, &send(stage, &call, &text).await?);
    }
    Ok(())
}

pub(crate) fn put(claims: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [name] => drop(claims.insert((*name).to_owned(), value)),
        [name, rest @ ..] => {
            if let Some(inner) = claims.get_mut(*name).and_then(Value::as_object_mut) {
                put(inner, rest, value);
            }
        }
        [] => {}
    }
}

async fn others_tokens(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("parts of two messages are put together");
    let call = prepare(stage, &fresh_id(), 1).await?;
    let other = prepare(stage, &fresh_id(), 1).await?;
    let mixed = Call { headers: other.headers, sealed: call.sealed };
    report.case(Suite::Envelope, "with the token of another message", "caller_mismatch", &ask(stage, mixed).await?.0);
    let call = prepare(stage, &fresh_id(), 1).await?;
    let stolen = prepare(stage, &fresh_id(), 1).await?;
    let payload = payload_of(stage, &stolen)?;
    let text = stage.forged(&call.sealed.envelope, |claims| put(claims, &["encryptedPayload"], payload))?;
    report.case(Suite::Envelope, "with the payload of another", "undecryptable", &send(stage, &call, &text).await?);
    Ok(())
}

fn payload_of(stage: &Stage, call: &Call) -> anyhow::Result<Value> {
    let mut payload = Value::Null;
    stage.forged(&call.sealed.envelope, |claims| {
        payload = claims.get("encryptedPayload").cloned().unwrap_or_default()
    })?;
    Ok(payload)
}

async fn replays(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("messages are sent again");
    let call = prepare(stage, "refund-4", 700).await?;
    let text = call.sealed.envelope.clone();
    report.case(Suite::Envelope, "another refund", "allowed", &send(stage, &call, &text).await?);
    for _ in 0..3 {
        report.case(Suite::Replay, "the same message again", "replay", &send(stage, &call, &text).await?);
    }
    let call = prepare(stage, "refund-4", 70_000).await?;
    report.case(Suite::Replay, "the same idempotency key, another payload", "replay", &ask(stage, call).await?.0);
    Ok(())
}

async fn no_envelopes(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("what is sent is no envelope of support");
    let call = prepare(stage, &fresh_id(), 1).await?;
    let text = call.sealed.envelope.clone();
    let mut flipped = text.clone().into_bytes();
    if let Some(byte) = flipped.get_mut(text.len() / 2) {
        *byte ^= 1;
    }
    let stranger = SigningKey::generate(Algorithm::Es256)?;
    let claims = sts_jose::CompactJws::parse(&text)?.payload().to_vec();
    let rows = [
        ("one bit flipped", String::from_utf8(flipped)?),
        ("cut short", text.get(..text.len() - 1).unwrap_or_default().to_owned()),
        (
            "a token in its place",
            call.headers.get("authorization").map_or("", |v| v.to_str().unwrap_or_default()).to_owned(),
        ),
        ("signed by a stranger", stranger.sign(Some("agent-request+jwt"), &claims)?),
        ("nothing", String::new()),
    ];
    for (what, text) in rows {
        report.case(Suite::Envelope, what, "bad_signature", &send(stage, &call, &text).await?);
    }
    report.case(Suite::Envelope, "and as it was", "allowed", &send(stage, &call, &text).await?);
    Ok(())
}

async fn answers(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("answers: a request sent back, one of another request, the right one");
    let call = prepare(stage, &fresh_id(), 1).await?;
    let reflected = call.sealed.envelope.clone();
    let came = call.sealed.awaiting.open::<Drafted>(&reflected).await;
    let came = came.map_or_else(|error| reason(&error), |_| "allowed".to_owned());
    report.case(Suite::Envelope, "a request sent back as an answer", "bad_signature", &came);
    let user = stage.idp.log_in(ALICE)?;
    let first = prepare_as(stage, &user, "refund-5", 1).await?;
    let second = prepare_as(stage, &user, "refund-5", 1).await?;
    let answer = stage.support.send(&first.headers, &first.sealed.envelope).await?.unwrap_or_default();
    let came = second.sealed.awaiting.open::<Drafted>(&answer).await;
    let came = came.map_or_else(|error| reason(&error), |_| "allowed".to_owned());
    report.case(Suite::Envelope, "the answer to another request", "replay", &came);
    let came = first.sealed.awaiting.open::<Drafted>(&answer).await;
    let came = came.map_or_else(|error| reason(&error), |_| "allowed".to_owned());
    report.case(Suite::Envelope, "and to its own", "allowed", &came);
    Ok(())
}
