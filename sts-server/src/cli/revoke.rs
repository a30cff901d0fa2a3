//! `revoke`: makes, lists and lifts revocations.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::Options;
use super::backend::{Backend, ReadBackend};
use super::output::{Output, counted, to_the_second};
use super::revoke_arguments::RevokeArguments;
use crate::admin::{Named, RevocationDone, StandingRevocation};
use crate::server::Surroundings;

pub(super) async fn run(
    options: &Options,
    arguments: &RevokeArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    if arguments.what.list {
        return list(&ReadBackend::of(options, surroundings, out).await?, out).await;
    }
    let backend = Backend::of(options, surroundings, out).await?;
    let named = named(arguments);
    if arguments.lift {
        let lifted = backend.lift(&named).await?;
        report(out, &json!({ "lifted": lifted }), if lifted { "lifted" } else { "nothing to lift" })?;
        return Ok(if lifted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let done = backend.revoke(&named).await?;
    report(out, &json!(done), &in_words(&done, &named))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(backend: &ReadBackend, out: &mut Output) -> Result<ExitCode, CliError> {
    let mut standing = backend.revocations().await?;
    standing.sort_by(|left, right| left.at.cmp(&right.at).then_with(|| left.name().cmp(&right.name())));
    for revocation in &standing {
        report(out, &json!(revocation), &line(revocation))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns one revocation as a line: kind, name, issuer, since, until, and whether it is a hold.
fn line(revocation: &StandingRevocation) -> String {
    let (kind, name) = revocation.name();
    let issuer = revocation.issuer.as_ref().map_or_else(String::new, |issuer| format!(" of {}", printable(issuer)));
    let until = revocation.expires_at.map_or_else(|| "lifted".to_owned(), to_the_second);
    let hold = if revocation.hold { ", hold" } else { "" };
    format!("{kind} {}{issuer}: since {}, until {until}{hold}", printable(name), to_the_second(revocation.at))
}

/// Escapes a name, so that a terminal may show it.
fn printable(name: &str) -> String {
    name.chars().flat_map(|char| if char.is_control() { char.escape_default().collect() } else { vec![char] }).collect()
}

fn in_words(done: &RevocationDone, named: &Named) -> String {
    let until = done.expires_at.map_or_else(|| "lifted".to_owned(), to_the_second);
    let mut revoked = format!("revoked: {}, until {until}", counted(done.revoked, "entry"));
    if let Some(owner) = &named.owner {
        if done.agents.is_empty() {
            return format!("no agent has the owner {owner}: nothing is revoked");
        }
        revoked = format!("{} of {owner}: {}\n{revoked}", counted(done.agents.len(), "agent"), done.agents.join(" "));
    }
    if named.jti.is_some() || named.txn.is_some() {
        return revoked;
    }
    match (done.hold, named.agent.is_some() || named.owner.is_some()) {
        (true, _) => format!("{revoked}\non hold: new tokens are refused too"),
        (false, true) => format!("{revoked}\ndoes not stop new tokens: use --hold or disable the entry"),
        (false, false) => format!("{revoked}\ndoes not stop new tokens: use --hold"),
    }
}

fn report(out: &mut Output, data: &serde_json::Value, words: &str) -> Result<(), CliError> {
    if out.is_json() { out.json(data) } else { out.block(words) }
}

fn named(arguments: &RevokeArguments) -> Named {
    let what = &arguments.what;
    Named {
        jti: what.jti.clone(),
        txn: what.txn.clone(),
        sub: what.sub.clone(),
        agent: what.agent.clone(),
        tenant: what.tenant.clone(),
        owner: what.owner.clone(),
        issuer: arguments.issuer.clone(),
        hold: arguments.hold,
        unknown: arguments.unknown,
    }
}
