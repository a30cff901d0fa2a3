//! The registry of a test: the standard one, with what the test changes of it.
//!
//! ```text
//! coordinator ─┐                     (coordinator also on its own behalf)
//! reporter    ─┤
//! auditor     ─┼─> inventory ──> warehouse ──> shelf, which only receives
//! runner      ─┘
//! ```
//!
//! `coordinator`, `inventory` and `warehouse` have a random secret, `auditor` one that a person chose (argon2), `reporter` a key,
//! `runner` a workload token of the issuer `cluster`. Users come from the issuer `idp`, with a tenant in `org_id`.

use toml::{Table, Value};

/// The entries of a registry file, by kind.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    issuers: Vec<Table>,
    agents: Vec<Table>,
    delegations: Vec<Table>,
}

impl Registry {
    /// Reads entries.
    ///
    /// # Panics
    /// When the text is no registry file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut registry = Self::default();
        registry.add(text);
        registry
    }

    /// Adds entries, written as in a file.
    ///
    /// # Panics
    /// When the text is no registry file.
    pub fn add(&mut self, text: &str) {
        let mut tables: Table = text.parse().expect("TOML");
        for (kind, entries) in
            [("issuers", &mut self.issuers), ("agents", &mut self.agents), ("delegations", &mut self.delegations)]
        {
            let Some(added) = tables.remove(kind) else { continue };
            let added = added.as_array().expect("an array of tables").clone();
            entries.extend(added.into_iter().map(|entry| entry.as_table().expect("a table").clone()));
        }
        assert!(tables.is_empty(), "{tables:?}");
    }

    /// Gives keys of an issuer other values, written as in a file.
    pub fn issuer(&mut self, issuer: &str, values: &str) {
        change(find(&mut self.issuers, &[("issuer", issuer)]), values);
    }

    /// Gives keys of an agent other values.
    pub fn agent(&mut self, id: &str, values: &str) {
        change(find(&mut self.agents, &[("id", id)]), values);
    }

    /// Gives keys of an agent's `auth` other values; the rest of it stays.
    ///
    /// # Panics
    /// When the agent has no `auth`.
    pub fn agent_auth(&mut self, id: &str, values: &str) {
        let auth = find(&mut self.agents, &[("id", id)]).get_mut("auth").and_then(Value::as_table_mut);
        change(auth.expect("an agent with auth"), values);
    }

    /// Gives keys of the delegation between two agents other values.
    pub fn delegation(&mut self, actor: &str, target: &str, values: &str) {
        change(find(&mut self.delegations, &[("actor", actor), ("target", target)]), values);
    }

    /// Leaves keys out of an issuer.
    pub fn issuer_without(&mut self, issuer: &str, keys: &[&str]) {
        let entry = find(&mut self.issuers, &[("issuer", issuer)]);
        entry.retain(|key, _| !keys.contains(&key));
    }

    /// Registers an issuer under another name in its place.
    pub fn rename_issuer(&mut self, issuer: &str, name: &str) {
        self.issuer(issuer, &format!("issuer = '{name}'"));
    }

    /// Leaves an agent out.
    pub fn without_agent(&mut self, id: &str) {
        self.agents.retain(|entry| !is(entry, &[("id", id)]));
    }

    /// Leaves the delegations between two agents out.
    pub fn without_delegation(&mut self, actor: &str, target: &str) {
        self.delegations.retain(|entry| !is(entry, &[("actor", actor), ("target", target)]));
    }

    /// The registry as a file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let kinds = [("issuers", &self.issuers), ("agents", &self.agents), ("delegations", &self.delegations)];
        let array = |entries: &[Table]| Value::Array(entries.iter().cloned().map(Value::Table).collect());
        let tables: Table = kinds.into_iter().map(|(kind, entries)| (kind.to_owned(), array(entries))).collect();
        toml::to_string(&tables).expect("TOML")
    }
}

fn is(entry: &Table, names: &[(&str, &str)]) -> bool {
    names.iter().all(|(key, name)| entry.get(*key).and_then(Value::as_str) == Some(name))
}

fn find<'a>(entries: &'a mut [Table], names: &[(&str, &str)]) -> &'a mut Table {
    entries.iter_mut().find(|entry| is(entry, names)).unwrap_or_else(|| panic!("no entry {names:?}"))
}

fn change(entry: &mut Table, values: &str) {
    entry.extend(values.parse::<Table>().expect("TOML"));
}
