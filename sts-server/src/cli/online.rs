//! `check --online`: fetches every key set and opens the database. Changes nothing.

use std::path::Path;

use serde_json::{Value, json};
use sts_jose::{Algorithm, KeySet, error_chain};

use super::CliError;
use super::output::Output;
use crate::admin::Access;
use crate::config::Config;
use crate::fault::{Fault, Severity};
use crate::keys::{Inspected, KeyOwner, TrustedKeys};
use crate::registry::{Registry, RegistryFile, plan};
use crate::server::{Foundation, Surroundings};
use crate::storage::{EntryChange, StorageError, Version};

/// Reads everything that the configuration and the registry file name, prints the keys, and returns
/// the faults.
pub(super) async fn faults(
    config: &Config,
    registry: Option<&Path>,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<Vec<Fault>, CliError> {
    let access = surroundings.key_access(config);
    let mut faults = Vec::new();
    if let Some(path) = registry {
        let trusted = TrustedKeys::new(&entries(path), &TrustedKeys::default(), &access);
        for inspected in trusted.inspect().await {
            faults.extend(show(&inspected, path, out)?);
        }
    }
    if let Ok(operators) = Access::new(&config.admin, &access) {
        for inspected in operators.inspect().await {
            faults.extend(show(&inspected, Path::new("admin.oidc"), out)?);
        }
    }
    faults.extend(database_fault(config, surroundings).await);
    Ok(faults)
}

async fn database_fault(config: &Config, surroundings: Surroundings) -> Option<Fault> {
    let fault = |severity, what: String| Fault::new(Path::new("database.url"), severity, what);
    let foundation = match Foundation::lay(config, surroundings).await {
        Ok(foundation) => foundation,
        Err(error) => return Some(fault(Severity::Error, error_chain(&error))),
    };
    let read = foundation.store.entries().await;
    foundation.store.close().await;
    match read {
        Ok(_) => None,
        Err(error @ StorageError::Broken(_)) => {
            let fault = fault(Severity::Warning, format!("the registry cannot be read: {}", error_chain(&error)));
            Some(fault.with_help("a new database has no tables before `serve` or `migrate` makes them"))
        }
        Err(error) => Some(fault(Severity::Error, error_chain(&error))),
    }
}

/// Returns the entries of a registry file, or none if the file has errors.
fn entries(path: &Path) -> Registry {
    let plan = plan(&[], &RegistryFile::read(path), None);
    let changes = plan.map(|plan| plan.changes).unwrap_or_default();
    let put = |change| match change {
        EntryChange::Put(row) => Some(row),
        EntryChange::Delete(..) | EntryChange::Generation(_) => None,
    };
    let rows: Vec<_> = changes.into_iter().filter_map(put).collect();
    Registry::from_rows(Version::default(), &rows).unwrap_or_default()
}

/// Prints the keys of one key set, and returns its faults.
fn show(inspected: &Inspected, file: &Path, out: &mut Output) -> Result<Vec<Fault>, CliError> {
    let (kind, name) = match &inspected.owner {
        KeyOwner::Issuer(name) => ("issuer", name),
        KeyOwner::Agent(name) => ("agent", name),
    };
    let fault = |severity, what: String| Fault::new(file, severity, format!("{kind} {name:?}: {what}"));
    let keys = match &inspected.keys {
        Ok(keys) => keys,
        Err(error) => return Ok(vec![fault(Severity::Error, error_chain(error))]),
    };
    if out.is_json() {
        out.json(&json!({ kind: name, "keys": described(keys) }))?;
    } else {
        for key in keys.keys() {
            let algorithms = key.algorithms().iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>().join(", ");
            out.line(&format!("{kind} {name}: key {} for {algorithms}", key.kid().unwrap_or("without kid")))?;
        }
    }
    let lost = keys.lost().iter().map(|lost| {
        let kid = lost.kid.as_ref().map_or_else(|| format!("number {}", lost.index + 1), |kid| format!("{kid:?}"));
        fault(Severity::Warning, format!("the key {kid} cannot be used: {}", lost.reason))
    });
    let none = keys.is_empty().then(|| fault(Severity::Error, "its key set contains no usable key".to_owned()));
    Ok(lost.chain(none).collect())
}

fn described(keys: &KeySet) -> Vec<Value> {
    let names = |algorithms: &[Algorithm]| algorithms.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>();
    keys.keys().iter().map(|key| json!({ "kid": key.kid(), "algorithms": names(key.algorithms()) })).collect()
}
