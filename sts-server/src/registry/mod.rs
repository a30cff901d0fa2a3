//! The registry: issuers, agents and delegations.
//!
//! What lives here: the entries, the snapshot that requests read, the file format, and the applying
//! of a file. What must never: decisions about a request; `policy` makes them. A new property of an
//! entry is a field of its struct here.

mod agent;
mod apply;
mod approval_rule;
mod check;
mod delegation;
mod delegation_ids;
mod file;
mod issuer;
mod issuer_names;
mod issuer_uses;
mod json;
mod located;
mod plan;
mod schema;
mod secret_hashes;
mod snapshot;
mod tenants;
mod workload;
mod workloads;

pub use agent::{Agent, AgentAuth, AssertionAudience, MAX_AGENT_ID_CHARS, class_of};
pub use apply::{ApplyError, apply, planned};
pub use approval_rule::{ApprovalRule, Decider};
pub use check::{SOON, check, expiring, rules};
pub use delegation::{DelegatedScope, Delegation, DerivedScope};
pub use file::RegistryFile;
pub use issuer::{Issuer, ScopesFrom};
pub use issuer_names::{IssuerNameError, NamedIssuer, has_placeholder};
pub use json::JsonEntry;
pub use located::{Entries, Located, Place};
pub(crate) use plan::differing_keys;
pub use plan::{Plan, PlanAction, PlanError, PlanLine, plan};
pub use schema::FILE_KEYS;
pub use secret_hashes::SecretHashes;
pub use snapshot::{Registry, RegistryError, TargetError};
pub use tenants::Tenants;
pub use workload::Workload;
pub use workloads::WorkloadAgent;
