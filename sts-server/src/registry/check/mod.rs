//! The rules that hold between entries, and between entries and the configuration.

use super::RegistryFile;
use super::located::Entries;
use crate::config::Config;
use crate::fault::Fault;

/// Every fault of a registry file, in the order of the lines: what could not be read, and every rule that is broken.
#[must_use]
pub fn check(registry: &RegistryFile, config: Option<&Config>) -> Vec<Fault> {
    let mut faults = registry.faults().to_vec();
    faults.extend(rules(registry.entries(), config));
    faults.sort();
    faults
}

/// Every rule that these entries break.
#[must_use]
pub fn rules(_entries: &Entries, _config: Option<&Config>) -> Vec<Fault> {
    Vec::new()
}
