//! The registry as requests read it: immutable, indexed, replaced whole.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;

use super::issuer_uses::IssuerUses;
use super::{Agent, Delegation, Issuer};
use crate::storage::{EntryKind, EntryRow};

/// All entries at one moment. An entry that an administrator has disabled reads as disabled.
#[derive(Debug, Default)]
pub struct Registry {
    version: i64,
    issuers: HashMap<String, Arc<Issuer>>,
    agents: HashMap<String, Arc<Agent>>,
    /// Agent by id and by each `audience` value: one namespace.
    names: HashMap<String, Arc<Agent>>,
    /// Agent by workload, (issuer, subject).
    workloads: HashMap<(String, String), Arc<Agent>>,
    /// By actor, then by target.
    delegations: HashMap<String, HashMap<String, Vec<Arc<Delegation>>>>,
    uses: IssuerUses,
}

/// The database's registry cannot be read.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// A stored entry is not what this version writes.
    #[error("the stored {kind:?} {id:?} is malformed")]
    Malformed {
        /// The kind of the entry.
        kind: EntryKind,
        /// The name of the entry.
        id: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Names do not stand for exactly one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// A name stands for no agent.
    Unknown,
    /// The names stand for several agents.
    Several,
}

impl Registry {
    /// Builds the snapshot of stored rows.
    ///
    /// # Errors
    /// [`RegistryError::Malformed`] for the first row that does not read as its kind.
    pub fn from_rows(version: i64, rows: &[EntryRow]) -> Result<Self, RegistryError> {
        let mut registry = Self { version, ..Self::default() };
        for row in rows {
            registry.add(row).map_err(|source| RegistryError::Malformed {
                kind: row.kind,
                id: row.id.clone(),
                source,
            })?;
        }
        Ok(registry)
    }

    fn add(&mut self, row: &EntryRow) -> Result<(), serde_json::Error> {
        match row.kind {
            EntryKind::Issuer => {
                let mut issuer: Issuer = serde_json::from_str(&row.body)?;
                issuer.disabled |= row.disabled_by_admin;
                self.uses.add_issuer(&issuer);
                self.issuers.insert(issuer.issuer.clone(), Arc::new(issuer));
            }
            EntryKind::Agent => {
                let mut agent: Agent = serde_json::from_str(&row.body)?;
                agent.disabled |= row.disabled_by_admin;
                self.add_agent(Arc::new(agent));
            }
            EntryKind::Delegation => {
                let mut delegation: Delegation = serde_json::from_str(&row.body)?;
                delegation.disabled |= row.disabled_by_admin;
                delegation.id.clone_from(&row.id);
                self.uses.add_delegation(&delegation);
                let of_actor = self.delegations.entry(delegation.actor.clone()).or_default();
                of_actor.entry(delegation.target.clone()).or_default().push(Arc::new(delegation));
            }
        }
        Ok(())
    }

    fn add_agent(&mut self, agent: Arc<Agent>) {
        self.uses.add_agent(&agent);
        for name in agent.audience().iter().chain([&agent.id]) {
            self.names.insert(name.clone(), Arc::clone(&agent));
        }
        for workload in agent.auth.iter().flat_map(|auth| &auth.workload) {
            let identity = (workload.issuer.clone(), workload.subject.clone());
            self.workloads.insert(identity, Arc::clone(&agent));
        }
        self.agents.insert(agent.id.clone(), agent);
    }

    /// The change counter that the snapshot belongs to.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The issuer whose `iss` claim this is, disabled or not.
    #[must_use]
    pub fn issuer(&self, issuer: &str) -> Option<&Arc<Issuer>> {
        self.issuers.get(issuer)
    }

    /// All issuers, in no order.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// The agent of this id, disabled or not.
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<&Arc<Agent>> {
        self.agents.get(id)
    }

    /// All agents, in no order.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// The agent that a workload is, disabled or not.
    #[must_use]
    pub fn workload(&self, issuer: &str, subject: &str) -> Option<&Arc<Agent>> {
        self.workloads.get(&(issuer.to_owned(), subject.to_owned()))
    }

    /// Whether an issuer is named by any workload entry.
    #[must_use]
    pub fn is_workload_issuer(&self, issuer: &str) -> bool {
        self.uses.is_of_workloads(issuer)
    }

    /// Returns true if an issuer names users: no workload entry names it, or a delegation lists it in `issuers`.
    #[must_use]
    pub fn is_user_issuer(&self, issuer: &str) -> bool {
        self.uses.is_of_users(issuer)
    }

    /// Returns true if a delegation covers users of an issuer: it lists the issuer, or lists none and no workload entry names the issuer.
    #[must_use]
    pub fn covers_users_of(&self, delegation: &Delegation, issuer: &str) -> bool {
        self.uses.are_covered(delegation, issuer)
    }

    /// Returns true if `sub`, a subject as minted tokens would name it for `issuer`, begins with the `subject_prefix` of another issuer.
    #[must_use]
    pub fn is_name_of_another_issuer(&self, issuer: &str, sub: &str) -> bool {
        self.uses.is_of_another(issuer, sub)
    }

    /// The one agent that all of `names` stand for, by id or `audience` value; `None` when there are no names.
    ///
    /// # Errors
    /// [`TargetError`] when a name is unknown or the names differ.
    pub fn target<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Option<&Arc<Agent>>, TargetError> {
        let mut target: Option<&Arc<Agent>> = None;
        for name in names {
            let agent = self.names.get(name).ok_or(TargetError::Unknown)?;
            if target.is_some_and(|known| known.id != agent.id) {
                return Err(TargetError::Several);
            }
            target = Some(agent);
        }
        Ok(target)
    }

    /// The delegations between two agents, disabled ones included; no two cover the same subject.
    #[must_use]
    pub fn delegations(&self, actor: &str, target: &str) -> &[Arc<Delegation>] {
        let between = self.delegations.get(actor).and_then(|of_actor| of_actor.get(target));
        between.map_or(&[], Vec::as_slice)
    }
}
