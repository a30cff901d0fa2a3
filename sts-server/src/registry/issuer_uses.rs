//! The uses of issuers in the registry (for workloads, for users, or both), and the prefixes of
//! their subjects.

use std::collections::HashSet;

use super::{Agent, Delegation, Issuer};

/// The uses of issuers, gathered from all entries.
#[derive(Debug, Default)]
pub(super) struct IssuerUses {
    /// The issuers that a `workload` of an agent names.
    of_workloads: HashSet<String>,
    /// The issuers that a delegation lists.
    listed: HashSet<String>,
    /// Each issuer with its `subject_prefix`, and each trust domain with the prefix of its
    /// identities.
    prefixes: Vec<(String, String)>,
}

impl IssuerUses {
    pub(super) fn add_issuer(&mut self, issuer: &Issuer) {
        if !issuer.subject_prefix.is_empty() {
            self.prefixes.push((issuer.issuer.clone(), issuer.subject_prefix.clone()));
        }
        if let Some(domain) = issuer.trust_domain() {
            self.prefixes.push((issuer.issuer.clone(), domain.prefix()));
        }
    }

    pub(super) fn add_agent(&mut self, agent: &Agent) {
        let workloads = agent.auth.iter().flat_map(|auth| &auth.workload);
        self.of_workloads.extend(workloads.map(|workload| workload.issuer.clone()));
    }

    pub(super) fn add_delegation(&mut self, delegation: &Delegation) {
        self.listed.extend(delegation.issuers.iter().flatten().cloned());
    }

    /// Returns true if a `workload` names the issuer.
    pub(super) fn is_of_workloads(&self, issuer: &str) -> bool {
        self.of_workloads.contains(issuer)
    }

    /// Returns true if the issuer names users: no `workload` names it, or a delegation lists it.
    pub(super) fn is_of_users(&self, issuer: &str) -> bool {
        !self.is_of_workloads(issuer) || self.listed.contains(issuer)
    }

    /// Returns true if a delegation covers users of the issuer. Without `issuers` it covers every
    /// issuer that no `workload` names.
    pub(super) fn are_covered(&self, delegation: &Delegation, issuer: &str) -> bool {
        match &delegation.issuers {
            Some(issuers) => issuers.iter().any(|listed| listed == issuer),
            None => !self.is_of_workloads(issuer),
        }
    }

    /// Returns true if `sub`, a subject of `issuer`, starts with the prefix of another issuer.
    pub(super) fn is_of_another(&self, issuer: &str, sub: &str) -> bool {
        self.prefixes.iter().any(|(owner, prefix)| owner != issuer && sub.starts_with(prefix.as_str()))
    }
}
