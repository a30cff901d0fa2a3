//! The rules of delegations.

use std::collections::{HashMap, HashSet};

use sts_protocol::AuthorizationDetail;

use super::context::Context;
use crate::fault::Fault;
use crate::registry::located::{Entries, Located};
use crate::registry::{Agent, ApprovalRule, DelegatedScope, Delegation, Tenants};

pub(super) fn rules(context: &Context<'_>, delegation: &Located<Delegation>, faults: &mut Vec<Fault>) {
    agents(context, delegation, faults);
    issuers(context, delegation, faults);
    scopes(delegation, faults);
    details(delegation, faults);
    approval(delegation, faults);
    tenants(context, delegation, faults);
    let Located { entry, place } = delegation;
    if let (Some(max_ttl), Some(limits)) = (entry.max_ttl, context.config.map(|config| &config.limits))
        && max_ttl > limits.max_ttl
    {
        let message =
            format!("max_ttl {max_ttl} of delegation {} is cut to limits.max_ttl, {}", name(entry), limits.max_ttl);
        faults.push(place.warning("max_ttl", message));
    }
}

/// Checks that no two delegations of one pair cover the same subject.
pub(super) fn overlaps(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut pairs: HashMap<(&str, &str), Vec<&Located<Delegation>>> = HashMap::new();
    for delegation in entries.delegations.iter().filter(|delegation| delegation.place.is_whole()) {
        let pair = pairs.entry((&delegation.entry.actor, &delegation.entry.target)).or_default();
        if let Some(first) = pair.iter().find(|first| first.entry.overlaps(&delegation.entry)) {
            let message = format!(
                "delegation {} covers subjects that the one {} covers",
                name(&delegation.entry),
                first.place.reference()
            );
            let fault = delegation.place.error("", message);
            faults.push(fault.with_help("keep their tenants or their issuers apart: delegations are never combined"));
        }
        pair.push(delegation);
    }
}

fn name(delegation: &Delegation) -> String {
    format!("{}->{}", delegation.actor, delegation.target)
}

fn agents(context: &Context<'_>, Located { entry, place }: &Located<Delegation>, faults: &mut Vec<Fault>) {
    for (key, id) in [("actor", &entry.actor), ("target", &entry.target)] {
        if !context.knows_agent(id) {
            let fault = place.error(key, format!("{key} {id:?} of a delegation is not an agent"));
            faults.push(context.with_agent_meant(fault, id));
        }
    }
    let can_only_receive =
        |id: &str| context.agent(id).is_some_and(|agent| agent.entry.auth.is_none() && agent.place.reads(&["auth"]));
    if can_only_receive(&entry.actor) {
        let fault = place
            .warning("actor", format!("actor {:?} of a delegation has no auth, so it can only receive", entry.actor));
        faults.push(fault.with_help("give the agent a credential, or leave the delegation out"));
    }
    let is_bound = |agent: &Agent| agent.dpop_bound_access_tokens || agent.tls_client_certificate_bound_access_tokens;
    let says = |id: &str, rule: fn(&Agent) -> bool| context.agent(id).is_some_and(|agent| rule(&agent.entry));
    if says(&entry.actor, is_bound) && says(&entry.target, |agent| agent.bearer_only) {
        let message = format!("delegation {} is never used: its target is bearer_only", name(entry));
        let fault = place.warning("target", message);
        faults.push(fault.with_help(format!("the tokens of {:?} must be bound to its key", entry.actor)));
    }
    if entry.actor == entry.target && !entry.reentrant && place.reads(&["reentrant"]) {
        let fault = place.error("target", format!("delegation {} leads to its own actor", name(entry)));
        faults.push(fault.with_help("an agent that calls itself needs reentrant = true"));
    }
}

fn issuers(context: &Context<'_>, Located { entry, place }: &Located<Delegation>, faults: &mut Vec<Fault>) {
    let Some(issuers) = &entry.issuers else {
        return;
    };
    if issuers.is_empty() && !entry.service_account && place.reads(&["issuers", "service_account"]) {
        let fault =
            place.error("issuers", format!("issuers of delegation {} is empty: it covers no issuer", name(entry)));
        faults.push(fault.with_help("leave it out for any issuer"));
    }
    for (index, issuer) in issuers.iter().enumerate() {
        if !context.knows_issuer(issuer) {
            let message = format!("issuer {issuer:?} of delegation {} is not registered", name(entry));
            let fault = place.error(&format!("issuers[{index}]"), message);
            faults.push(context.with_issuer_meant(fault, issuer));
        }
        if let Some(owner) = context.issuer_of_alias(issuer) {
            let message = format!("issuer {issuer:?} of delegation {} is an alias of issuer {owner:?}", name(entry));
            faults.push(place.error(&format!("issuers[{index}]"), message).with_help(format!("write {owner:?}")));
        }
    }
}

fn scopes(Located { entry, place }: &Located<Delegation>, faults: &mut Vec<Fault>) {
    if entry.scopes.is_empty() && place.reads(&["scopes"]) {
        faults.push(place.error("scopes", format!("scopes of delegation {} is empty: it allows nothing", name(entry))));
    }
    let mut seen = HashSet::new();
    for (index, scope) in entry.scopes.iter().enumerate() {
        let path = format!("scopes[{index}]");
        if !seen.insert(scope.scope()) {
            let message = format!("scope {:?} of delegation {} is listed twice", scope.scope().as_str(), name(entry));
            faults.push(place.error(&path, message));
        }
        match scope {
            DelegatedScope::Derived(derived) if derived.from.is_empty() && place.reads(&["scopes"]) => {
                let message =
                    format!("scope {:?} of delegation {} has an empty from", derived.scope.as_str(), name(entry));
                faults.push(place.error(&path, message).with_help("list in from the scopes that entitle to it"));
            }
            DelegatedScope::Derived(_) | DelegatedScope::Plain(_) => {}
        }
    }
}

fn details(Located { entry, place }: &Located<Delegation>, faults: &mut Vec<Fault>) {
    for (index, detail) in entry.details.iter().enumerate() {
        if entry.details.iter().take(index).any(|earlier| earlier == detail) {
            let message = format!(
                "a detail of type {:?} of delegation {} is listed twice",
                detail.detail_type.as_str(),
                name(entry)
            );
            faults.push(place.error(&format!("details[{index}]"), message));
        }
    }
}

fn approval(delegation: &Located<Delegation>, faults: &mut Vec<Fault>) {
    let Located { entry, place } = delegation;
    let Some(rule) = &entry.approval else { return };
    if rule.scopes.is_empty() && rule.actions.is_empty() {
        let fault = place.error("approval", format!("approval of delegation {} covers nothing", name(entry)));
        return faults.push(fault.with_help("list in scopes or actions what needs an approval"));
    }
    approval_times(rule, delegation, faults);
    if !place.reads(&["scopes", "details"]) {
        return;
    }
    for (index, scope) in rule.scopes.iter().enumerate() {
        if !entry.scopes.iter().any(|delegated| delegated.scope() == scope) {
            let message = format!("scope {:?} of approval is no scope of delegation {}", scope.as_str(), name(entry));
            faults.push(place.error(&format!("approval.scopes[{index}]"), message));
        }
    }
    for (index, action) in rule.actions.iter().enumerate() {
        let permits = |detail: &AuthorizationDetail| {
            detail.actions.as_ref().is_none_or(|actions| actions.contains(action.as_str()))
        };
        if !entry.details.iter().any(permits) {
            let message =
                format!("action {:?} of approval is in no detail of delegation {}", action.as_str(), name(entry));
            faults.push(place.error(&format!("approval.actions[{index}]"), message));
        }
    }
}

fn approval_times(rule: &ApprovalRule, Located { entry, place }: &Located<Delegation>, faults: &mut Vec<Fault>) {
    for (member, value, longest) in
        [("wait", rule.wait, ApprovalRule::MAX_WAIT), ("remember", rule.remember, ApprovalRule::MAX_REMEMBER)]
    {
        if value > longest {
            let message =
                format!("{member} {value} of approval of delegation {} is longer than {longest}", name(entry));
            faults.push(place.error(&format!("approval.{member}"), message));
        }
    }
}

fn tenants(context: &Context<'_>, Located { entry, place }: &Located<Delegation>, faults: &mut Vec<Fault>) {
    if !place.is_whole() {
        return;
    }
    if let Tenants::Only(tenants) = &entry.tenants
        && tenants.is_empty()
    {
        let fault =
            place.error("tenants", format!("tenants of delegation {} is empty: it covers no tenant", name(entry)));
        return faults.push(fault.with_help("leave it out for every tenant, or say disabled = true"));
    }
    for (key, id) in [("actor", &entry.actor), ("target", &entry.target)] {
        // An agent without any tenant is reported separately.
        let agent = context
            .agent(id)
            .filter(|agent| agent.place.reads(&["tenants"]) && agent.entry.tenants.overlap(&Tenants::Any));
        if agent.is_some_and(|agent| !agent.entry.tenants.overlap(&entry.tenants)) {
            let message = format!("delegation {} covers no tenant of its {key}: it is never used", name(entry));
            faults.push(place.warning("tenants", message));
        }
    }
}
