//! The warning about users of two issuers whom a target could take for one.
//!
//! A principal is (`iss`, `sub`), but many a target reads `sub` alone. Where users of two issuers reach it, a `subject_prefix` keeps
//! them apart.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::fault::Fault;
use crate::registry::located::{Entries, Located};
use crate::registry::{Delegation, Issuer};

/// How many targets a warning names.
const NAMED_TARGETS: usize = 3;

/// One warning for each group of issuers that meet, at the last of them.
pub(super) fn rules(entries: &Entries, faults: &mut Vec<Fault>) {
    let issuers = unprefixed_user_issuers(entries);
    let mut reached: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for delegation in entries.delegations.iter().map(|located| &located.entry).filter(|delegation| !delegation.disabled)
    {
        let reaching = (0..).zip(&issuers).filter(|(_, issuer)| reaches(&issuer.entry, delegation));
        reached.entry(&delegation.target).or_default().extend(reaching.map(|(index, _): (usize, _)| index));
    }
    let mut groups: BTreeMap<BTreeSet<usize>, Vec<&str>> = BTreeMap::new();
    for (target, indices) in reached.into_iter().filter(|(_, indices)| indices.len() > 1) {
        groups.entry(indices).or_default().push(target);
    }
    for (indices, targets) in groups {
        let group: Vec<_> = indices.iter().filter_map(|index| issuers.get(*index)).collect();
        let names: Vec<String> = group.iter().map(|issuer| format!("{:?}", issuer.entry.issuer)).collect();
        let Some(last) = group.last() else {
            continue;
        };
        let message = format!(
            "users of issuers {} reach {}, which cannot tell them apart by sub alone",
            names.join(" and "),
            listed(&targets)
        );
        faults.push(last.place.warning("", message).with_help("give all but one of the issuers a subject_prefix"));
    }
}

/// An issuer that only workloads name is not one of users.
fn unprefixed_user_issuers(entries: &Entries) -> Vec<&Located<Issuer>> {
    let agents = entries.agents.iter().map(|agent| &agent.entry);
    let of_workloads: HashSet<&str> = agents
        .filter_map(|agent| agent.auth.as_ref())
        .flat_map(|auth| auth.workload.iter().map(|workload| workload.issuer.as_str()))
        .collect();
    let of_delegations: HashSet<&str> = entries
        .delegations
        .iter()
        .flat_map(|delegation| delegation.entry.issuers.iter().flatten().map(String::as_str))
        .collect();
    let is_of_users = |issuer: &Issuer| {
        let name = issuer.issuer.as_str();
        !of_workloads.contains(name) || of_delegations.contains(name)
    };
    let mut seen = HashSet::new();
    entries
        .issuers
        .iter()
        .filter(|located| seen.insert(located.entry.issuer.as_str()))
        .filter(|located| located.place.is_whole() && !located.entry.disabled)
        .filter(|located| located.entry.subject_prefix.is_empty() && is_of_users(&located.entry))
        .collect()
}

fn reaches(issuer: &Issuer, delegation: &Delegation) -> bool {
    let tenants = match &issuer.tenant {
        Some(tenant) => delegation.tenants.contain(Some(tenant)),
        None => delegation.tenants.overlap(&issuer.tenants),
    };
    tenants && delegation.covers_issuer(&issuer.issuer)
}

fn listed(targets: &[&str]) -> String {
    let named: Vec<String> = targets.iter().take(NAMED_TARGETS).map(|target| format!("{target:?}")).collect();
    match targets.len().saturating_sub(NAMED_TARGETS) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
