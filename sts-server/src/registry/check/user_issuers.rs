//! The rules for issuers of users, and for users of different issuers that a target could confuse.
//!
//! A principal is (`iss`, `sub`), but many targets read `sub` alone. If users of two issuers reach
//! such a target, a `subject_prefix` distinguishes them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sts_jose::TrustDomain;

use crate::fault::Fault;
use crate::registry::issuer_uses::IssuerUses;
use crate::registry::located::{Entries, Located};
use crate::registry::{Delegation, Issuer, ScopesFrom};

/// The number of targets that a warning names.
const NAMED_TARGETS: usize = 3;

pub(super) fn rules(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut uses = IssuerUses::default();
    entries.agents.iter().for_each(|agent| uses.add_agent(&agent.entry));
    entries.delegations.iter().for_each(|delegation| uses.add_delegation(&delegation.entry));
    prefixes(entries, faults);
    workload_issuers(entries, &uses, faults);
    meetings(entries, &uses, faults);
}

/// Checks that a name cannot start with two different prefixes.
fn prefixes(entries: &Entries, faults: &mut Vec<Fault>) {
    // The identities of a trust domain begin with its name.
    let of_issuer = |issuer: &'_ Located<Issuer>| {
        let given = Some(issuer.entry.subject_prefix.clone()).filter(|prefix| !prefix.is_empty());
        given.into_iter().chain(issuer.entry.trust_domain().map(TrustDomain::prefix)).collect::<Vec<_>>()
    };
    let owned: Vec<(String, &Located<Issuer>)> =
        entries.issuers.iter().flat_map(|issuer| of_issuer(issuer).into_iter().map(move |own| (own, issuer))).collect();
    for (index, (prefix, later)) in owned.iter().enumerate() {
        let name = &later.entry.issuer;
        let meets = |(other, first): &&(String, &Located<Issuer>)| {
            let begins = prefix.starts_with(other.as_str()) || other.starts_with(prefix.as_str());
            begins && first.entry.issuer != *name
        };
        let Some((other, first)) = owned.iter().take(index).find(meets) else {
            continue;
        };
        let message = format!(
            "subject_prefix {prefix:?} of issuer {name:?} and {other:?} of issuer {:?} {} begin the same names",
            first.entry.issuer,
            first.place.reference()
        );
        let fault = later.place.error("subject_prefix", message);
        faults.push(fault.with_help("choose prefixes of which none begins another"));
    }
}

/// Warns of an issuer that workloads name and no delegation lists, if users seem to be meant. Such
/// an issuer gives no subject tokens.
fn workload_issuers(entries: &Entries, uses: &IssuerUses, faults: &mut Vec<Fault>) {
    if !entries.delegations.iter().all(|delegation| delegation.place.reads(&["issuers"])) {
        return;
    }
    let gives_users = |issuer: &Located<Issuer>| uses.is_of_users(&issuer.entry.issuer);
    let is_without_users = !entries.issuers.iter().any(gives_users)
        && entries.delegations.iter().any(|delegation| !delegation.entry.service_account);
    for Located { entry, place } in entries.issuers.iter().filter(|issuer| !gives_users(issuer)) {
        let describes_users = entry.tenant_claim.is_some()
            || entry.scopes_from == ScopesFrom::Token
            || !entry.audience_claim.is_claim("aud")
            || !entry.subject_prefix.is_empty();
        if !is_without_users && !describes_users {
            continue;
        }
        let message = format!(
            "issuer {:?} is named by a workload and listed in issuers of no delegation: its tokens are of workloads alone, and \
             refused as subject tokens",
            entry.issuer
        );
        let fault = place.warning("", message);
        faults.push(fault.with_help("if it names users too, list it in issuers of each delegation that they may use"));
    }
}

/// Adds one warning for each group of issuers that share targets, at the last issuer of the group.
fn meetings(entries: &Entries, uses: &IssuerUses, faults: &mut Vec<Fault>) {
    let issuers = unprefixed_user_issuers(entries, uses);
    let mut reached: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for delegation in entries.delegations.iter().map(|located| &located.entry).filter(|delegation| !delegation.disabled)
    {
        let reaching = (0..).zip(&issuers).filter(|(_, issuer)| reaches(uses, &issuer.entry, delegation));
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

/// Returns the enabled issuers of users that have no `subject_prefix`. An issuer that only
/// workloads name is not among them.
fn unprefixed_user_issuers<'a>(entries: &'a Entries, uses: &IssuerUses) -> Vec<&'a Located<Issuer>> {
    let mut seen = HashSet::new();
    entries
        .issuers
        .iter()
        .filter(|located| seen.insert(located.entry.issuer.as_str()))
        .filter(|located| located.place.is_whole() && !located.entry.disabled)
        .filter(|located| located.entry.subject_prefix.is_empty() && uses.is_of_users(&located.entry.issuer))
        .collect()
}

fn reaches(uses: &IssuerUses, issuer: &Issuer, delegation: &Delegation) -> bool {
    let tenants = match &issuer.tenant {
        Some(tenant) => delegation.tenants.contain(Some(tenant)),
        None => delegation.tenants.overlap(&issuer.tenants),
    };
    tenants && uses.are_covered(delegation, &issuer.issuer)
}

fn listed(targets: &[&str]) -> String {
    let named: Vec<String> = targets.iter().take(NAMED_TARGETS).map(|target| format!("{target:?}")).collect();
    match targets.len().saturating_sub(NAMED_TARGETS) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
