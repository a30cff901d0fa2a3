//! `revoke`: the kill switch.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::{Options, RevokeArguments};
use super::output::{Output, configuration};
use crate::admin::{By, Named};
use crate::server::{Foundation, Surroundings};

pub(super) async fn run(
    options: &Options,
    arguments: &RevokeArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let revocation = named(arguments).revocation(&config.issuer)?;
    let administration = Foundation::lay(&config, surroundings).await?.administration(&config);
    if arguments.lift {
        let lifted = administration.lift(&revocation, &By::default()).await?;
        report(out, &json!({ "lifted": lifted }), if lifted { "lifted" } else { "nothing to lift" })?;
        return Ok(if lifted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let done = administration.revoke(&revocation, &By::default()).await?;
    let words = format!("revoked: {} entries, until {}", done.revoked, done.expires_at);
    report(out, &json!(done), &words)?;
    Ok(ExitCode::SUCCESS)
}

fn report(out: &mut Output, data: &serde_json::Value, words: &str) -> Result<(), CliError> {
    if out.is_json() { out.json(data) } else { out.line(words) }
}

fn named(arguments: &RevokeArguments) -> Named {
    let what = &arguments.what;
    Named {
        jti: what.jti.clone(),
        txn: what.txn.clone(),
        sub: what.sub.clone(),
        agent: what.agent.clone(),
        tenant: what.tenant.clone(),
        issuer: arguments.issuer.clone(),
    }
}
