//! The rules of uniqueness: for issuers, for the names of agents, and for workloads.

use std::collections::HashMap;

use crate::fault::Fault;
use crate::registry::located::{Entries, Place};
use crate::registry::{Workload, class_of};

pub(super) fn rules(entries: &Entries, faults: &mut Vec<Fault>) {
    issuers(entries, faults);
    agents(entries, faults);
    instances(entries, faults);
    workloads(entries, faults);
    patterns(entries, faults);
}

fn issuers(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&str, &Place> = HashMap::new();
    for issuer in &entries.issuers {
        let own = std::iter::once(("issuer".to_owned(), issuer.entry.issuer.as_str()));
        let aliases = (0..).zip(&issuer.entry.aliases);
        let aliases = aliases.map(|(index, alias): (usize, _)| (format!("aliases[{index}]"), alias.as_str()));
        for (path, name) in own.chain(aliases) {
            match seen.get(name) {
                Some(first) => {
                    let message = format!("issuer {name:?} is already defined {}", first.reference());
                    faults.push(issuer.place.error(&path, message));
                }
                None => drop(seen.insert(name, &issuer.place)),
            }
        }
    }
}

/// Checks that no agent has the name of an instance of a class.
fn instances(entries: &Entries, faults: &mut Vec<Fault>) {
    let classes: HashMap<&str, &Place> = entries
        .agents
        .iter()
        .filter(|agent| agent.entry.class_prefix().is_some())
        .map(|agent| (agent.entry.id.as_str(), &agent.place))
        .collect();
    if classes.is_empty() {
        return;
    }
    for agent in &entries.agents {
        let id = agent.entry.id.as_str();
        let own = std::iter::once(("id".to_owned(), id));
        let audience = (0..).zip(agent.entry.audience()).filter(|(_, name)| *name != id);
        let audience = audience.map(|(index, name): (usize, _)| (format!("audience[{index}]"), name.as_str()));
        for (path, name) in own.chain(audience) {
            if let Some((class, place)) = class_of(name).and_then(|class| classes.get_key_value(class.as_str())) {
                let message = format!(
                    "{name:?} of agent {id:?} is the name of an instance of the class {class:?} {}",
                    place.reference()
                );
                faults.push(agent.place.error(&path, message));
            }
        }
    }
}

/// Checks that no two patterns of one issuer match the same subject.
fn patterns(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut seen: Vec<(&Workload, &str, &Place)> = Vec::new();
    for agent in entries.agents.iter().filter(|agent| agent.entry.class_prefix().is_some()) {
        for (index, workload) in agent.entry.auth.iter().flat_map(|auth| &auth.workload).enumerate() {
            let Some(pattern) = workload.pattern() else { continue };
            if index > 0 {
                let message = format!("agent {:?} is a class with several workloads", agent.entry.id);
                let help = "give each its own class: subjects that differ would be one instance";
                faults.push(agent.place.error(&format!("auth.workload[{index}]"), message).with_help(help));
            }
            let meets = |other: &&(&Workload, &str, &Place)| {
                let ends =
                    |one: &str, other: &str| one.strip_prefix(other).is_some_and(|end| !end.contains([':', '/']));
                let other_pattern = other.0.pattern().unwrap_or_default();
                other.0.issuer == workload.issuer
                    && other.0.subject != workload.subject
                    && (ends(pattern, other_pattern) || ends(other_pattern, pattern))
            };
            if let Some((other, owner, first)) = seen.iter().find(meets) {
                let message = format!(
                    "workload subject {:?} and {:?} of agent {owner:?} {} match the same subjects",
                    workload.subject,
                    other.subject,
                    first.reference()
                );
                faults.push(agent.place.error(&format!("auth.workload[{index}].subject"), message));
            }
            seen.push((workload, &agent.entry.id, &agent.place));
        }
    }
}

/// Checks that names are unique. Ids and `audience` values share a namespace. An agent's own id may
/// be in its own `audience`.
fn agents(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&str, (&str, &Place)> = HashMap::new();
    for agent in &entries.agents {
        let id = agent.entry.id.as_str();
        match seen.get(id) {
            Some((_, first)) => {
                let message = format!("agent {id:?} is already defined {}", first.reference());
                faults.push(agent.place.error("id", message));
            }
            None => drop(seen.insert(id, (id, &agent.place))),
        }
    }
    for agent in &entries.agents {
        let id = agent.entry.id.as_str();
        let is_of_another_agent = |(_, place): &(&str, &Place)| !std::ptr::eq(*place, &raw const agent.place);
        let mut own: Vec<&str> = Vec::new();
        for (index, name) in agent.entry.audience().iter().enumerate() {
            let path = format!("audience[{index}]");
            if own.contains(&name.as_str()) {
                let message = format!("audience {name:?} of agent {id:?} is listed twice");
                faults.push(agent.place.error(&path, message));
                continue;
            }
            own.push(name);
            match seen.get(name.as_str()).filter(|first| is_of_another_agent(first)) {
                // The duplicate id is already reported.
                Some(_) if name == id => {}
                Some((owner, first)) => {
                    let message =
                        format!("audience {name:?} of agent {id:?} is a name of agent {owner:?} {}", first.reference());
                    faults.push(agent.place.error(&path, message));
                }
                None => drop(seen.insert(name, (id, &agent.place))),
            }
        }
    }
}

fn workloads(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<(&str, &str), (&str, &Place)> = HashMap::new();
    for agent in &entries.agents {
        for (index, workload) in agent.entry.auth.iter().flat_map(|auth| &auth.workload).enumerate() {
            let identity = (workload.issuer.as_str(), workload.subject.as_str());
            match seen.get(&identity) {
                Some((owner, first)) => {
                    let message = format!(
                        "workload {:?} of {:?} is agent {owner:?} already, {}",
                        workload.subject,
                        workload.issuer,
                        first.reference()
                    );
                    faults.push(agent.place.error(&format!("auth.workload[{index}]"), message));
                }
                None => drop(seen.insert(identity, (&agent.entry.id, &agent.place))),
            }
        }
    }
}
