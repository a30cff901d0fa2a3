//! `keys`: the signing keys.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::{KeysCommand, Options};
use super::output::{Output, configuration};
use crate::keys::{self, MasterKey, Rotation};
use crate::record::EventKind;
use crate::server::{Foundation, Surroundings};
use crate::storage::{KeyChanges, KeyRow, KeyState};

pub(super) async fn run(
    options: &Options,
    command: &KeysCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let foundation = Foundation::lay(&config, surroundings).await?;
    let policy = foundation.key_policy(&config);
    let audit = &mut |changes: &KeyChanges| foundation.audit_keys(changes);
    match command {
        KeysCommand::List => {}
        KeysCommand::Rotate { algorithm, now } => {
            let rotation = if *now { Rotation::Now } else { Rotation::WhenPublished };
            keys::rotate(&policy, *algorithm, rotation, audit).await?;
        }
        KeysCommand::Revoke { kid } => keys::revoke(&policy, kid, audit).await?,
        KeysCommand::Reseal { new_master_key_file } => {
            let new = MasterKey::read(new_master_key_file)?;
            let event = foundation.audit_row(EventKind::KeysChanged, |event| {
                event.detail = Some("all signing keys are sealed under another master key".to_owned());
            });
            let count = keys::reseal(&policy, &new, &[event]).await?;
            return report_reseal(count, new_master_key_file, out);
        }
    }
    let (_, rows) = foundation.store.keys().await?;
    list(rows, out)?;
    Ok(ExitCode::SUCCESS)
}

fn report_reseal(count: usize, file: &Path, out: &mut Output) -> Result<ExitCode, CliError> {
    if out.is_json() {
        out.json(&json!({ "resealed": count }))?;
    } else {
        out.line(&format!("{count} signing keys are sealed under the key of {}.", file.display()))?;
        out.line(
            "Now put that file in place of keys.master_key_file at every server, and start them again one by one.",
        )?;
        out.line("Until then a running server goes on with the keys it has opened, and can rotate none.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(mut rows: Vec<KeyRow>, out: &mut Output) -> Result<(), CliError> {
    rows.sort_by(|left, right| (&left.algorithm, left.state).cmp(&(&right.algorithm, right.state)));
    for row in &rows {
        let state = match row.state {
            KeyState::Next => "next",
            KeyState::Active => "active",
            KeyState::Retired => "retired",
        };
        if out.is_json() {
            out.json(&json!({
                "kid": row.kid,
                "algorithm": row.algorithm,
                "state": state,
                "state_since": row.state_since,
                "created_at": row.created_at,
            }))?;
        } else {
            out.line(&format!("{:<6} {state:<8} {}  since {}", row.algorithm, row.kid, row.state_since))?;
        }
    }
    Ok(())
}
