//! The approval suite: what a person approves, and all else that was not approved.

use agent_graph::idp::User;
use anyhow::Context as _;
use http::HeaderMap;
use serde_json::{Value, json};
use sts_client::Error;

use crate::billing;
use crate::envelopes::{self, put};
use crate::report::{Report, Suite};
use crate::stage::{ALICE, BOB, SECRET_ORDER, Stage};
use crate::support::Call;
use crate::till::Refund;

/// The order that a thief would have paid back.
const ORDER_OF_A_THIEF: &str = "order-of-a-thief";

/// Plays it.
pub(crate) async fn play(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    of_tools(stage, report).await?;
    of_messages(stage, report).await
}

async fn of_tools(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("a large refund waits for its user, and is approved alone");
    let (small, large) = (refund("order-1", 50), refund("order-2", 500));
    let came = match authorize(stage, ALICE, &small).await? {
        Authorized::Token(headers) => call(stage, &headers, "refund", &small).await?,
        not => not.came(),
    };
    report.case(Suite::Approval, "a refund of 50", "allowed", &came);

    let waiting = authorize(stage, ALICE, &large).await?;
    report.case(Suite::Approval, "a refund of 500, before the user decides", "approval_required", &waiting.came());
    let Authorized::Waits(id) = waiting else { anyhow::bail!("no approval is required") };
    let user = log_in(stage, ALICE)?;
    let own = stage.support.headers_for_refund(&user, &small).await.context("a token")?;
    let own = own.get("authorization").and_then(|value| value.to_str().ok()).context("a token")?.to_owned();
    stage.remember(&own);
    for (what, token) in [
        ("support decides with its own token", own),
        ("support decides with the user's token", format!("Bearer {user}")),
    ] {
        let came = decide(stage, &id, "grant", &token).await?;
        report.case(Suite::Approval, what, "refused", came);
    }
    let came = authorize(stage, ALICE, &large).await?.came();
    report.case(Suite::Approval, "a refund of 500, after that", "approval_required", &came);

    let portal = log_in_at_sts(stage)?;
    report.check("the user approves it at the STS", decide(stage, &id, "grant", &portal).await? == "allowed");
    let Authorized::Token(headers) = authorize(stage, ALICE, &large).await? else { anyhow::bail!("not approved") };
    let came = call(stage, &headers, "refund", &large).await?;
    report.case(Suite::Approval, "a refund of 500, after the user approved it", "allowed", &came);
    let rows = [
        ("the same once more", "refund", large.clone(), "already_refunded"),
        ("501, same token", "refund", refund("order-2", 501), "insufficient_authorization_details"),
        ("another order, same token", "refund", refund("order-3", 500), "insufficient_authorization_details"),
        ("another tool, same token", "delete_customer", large.clone(), "insufficient_authorization_details"),
    ];
    for (what, tool, refund, expected) in rows {
        let came = call(stage, &headers, tool, &refund).await?;
        report.case(Suite::Approval, what, expected, &came);
    }
    let rows = [
        ("a refund of 501", ALICE, refund("order-2", 501), "approval_required"),
        ("a refund of another order", ALICE, refund("order-3", 500), "approval_required"),
        ("the refund of bob", BOB, large.clone(), "approval_required"),
        ("more than the delegation gives", ALICE, refund("order-2", 1_001), "invalid_authorization_details"),
    ];
    for (what, user, refund, expected) in rows {
        let came = authorize(stage, user, &refund).await?.came();
        report.case(Suite::Approval, what, expected, &came);
    }
    report.check("the user withdraws it", decide(stage, &id, "withdraw", &portal).await? == "allowed");
    let came = authorize(stage, ALICE, &large).await?.came();
    report.case(Suite::Approval, "a refund of 500, after the user withdrew it", "approval_required", &came);
    Ok(())
}

async fn of_messages(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("a large refund in a message needs a token that its user approved");
    let large = draft(SECRET_ORDER, 50_000);
    let id = approve(stage, report, "refund-2", &large).await?;
    let (first, second) = (command(stage, "refund-2", &large).await?, command(stage, "refund-2", &large).await?);
    let (Authorized::Token(first), Authorized::Token(second)) = (first, second) else { anyhow::bail!("not approved") };
    let (came, drafted) = envelopes::ask(stage, first).await?;
    report.case(Suite::Approval, "after the user approved it", "allowed", &came);
    let (came, again) = envelopes::ask(stage, second).await?;
    report.case(Suite::Approval, "tried again: the same answer", "allowed", &came);
    report.check("and it is drafted once", drafted.is_some() && drafted == again);
    for (what, key, refund, expected) in [
        ("another refund", "refund-3", draft(SECRET_ORDER, 50_000), "approval_required"),
        ("another order", "refund-2", draft(ORDER_OF_A_THIEF, 50_000), "approval_required"),
        ("one cent more", "refund-2", draft(SECRET_ORDER, 50_001), "approval_required"),
        ("more than the delegation gives", "refund-2", draft(SECRET_ORDER, 100_001), "invalid_authorization_details"),
    ] {
        let came = command(stage, key, &refund).await?.came();
        report.case(Suite::Approval, what, expected, &came);
    }
    let portal = log_in_at_sts(stage)?;
    report.check("the user withdraws it", decide(stage, &id, "withdraw", &portal).await? == "allowed");
    let came = command(stage, "refund-2", &large).await?.came();
    report.case(Suite::Approval, "after the user withdrew it", "approval_required", &came);
    diverted(stage, report, &large).await
}

/// A thief in support has a token that the user approved, and sends something else with it.
async fn diverted(stage: &mut Stage, report: &mut Report, approved: &billing::Refund) -> anyhow::Result<()> {
    approve(stage, report, "refund-6", approved).await?;
    let call = envelopes::prepare_large(stage, "refund-6", approved, approved).await?;
    let other = stage.forged(&call.sealed.envelope, |claims| put(claims, &["idempotencyKey"], json!("refund-7")))?;
    let came = envelopes::send(stage, &call, &other).await?;
    report.case(Suite::Approval, "another refund, with that token", "approval_required", &came);
    let order = draft(ORDER_OF_A_THIEF, approved.cents);
    let call = envelopes::prepare_large(stage, "refund-6", approved, &order).await?;
    let came = envelopes::send(stage, &call, &call.sealed.envelope).await?;
    report.case(Suite::Approval, "another order, with that token", "approval_required", &came);
    Ok(())
}

/// Support asks for a token for a large refund, and alice approves it. Returns the id of the approval.
async fn approve(
    stage: &mut Stage,
    report: &mut Report,
    key: &str,
    refund: &billing::Refund,
) -> anyhow::Result<String> {
    let waiting = command(stage, key, refund).await?;
    report.case(Suite::Approval, "before the user decides", "approval_required", &waiting.came());
    let Authorized::Waits(id) = waiting else { anyhow::bail!("no approval is required") };
    let portal = log_in_at_sts(stage)?;
    report.check("the user approves it at the STS", decide(stage, &id, "grant", &portal).await? == "allowed");
    Ok(id)
}

/// Alice logs in at the page of the STS.
fn log_in_at_sts(stage: &mut Stage) -> anyhow::Result<String> {
    let portal = format!("Bearer {}", stage.idp.sign_in(ALICE, stage.sts.issuer())?.token);
    stage.remember(&portal);
    Ok(portal)
}

/// Support seals a message of alice for a large refund, with a token for exactly this.
async fn command(stage: &mut Stage, key: &str, refund: &billing::Refund) -> anyhow::Result<Authorized<Call>> {
    Authorized::of(envelopes::prepare_large(stage, key, refund, refund).await)
}

fn draft(order: &str, cents: u32) -> billing::Refund {
    billing::Refund { order: order.to_owned(), cents }
}

fn refund(order: &str, amount: u32) -> Refund {
    Refund { order: order.to_owned(), amount }
}

/// The outcome of the request for a token: what it is used for.
enum Authorized<T> {
    Token(T),
    /// An approval of this id is required.
    Waits(String),
    Refused(String),
}

impl<T> Authorized<T> {
    fn of(outcome: anyhow::Result<T>) -> anyhow::Result<Self> {
        Ok(match outcome.map_err(anyhow::Error::downcast::<Error>) {
            Ok(token) => Self::Token(token),
            Err(Ok(Error::ApprovalRequired(required))) => Self::Waits(required.approval_id.clone()),
            Err(Ok(Error::Refused { code })) => Self::Refused(code.to_string()),
            Err(Ok(other)) => return Err(other.into()),
            Err(Err(other)) => return Err(other),
        })
    }

    fn came(&self) -> String {
        match self {
            Self::Token(_) => "allowed".to_owned(),
            Self::Waits(_) => "approval_required".to_owned(),
            Self::Refused(code) => code.clone(),
        }
    }
}

fn log_in(stage: &mut Stage, user: User) -> anyhow::Result<String> {
    let token = stage.idp.log_in(user)?.token;
    stage.remember(&token);
    Ok(token)
}

/// Support asks for a token for a refund, on behalf of a user who has just logged in.
async fn authorize(stage: &mut Stage, user: User, refund: &Refund) -> anyhow::Result<Authorized<HeaderMap>> {
    let token = log_in(stage, user)?;
    let authorized = Authorized::of(stage.support.headers_for_refund(&token, refund).await)?;
    if let Authorized::Token(headers) = &authorized {
        stage.remember(headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default());
    }
    Ok(authorized)
}

/// Calls a tool of the till: `allowed`, or the error.
async fn call(stage: &Stage, headers: &HeaderMap, tool: &str, refund: &Refund) -> anyhow::Result<String> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.post(stage.till.join(tool)?).headers(headers.clone()).json(refund).send().await?;
    if answer.status().is_success() {
        return Ok("allowed".to_owned());
    }
    let body: Value = answer.json().await?;
    Ok(body.get("error").and_then(Value::as_str).context("an error")?.to_owned())
}

/// Decides at the STS as the holder of a token: `allowed` or `refused`.
async fn decide(stage: &Stage, id: &str, decision: &str, authorization: &str) -> anyhow::Result<&'static str> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let request = http.post(format!("{}/approvals/{id}", stage.sts.issuer())).header("authorization", authorization);
    let answer = request.json(&json!({ "decision": decision })).send().await?;
    Ok(if answer.status().is_success() { "allowed" } else { "refused" })
}
