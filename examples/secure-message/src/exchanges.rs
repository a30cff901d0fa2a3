//! The exchange suite: what the STS, and the verifier before billing, say to tokens.

use anyhow::Context as _;
use http::header::AUTHORIZATION;
use serde_json::Value;

use crate::report::{Report, Suite};
use crate::stage::{ALICE, BOB, Stage};

const GRANT: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const SUBJECT_TYPE: (&str, &str) = ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt");

/// Plays it.
pub(crate) async fn play(stage: &mut Stage, report: &mut Report) -> anyhow::Result<()> {
    report.act("tokens: what the STS grants, and what it refuses");
    let alice = stage.idp.log_in(ALICE)?;
    let bob = stage.idp.log_in(BOB)?;
    let gone = stage.idp.log_in(ALICE)?;
    for user in [&alice, &bob, &gone] {
        stage.remember(&user.token);
    }
    let rows = [
        ("alice's token, for billing", &alice.token, "support", "billing", "refund:draft", None, "allowed"),
        ("bob's token, for billing", &bob.token, "support", "billing", "refund:read", None, "allowed"),
        ("more than bob has", &bob.token, "support", "billing", "refund:draft", None, "invalid_scope"),
        ("more than the delegation gives", &alice.token, "support", "billing", "payroll:read", None, "invalid_scope"),
        ("a target that no agent may call", &alice.token, "support", "warehouse", "", None, "invalid_target"),
        ("a token that was issued for another agent", &alice.token, "billing", "support", "", None, "invalid_request"),
        ("another tenant", &alice.token, "support", "billing", "", Some("globex"), "invalid_request"),
        ("no token", &String::new(), "support", "billing", "", None, "invalid_request"),
    ];
    for (what, token, agent, target, scope, tenant, expected) in rows {
        let came = exchange(stage, Exchange { token, agent, target, scope, tenant }).await?;
        report.case(Suite::Exchange, what, expected, &came);
    }
    stage.sts.revoke(&stage.idp.issuer, &gone.jti).await?;
    let revoked = Exchange { token: &gone.token, agent: "support", target: "billing", scope: "", tenant: None };
    let came = exchange(stage, revoked).await?;
    report.case(Suite::Exchange, "a token that was revoked", "invalid_request", &came);
    let came = present(stage, &alice.token).await?;
    report.case(Suite::Exchange, "the user's own token, at billing", "invalid_token", &came);
    Ok(())
}

struct Exchange<'a> {
    token: &'a str,
    agent: &'a str,
    target: &'a str,
    scope: &'a str,
    tenant: Option<&'a str>,
}

/// `allowed`, or the error.
async fn exchange(stage: &mut Stage, exchange: Exchange<'_>) -> anyhow::Result<String> {
    let Exchange { token, agent, target, scope, tenant } = exchange;
    let form = [GRANT, SUBJECT_TYPE, ("subject_token", token), ("audience", target), ("scope", scope)];
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut request = http.post(format!("{}/oauth2/token", stage.sts.issuer())).form(&form);
    if let Some(tenant) = tenant {
        request = request.header("x-tenant-id", tenant);
    }
    let answer = request.basic_auth(agent, Some(stage.sts.secret(agent)?)).send().await?;
    let is_success = answer.status().is_success();
    let body: Value = answer.json().await?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    if is_success {
        stage.remember(&text("access_token").context("a token")?);
        return Ok("allowed".to_owned());
    }
    text("error").context("an error")
}

/// Presents a token to billing: `allowed`, or the error of the challenge.
async fn present(stage: &Stage, token: &str) -> anyhow::Result<String> {
    let mut headers = http::HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").try_into()?);
    let came = stage.support.send(&headers, "").await?;
    Ok(came.map_or_else(|error| error, |_answer| "allowed".to_owned()))
}
