//! `revoke`: makes, lists and lifts revocations.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::Options;
use super::output::{Output, configuration, counted, to_the_second};
use super::revoke_arguments::RevokeArguments;
use crate::admin::{Administration, By, Named, RevocationDone, StandingRevocation};
use crate::server::{Foundation, Surroundings};
use crate::storage::RevocationKind;

pub(super) async fn run(
    options: &Options,
    arguments: &RevokeArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    if arguments.what.list {
        let administration = Foundation::lay(&config, surroundings).await?.administration(&config);
        return list(&administration, out).await;
    }
    let named = named(arguments);
    if arguments.what.owner.is_none() {
        // A wrong argument is reported even if the database cannot be opened.
        named.request(&config.issuer)?;
    }
    let administration = Foundation::lay(&config, surroundings).await?.administration(&config);
    let each = administration.each_of(named).await?;
    let requests = each.iter().map(|named| named.request(&config.issuer)).collect::<Result<Vec<_>, _>>()?;
    if let Some(owner) = arguments.what.owner.as_ref().filter(|_| !out.is_json()) {
        let agents: Vec<&str> = each.iter().filter_map(|named| named.agent.as_deref()).collect();
        out.line(&format!("{} of {owner}: {}", counted(agents.len(), "agent"), agents.join(" ")))?;
    }
    if arguments.lift {
        let mut lifted = false;
        for request in &requests {
            lifted |= administration.lift(&request.revocation, &By::this_user()).await?;
        }
        report(out, &json!({ "lifted": lifted }), if lifted { "lifted" } else { "nothing to lift" })?;
        return Ok(if lifted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let done = administration.revoke_each(&requests, &By::this_user()).await?;
    let kind = requests.first().map_or(RevocationKind::Agent, |request| request.revocation.kind);
    report(out, &json!(done), &in_words(&done, kind))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(administration: &Administration, out: &mut Output) -> Result<ExitCode, CliError> {
    let mut standing = administration.revocations().await?;
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

fn in_words(done: &RevocationDone, kind: RevocationKind) -> String {
    let until = done.expires_at.map_or_else(|| "lifted".to_owned(), to_the_second);
    let revoked = format!("revoked: {}, until {until}", counted(done.revoked, "entry"));
    match (kind, done.hold) {
        (RevocationKind::Token | RevocationKind::TokenAlone | RevocationKind::Transaction, _) => revoked,
        (_, true) => format!("{revoked}\non hold: new tokens are refused too"),
        (RevocationKind::Agent, false) => {
            format!("{revoked}\ndoes not stop new tokens: use --hold or disable the entry")
        }
        (RevocationKind::Subject | RevocationKind::Tenant, false) => {
            format!("{revoked}\ndoes not stop new tokens: use --hold")
        }
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
