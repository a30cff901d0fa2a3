//! The registry as requests read it: immutable, indexed, replaced as a whole.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::Claims;
use thiserror::Error;

use super::agent::class_of;
use super::issuer_names::IssuerNames;
use super::issuer_uses::IssuerUses;
use super::workloads::Workloads;
use super::{Agent, Delegation, Issuer, IssuerNameError, NamedIssuer, WorkloadAgent};
use crate::storage::{EntryKind, EntryRow, RowCode, Stored, TableFault, Version};

/// All entries at one moment. An entry that an administrator has disabled, or that has expired,
/// appears as disabled.
#[derive(Debug, Default)]
pub struct Registry {
    version: Version,
    /// The moment: entries that have expired by then are disabled.
    at: Timestamp,
    /// The time at which the next entry expires.
    next_expiry: Option<Timestamp>,
    /// The expiries of enabled entries that had not expired.
    expiries: Vec<(EntryKind, Timestamp)>,
    /// The agents that an administrator has disabled.
    disabled_by_admin: HashSet<String>,
    /// The codes of the rows that were trusted.
    believed: HashSet<RowCode>,
    issuers: HashMap<String, Arc<Issuer>>,
    issuer_names: IssuerNames,
    agents: HashMap<String, Arc<Agent>>,
    /// Agents by id and by each `audience` value. Both share one namespace.
    names: HashMap<String, Arc<Agent>>,
    workloads: Workloads,
    /// By actor, then by target.
    delegations: HashMap<String, HashMap<String, Vec<Arc<Delegation>>>>,
    /// By target.
    callers: HashMap<String, Vec<Arc<Delegation>>>,
    uses: IssuerUses,
    detail_types: BTreeSet<String>,
}

/// The registry in the database cannot be read.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// A stored entry is not in the format of this version.
    #[error("the stored {kind:?} {id:?} is malformed")]
    Malformed {
        /// The kind of the entry.
        kind: EntryKind,
        /// The name of the entry.
        id: String,
        /// The error of the parser.
        #[source]
        source: serde_json::Error,
    },
}

/// The names do not identify exactly one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetError {
    /// A name identifies no agent.
    Unknown,
    /// The names identify several agents.
    Several,
}

impl Registry {
    /// Returns all delegations, in no particular order.
    pub fn all_delegations(&self) -> impl Iterator<Item = &Delegation> {
        self.delegations.values().flat_map(HashMap::values).flatten().map(Arc::as_ref)
    }

    /// Returns the delegations by which an agent may call, in no particular order.
    pub fn calls_of(&self, actor: &str) -> impl Iterator<Item = &Delegation> {
        self.delegations.get(actor).into_iter().flat_map(HashMap::values).flatten().map(Arc::as_ref)
    }

    /// Returns the delegations by which an agent may be called, in no particular order.
    pub fn calls_to(&self, target: &str) -> impl Iterator<Item = &Delegation> {
        self.callers.get(target).into_iter().flatten().map(Arc::as_ref)
    }

    /// Builds a snapshot from rows that are all trusted. No entry of it has expired.
    ///
    /// # Errors
    /// [`RegistryError::Malformed`] for the first row that cannot be parsed as its kind.
    pub fn from_rows(version: Version, rows: &[EntryRow]) -> Result<Self, RegistryError> {
        let mut registry = Self { version, at: Timestamp::MIN, ..Self::default() };
        for row in rows {
            registry.add(row).map_err(|source| RegistryError::Malformed {
                kind: row.kind,
                id: row.id.clone(),
                source,
            })?;
        }
        Ok(registry)
    }

    /// Builds a snapshot of the stored rows at a moment, and returns the faults of reading. A row that was
    /// written or altered outside the servers is disabled, and so is a row that this version cannot
    /// read. Other rows are not affected. If rows were removed or restored outside the servers,
    /// only rows that `known` already holds are trusted.
    #[must_use]
    pub fn of(stored: &Stored<EntryRow>, known: &Self, at: Timestamp) -> (Self, Vec<TableFault>) {
        let mut registry = Self { version: stored.version, at, ..Self::default() };
        let mut faults = stored.faults.clone();
        for coded in &stored.rows {
            let is_known = known.believed.contains(&coded.code);
            let is_believed = if stored.is_whole { coded.is_vouched } else { is_known };
            if !is_believed {
                if coded.row.kind == EntryKind::Agent {
                    registry.disabled_by_admin.insert(coded.row.id.clone());
                }
                registry.add_disabled(&coded.row, known);
                continue;
            }
            if let Err(error) = registry.add(&coded.row) {
                let row = format!("{} {}", coded.row.kind.as_str(), coded.row.id);
                faults.push(TableFault::Malformed { table: stored.table, row, reason: error.to_string() });
                registry.add_disabled(&coded.row, known);
            }
            registry.believed.insert(coded.code);
        }
        (registry, faults)
    }

    /// Adds an entry as disabled: its known version, or else the readable part of it. Its names and
    /// its workloads stay reserved.
    fn add_disabled(&mut self, row: &EntryRow, known: &Self) {
        let (issuer, agent) = match row.kind {
            EntryKind::Issuer => (known.issuers.get(&row.id), None),
            EntryKind::Agent => (None, known.agent(&row.id)),
            EntryKind::Delegation => (None, None),
        };
        if let Some(issuer) = issuer {
            return self.add_issuer(Issuer { disabled: true, ..Issuer::clone(issuer) });
        }
        if let Some(agent) = agent {
            let mut agent = Agent::clone(agent);
            agent.disabled = true;
            return self.add_agent(Arc::new(agent));
        }
        let disabled = EntryRow { disabled_by_admin: true, ..row.clone() };
        if self.add(&disabled).is_ok() {
            return;
        }
        let body: Value = serde_json::from_str(&row.body).unwrap_or_default();
        let body = match row.kind {
            EntryKind::Issuer => json!({ "issuer": row.id, "subject_prefix": text(&body, "/subject_prefix") }),
            EntryKind::Agent => {
                let workloads = body.pointer("/auth/workload").and_then(Value::as_array).into_iter().flatten();
                let named = |workload: &Value| {
                    Some(json!({ "issuer": text(workload, "/issuer")?, "subject": text(workload, "/subject")? }))
                };
                let workloads: Vec<Value> = workloads.filter_map(named).collect();
                json!({ "id": row.id, "auth": { "workload": workloads } })
            }
            EntryKind::Delegation => return,
        };
        let body = strip_null(body).to_string();
        // Every version has had the remaining keys, so the entry can be read.
        let _reads = self.add(&EntryRow { body, ..disabled });
    }

    fn add(&mut self, row: &EntryRow) -> Result<(), serde_json::Error> {
        match row.kind {
            EntryKind::Issuer => {
                let mut issuer: Issuer = serde_json::from_str(&row.body)?;
                issuer.disabled |= row.disabled_by_admin;
                self.add_issuer(issuer);
            }
            EntryKind::Agent => {
                let mut agent: Agent = serde_json::from_str(&row.body)?;
                agent.disabled |= row.disabled_by_admin;
                if row.disabled_by_admin {
                    self.disabled_by_admin.insert(row.id.clone());
                }
                agent.disabled |= self.has_expired(EntryKind::Agent, agent.expires_at, agent.disabled);
                self.add_agent(Arc::new(agent));
            }
            EntryKind::Delegation => {
                let mut delegation: Delegation = serde_json::from_str(&row.body)?;
                delegation.disabled |= row.disabled_by_admin;
                delegation.disabled |=
                    self.has_expired(EntryKind::Delegation, delegation.expires_at, delegation.disabled);
                delegation.id.clone_from(&row.id);
                self.uses.add_delegation(&delegation);
                if !delegation.disabled {
                    let types = delegation.details.iter().map(|detail| detail.detail_type.as_str().to_owned());
                    self.detail_types.extend(types);
                }
                let delegation = Arc::new(delegation);
                self.callers.entry(delegation.target.clone()).or_default().push(Arc::clone(&delegation));
                let of_actor = self.delegations.entry(delegation.actor.clone()).or_default();
                of_actor.entry(delegation.target.clone()).or_default().push(delegation);
            }
        }
        Ok(())
    }

    /// Returns true if an entry has expired. Otherwise notes the time at which it will.
    fn has_expired(&mut self, kind: EntryKind, expires_at: Option<Timestamp>, disabled: bool) -> bool {
        let Some(expires_at) = expires_at else { return false };
        let has_expired = expires_at <= self.at;
        if !has_expired {
            self.next_expiry = Some(self.next_expiry.map_or(expires_at, |next| next.min(expires_at)));
            if !disabled {
                self.expiries.push((kind, expires_at));
            }
        }
        has_expired
    }

    fn add_issuer(&mut self, issuer: Issuer) {
        self.uses.add_issuer(&issuer);
        let issuer = Arc::new(issuer);
        self.issuer_names.add(&issuer);
        self.issuers.insert(issuer.issuer.clone(), issuer);
    }

    fn add_agent(&mut self, agent: Arc<Agent>) {
        self.uses.add_agent(&agent);
        for name in agent.audience().iter().chain([&agent.id]) {
            self.names.insert(name.clone(), Arc::clone(&agent));
        }
        self.workloads.add(&agent);
        self.agents.insert(agent.id.clone(), agent);
    }

    /// Returns the time at which the next entry expires. From then on the snapshot is out of date.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.next_expiry
    }

    /// Returns true if an administrator has disabled the agent, or its row was altered outside the
    /// servers.
    #[must_use]
    pub fn is_disabled_by_admin(&self, agent: &str) -> bool {
        self.disabled_by_admin.contains(agent)
    }

    /// Returns the times at which enabled entries expire, in no particular order.
    pub fn expiries(&self) -> impl Iterator<Item = (EntryKind, Timestamp)> {
        self.expiries.iter().copied()
    }

    /// Returns the database version of the snapshot.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the issuer with this name, disabled or not. The name is its own name, an alias, or a
    /// template with the tenant filled in.
    #[must_use]
    pub fn issuer(&self, issuer: &str) -> Option<&Arc<Issuer>> {
        // A name with a placeholder is never an `iss`, but it is still the name of its entry.
        self.issuer_names.find(issuer).or_else(|| self.issuers.get(issuer))
    }

    /// Returns the issuer that a token names, disabled or not. Verifies nothing.
    ///
    /// # Errors
    /// [`IssuerNameError`] if the token names no registered issuer, or an issuer that it cannot
    /// come from.
    pub fn issuer_of(&self, claims: &Claims) -> Result<NamedIssuer, IssuerNameError> {
        self.issuer_names.of(claims)
    }

    /// Returns the `iss` of the principals whose tokens name this issuer. For an alias it is the
    /// own name of the entry. Without an entry it is `name`.
    #[must_use]
    pub fn principal_iss(&self, name: &str) -> String {
        self.issuer(name).map_or_else(|| name.to_owned(), |issuer| issuer.supposed_iss(name, None))
    }

    /// True if any issuer has an alias.
    #[must_use]
    pub fn has_aliases(&self) -> bool {
        self.issuers().any(|issuer| !issuer.aliases.is_empty())
    }

    /// Returns the own name of an issuer's entry, or `issuer` itself without an entry.
    fn entry_name<'n>(&'n self, issuer: &'n str) -> &'n str {
        self.issuer(issuer).map_or(issuer, |entry| &entry.issuer)
    }

    /// Returns all issuers, in no particular order.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.issuers.values()
    }

    /// Returns the agent with this id, disabled or not. Does not resolve instances of classes.
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<&Arc<Agent>> {
        self.agents.get(id)
    }

    /// Returns the agent with this id, disabled or not: an entry, or an instance of a class.
    #[must_use]
    pub fn acting(&self, id: &str) -> Option<Arc<Agent>> {
        match self.agents.get(id) {
            Some(agent) => Some(Arc::clone(agent)),
            None => self.class_of(id)?.instance(id.rsplit_once('/')?.1).map(Arc::new),
        }
    }

    /// Returns the id of the entry that limits apply to. For an instance, it is the id of its
    /// class.
    #[must_use]
    pub fn entry_id<'n>(&'n self, id: &'n str) -> &'n str {
        self.class_of(id).map_or(id, |class| &class.id)
    }

    /// Returns the class of which an id is an instance.
    fn class_of(&self, id: &str) -> Option<&Arc<Agent>> {
        if self.names.contains_key(id) {
            return None;
        }
        self.agents.get(&class_of(id)?)
    }

    /// Returns all agents, in no particular order.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// Returns the agent that a workload authenticates as, disabled or not, with the matching
    /// entry. An entry with exactly this subject takes precedence over patterns. Among patterns,
    /// the longest match wins.
    #[must_use]
    pub fn workload(&self, issuer: &str, subject: &str) -> Option<WorkloadAgent> {
        let found = self.workloads.find(self.entry_name(issuer), subject)?;
        // An instance must not take the name of another agent.
        let is_taken = found.agent.entry_id() != found.agent.id && self.names.contains_key(&found.agent.id);
        (!is_taken).then_some(found)
    }

    /// Returns true if a workload entry names the issuer.
    #[must_use]
    pub fn is_workload_issuer(&self, issuer: &str) -> bool {
        self.uses.is_of_workloads(self.entry_name(issuer))
    }

    /// Returns true if an issuer names users: no workload entry names it, or a delegation lists it
    /// in `issuers`.
    #[must_use]
    pub fn is_user_issuer(&self, issuer: &str) -> bool {
        self.uses.is_of_users(self.entry_name(issuer))
    }

    /// Returns true if a delegation covers users of an issuer. Either it lists the issuer, or it
    /// lists none and no workload entry names the issuer.
    #[must_use]
    pub fn covers_users_of(&self, delegation: &Delegation, issuer: &str) -> bool {
        self.uses.are_covered(delegation, self.entry_name(issuer))
    }

    /// Returns true if `sub` starts with the `subject_prefix` of another issuer. `sub` is a subject
    /// of `issuer` as minted tokens name it.
    #[must_use]
    pub fn is_name_of_another_issuer(&self, issuer: &str, sub: &str) -> bool {
        self.uses.is_of_another(self.entry_name(issuer), sub)
    }

    /// Returns the agent that all of `names` identify, by id or `audience` value. Returns `None` if
    /// there are no names.
    ///
    /// # Errors
    /// [`TargetError`] if a name is unknown, or if the names identify different agents.
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

    /// Returns the types of authorization details that enabled delegations list.
    pub fn detail_types(&self) -> impl Iterator<Item = &str> {
        self.detail_types.iter().map(String::as_str)
    }

    /// Returns the delegations between two agents, including disabled ones. No two cover the same
    /// subject. An instance has the delegations of its class.
    #[must_use]
    pub fn delegations(&self, actor: &str, target: &str) -> &[Arc<Delegation>] {
        let of_class = || self.delegations.get(&self.class_of(actor)?.id);
        let between = self.delegations.get(actor).or_else(of_class).and_then(|of_actor| of_actor.get(target));
        between.map_or(&[], Vec::as_slice)
    }
}

fn text<'body>(body: &'body Value, pointer: &str) -> Option<&'body str> {
    body.pointer(pointer).and_then(Value::as_str)
}

fn strip_null(value: Value) -> Value {
    match value {
        Value::Object(members) => members.into_iter().filter(|(_, member)| !member.is_null()).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{CodedRow, Origin};

    fn row(kind: EntryKind, id: &str, body: &Value) -> EntryRow {
        EntryRow { kind, id: id.to_owned(), origin: Origin::Api, disabled_by_admin: false, body: body.to_string() }
    }

    fn stored(rows: Vec<(EntryRow, bool)>, is_whole: bool) -> Stored<EntryRow> {
        let rows = rows.into_iter().enumerate().map(|(index, (row, is_vouched))| {
            let code = [u8::try_from(index).unwrap(); 32];
            CodedRow { row, code, is_vouched }
        });
        let version = Version { counter: 1, generation: 1 };
        Stored { table: "entries", version, rows: rows.collect(), faults: Vec::new(), is_whole }
    }

    #[test]
    fn a_row_of_a_newer_version_is_disabled_alone_and_keeps_its_names() {
        let workload = json!({ "workload": [{ "issuer": "https://k8s", "subject": "pod", "new": 1 }] });
        let rows = vec![
            (row(EntryKind::Agent, "newer", &json!({ "id": "newer", "auth": workload, "unknown": true })), true),
            (row(EntryKind::Issuer, "https://idp", &json!({ "issuer": "https://idp", "unknown": 1 })), true),
            (row(EntryKind::Agent, "other", &json!({ "id": "other" })), true),
        ];
        let (registry, faults) = Registry::of(&stored(rows, true), &Registry::default(), Timestamp::MIN);
        assert!(registry.agent("newer").unwrap().disabled && registry.issuer("https://idp").unwrap().disabled);
        assert!(registry.is_workload_issuer("https://k8s"));
        assert!(!registry.agent("other").unwrap().disabled);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn a_row_without_a_right_code_is_disabled() {
        let rows = vec![(row(EntryKind::Agent, "ghost", &json!({ "id": "ghost" })), false)];
        let (registry, _faults) = Registry::of(&stored(rows, true), &Registry::default(), Timestamp::MIN);
        assert!(registry.agent("ghost").unwrap().disabled);
    }

    #[test]
    fn of_a_table_that_is_not_whole_only_what_is_known_is_believed() {
        let agent = |id: &str| (row(EntryKind::Agent, id, &json!({ "id": id })), true);
        let (known, _faults) =
            Registry::of(&stored(vec![agent("a"), agent("b")], true), &Registry::default(), Timestamp::MIN);
        let mut rows = stored(vec![agent("a"), agent("b"), agent("new")], false);
        rows.rows.remove(1);
        let (registry, _faults) = Registry::of(&rows, &known, Timestamp::MIN);
        assert!(!registry.agent("a").unwrap().disabled, "known");
        assert!(registry.agent("b").is_none(), "gone");
        assert!(registry.agent("new").unwrap().disabled, "put back, or added");
    }
}
