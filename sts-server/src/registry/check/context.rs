//! The data that a rule needs besides the entry that it checks.

use std::collections::{HashMap, HashSet};

use crate::config::Config;
use crate::document::nearest;
use crate::fault::Fault;
use crate::registry::located::{Entries, Located};
use crate::registry::{Agent, Issuer};

/// The entries, indexed, and the configuration.
pub(super) struct Context<'a> {
    pub(super) config: Option<&'a Config>,
    entries: &'a Entries,
    issuers: HashSet<&'a str>,
    /// Agents by id.
    agents: HashMap<&'a str, &'a Located<Agent>>,
    /// Agent ids by `audience` value.
    audiences: HashMap<&'a str, &'a str>,
}

impl<'a> Context<'a> {
    pub(super) fn new(entries: &'a Entries, config: Option<&'a Config>) -> Self {
        let agents = || entries.agents.iter();
        Self {
            config,
            entries,
            issuers: entries.issuers.iter().map(|issuer| issuer.entry.issuer.as_str()).collect(),
            agents: agents().map(|agent| (agent.entry.id.as_str(), agent)).collect(),
            audiences: agents()
                .flat_map(|agent| agent.entry.audience().iter().map(|name| (name.as_str(), agent.entry.id.as_str())))
                .collect(),
        }
    }

    /// Returns the agent with this id, if it could be read.
    pub(super) fn agent(&self, id: &str) -> Option<&'a Located<Agent>> {
        self.agents.get(id).copied()
    }

    /// Returns true if an agent has this id, even if the agent could not be read.
    pub(super) fn knows_agent(&self, id: &str) -> bool {
        self.agents.contains_key(id) || self.entries.unread.contains(id)
    }

    /// Returns true if an agent has this id or this `audience` value.
    pub(super) fn knows_name(&self, name: &str) -> bool {
        self.knows_agent(name) || self.audiences.contains_key(name)
    }

    /// Returns the own name of the issuer with this alias.
    pub(super) fn issuer_of_alias(&self, name: &str) -> Option<&'a str> {
        let has = |issuer: &&Located<Issuer>| issuer.entry.aliases.iter().any(|alias| alias == name);
        self.entries.issuers.iter().find(has).map(|issuer| issuer.entry.issuer.as_str())
    }

    /// Returns true if the issuer exists, even if it could not be read.
    pub(super) fn knows_issuer(&self, issuer: &str) -> bool {
        self.issuers.contains(issuer) || self.entries.unread.contains(issuer) || self.issuer_of_alias(issuer).is_some()
    }

    /// Adds the likely intended name to the fault of an unknown agent.
    pub(super) fn with_agent_meant(&self, fault: Fault, id: &str) -> Fault {
        if let Some(owner) = self.audiences.get(id) {
            return fault.with_help(format!("{id:?} is an audience of agent {owner:?}; its id is meant here"));
        }
        meant(fault, nearest(id, sorted(self.agents.keys()).into_iter()))
    }

    /// Adds the likely intended name to the fault of an unknown issuer.
    pub(super) fn with_issuer_meant(&self, fault: Fault, issuer: &str) -> Fault {
        meant(fault, nearest(issuer, sorted(self.issuers.iter()).into_iter()))
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.copied().collect();
    names.sort_unstable();
    names
}

fn meant(fault: Fault, near: Option<&str>) -> Fault {
    match near {
        Some(near) => fault.with_help(format!("did you mean {near:?}?")),
        None => fault,
    }
}
