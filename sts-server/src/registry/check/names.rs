//! What must not stand twice: issuers, the names of agents, workloads.

use std::collections::HashMap;

use crate::fault::Fault;
use crate::registry::located::{Entries, Place};

pub(super) fn rules(entries: &Entries, faults: &mut Vec<Fault>) {
    issuers(entries, faults);
    agents(entries, faults);
    workloads(entries, faults);
}

fn issuers(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&str, &Place> = HashMap::new();
    for issuer in &entries.issuers {
        let name = issuer.entry.issuer.as_str();
        match seen.get(name) {
            Some(first) => {
                let message = format!("issuer {name:?} stands already {}", first.reference());
                faults.push(issuer.place.error("issuer", message));
            }
            None => drop(seen.insert(name, &issuer.place)),
        }
    }
}

/// Ids and `audience` values are one namespace; only an agent's own id may be among its own `audience`.
fn agents(entries: &Entries, faults: &mut Vec<Fault>) {
    let mut seen: HashMap<&str, (&str, &Place)> = HashMap::new();
    for agent in &entries.agents {
        let id = agent.entry.id.as_str();
        match seen.get(id) {
            Some((_, first)) => {
                let message = format!("agent {id:?} stands already {}", first.reference());
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
                let message = format!("audience {name:?} of agent {id:?} stands twice");
                faults.push(agent.place.error(&path, message));
                continue;
            }
            own.push(name);
            match seen.get(name.as_str()).filter(|first| is_of_another_agent(first)) {
                // The repeated id has its own fault.
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
