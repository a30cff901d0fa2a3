//! The rules that hold between entries, and between entries and the configuration.
//!
//! What lives here: the rules, one file per kind of entry, and separate files for rules that
//! concern several kinds. What must never: the syntax of an entry, which the file reader checks. A
//! rule that relies on the absence of a key calls [`Place::reads`] first. In an entry that was read
//! only in part, the key may have been unreadable.
//!
//! [`Place::reads`]: super::located::Place::reads

mod agents;
mod context;
mod delegations;
mod expiry;
mod files;
mod issuers;
mod keys;
mod names;
mod secrets;
mod user_issuers;

use self::context::Context;
pub use self::expiry::{SOON, expiring};
use super::RegistryFile;
use super::located::Entries;
use crate::config::Config;
use crate::fault::{Fault, Severity};

/// Returns every fault of a registry file, in line order: unreadable parts, broken rules, and
/// faults of the files that entries name. Reads those files, and computes each argon2id hash once.
/// Without a configuration, the rules that need one are skipped.
#[must_use]
pub fn check(registry: &RegistryFile, config: Option<&Config>) -> Vec<Fault> {
    let mut faults = registry.faults().to_vec();
    faults.extend(rules(registry.entries(), config));
    faults.extend(files::faults(registry.entries()));
    faults.extend(secrets::faults(registry.entries()));
    faults.extend(emptiness(registry, &faults));
    faults.sort();
    faults
}

/// Returns every fault of the rules in these entries, in line order. Entries of files and of the
/// database may be mixed. If two entries conflict, the later one gets the fault. Reads no file.
#[must_use]
pub fn rules(entries: &Entries, config: Option<&Config>) -> Vec<Fault> {
    let context = Context::new(entries, config);
    let mut faults = Vec::new();
    names::rules(entries, &mut faults);
    for issuer in &entries.issuers {
        issuers::rules(&context, issuer, &mut faults);
    }
    for agent in &entries.agents {
        agents::rules(&context, agent, &mut faults);
    }
    for delegation in &entries.delegations {
        delegations::rules(&context, delegation, &mut faults);
    }
    agents::costs(&entries.agents, &mut faults);
    delegations::overlaps(entries, &mut faults);
    user_issuers::rules(entries, &mut faults);
    faults.sort();
    faults
}

/// Warns of a file without entries, because every request would be refused.
fn emptiness(registry: &RegistryFile, faults: &[Fault]) -> Option<Fault> {
    let Entries { issuers, agents, delegations, .. } = registry.entries();
    let is_empty = issuers.is_empty() && agents.is_empty() && delegations.is_empty() && faults.is_empty();
    let message = "the registry has no entries: every request is refused";
    is_empty.then(|| Fault::new(registry.path(), Severity::Warning, message))
}
