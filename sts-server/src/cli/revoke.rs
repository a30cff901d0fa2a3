//! `revoke`: the kill switch.

use std::process::ExitCode;

use serde_json::json;
use sts_protocol::Tenant;

use super::CliError;
use super::arguments::{Options, RevokeArguments};
use super::output::{Output, configuration};
use crate::config::Config;
use crate::exchange::{Revocation, revocation_row};
use crate::record::{Event, EventKind};
use crate::registry::Registry;
use crate::server::{Foundation, Surroundings};
use crate::storage::RevocationKind;

pub(super) async fn run(
    options: &Options,
    arguments: &RevokeArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let revocation = revocation(arguments, &config)?;
    let foundation = Foundation::lay(&config, surroundings).await?;
    let store = &foundation.store;
    if arguments.lift {
        let audit = [foundation.audit_row(EventKind::RevocationLifted, |event| describe(event, &revocation))];
        let Revocation { kind, issuer, value } = &revocation;
        let lifted = store.lift(*kind, issuer.as_deref(), value, &audit).await?;
        report(out, &json!({ "lifted": lifted }), if lifted { "lifted" } else { "nothing to lift" })?;
        return Ok(if lifted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (version, rows) = store.entries().await?;
    let registry = Registry::from_rows(version, &rows).map_err(crate::exchange::SnapshotError::from)?;
    let now = foundation.surroundings.clock.now();
    let mut row = revocation_row(&revocation, &registry, config.limits.max_ttl, now);
    if revocation.kind == RevocationKind::Token
        && let Some(token) =
            store.token(&revocation.value).await?.filter(|token| Some(&token.iss) == revocation.issuer.as_ref())
    {
        row.expires_at = token.expires_at;
    }
    let audit = [foundation.audit_row(EventKind::Revoked, |event| describe(event, &revocation))];
    let (_, revoked) = store.revoke(&row, &audit).await?;
    let words = format!("revoked: {revoked} entries, until {}", row.expires_at);
    report(out, &json!({ "revoked": revoked, "expires_at": row.expires_at }), &words)?;
    Ok(ExitCode::SUCCESS)
}

fn report(out: &mut Output, data: &serde_json::Value, words: &str) -> Result<(), CliError> {
    if out.is_json() { out.json(data) } else { out.line(words) }
}

/// What the audit event says of the revocation, in the fields in which others are found.
fn describe(event: &mut Event, revocation: &Revocation) {
    let Revocation { kind, issuer, value } = revocation;
    let value = Some(value.clone());
    match kind {
        RevocationKind::Token => {
            event.detail = issuer.as_ref().map(|issuer| format!("a token of {issuer}"));
            event.jti = value;
        }
        RevocationKind::Transaction => event.txn = value,
        RevocationKind::Subject => {
            event.subject_issuer.clone_from(issuer);
            event.sub = value;
        }
        RevocationKind::Agent => event.actors.extend(value),
        RevocationKind::Tenant => event.tenant_id = value.and_then(|tenant| Tenant::new(&tenant).ok()),
    }
}

fn revocation(arguments: &RevokeArguments, config: &Config) -> Result<Revocation, CliError> {
    let what = &arguments.what;
    let named = [
        (RevocationKind::Token, &what.jti),
        (RevocationKind::Transaction, &what.txn),
        (RevocationKind::Subject, &what.sub),
        (RevocationKind::Agent, &what.agent),
        (RevocationKind::Tenant, &what.tenant),
    ];
    let named = named.into_iter().find_map(|(kind, value)| value.clone().map(|value| (kind, value)));
    let Some((kind, value)) = named else {
        return Err(CliError::Argument("one of --jti, --txn, --sub, --agent and --tenant is needed".to_owned()));
    };
    let issuer = match kind {
        RevocationKind::Token => Some(arguments.issuer.clone().unwrap_or_else(|| config.issuer.clone())),
        RevocationKind::Subject => arguments.issuer.clone(),
        RevocationKind::Transaction | RevocationKind::Agent | RevocationKind::Tenant => {
            if arguments.issuer.is_some() {
                return Err(CliError::Argument("--issuer goes with --jti and --sub alone".to_owned()));
            }
            None
        }
    };
    if kind == RevocationKind::Tenant {
        Tenant::new(&value).map_err(|error| CliError::Argument(format!("--tenant: {error}")))?;
    }
    Ok(Revocation { kind, issuer, value })
}
