//! `keys`: lists, rotates, revokes and reseals the signing keys.

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::{KeysCommand, Options};
use super::backend::{Backend, OpenDatabase, ReadBackend};
use super::output::{Output, counted, to_the_second};
use crate::admin::{By, ListedKey, RotateRequest};
use crate::keys::MasterKey;
use crate::server::Surroundings;

pub(super) async fn run(
    options: &Options,
    command: &KeysCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let backend = match command {
        KeysCommand::List => ReadBackend::of(options, surroundings, out).await?,
        KeysCommand::Rotate { algorithm, now } => {
            let backend = Backend::of(options, surroundings, out).await?;
            backend.rotate_keys(RotateRequest { algorithm: *algorithm, now: *now }).await?;
            backend.reading()
        }
        KeysCommand::Revoke { kid } => {
            let backend = Backend::of(options, surroundings, out).await?;
            backend.revoke_key(kid).await?;
            if !out.is_json() {
                out.line("revoked: the tokens of this key are refused as soon as verifiers read the keys again")?;
            }
            backend.reading()
        }
        KeysCommand::Reseal { new_master_key_file } => {
            let new = MasterKey::read(new_master_key_file)?;
            let database = OpenDatabase::of(options, surroundings, out).await?;
            let count = database.administration.reseal_keys(&new, &By::this_user()).await?;
            return report_reseal(count, new_master_key_file, out);
        }
    };
    for key in backend.keys().await? {
        if out.is_json() {
            out.json(&key)?;
        } else {
            let ListedKey { kid, algorithm, state, state_since, .. } = key;
            out.line(&format!("{algorithm:<6} {state:<8} {kid}  since {}", to_the_second(state_since)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn report_reseal(count: usize, file: &Path, out: &mut Output) -> Result<ExitCode, CliError> {
    if out.is_json() {
        out.json(&json!({ "resealed": count }))?;
    } else {
        out.line(&format!("{} sealed under the key of {}.", counted(count, "signing key"), file.display()))?;
        out.line(
            "Now put that file in place of keys.master_key_file on every server, and restart the servers one by one.",
        )?;
        out.line("A server that still runs with the former key issues no tokens from 30 s on, and is not ready.")?;
    }
    Ok(ExitCode::SUCCESS)
}
