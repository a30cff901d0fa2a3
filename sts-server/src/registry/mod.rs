//! The registry: issuers, agents and delegations, and nothing else.
//!
//! What lives here: the entries, the snapshot that requests read, the file format and how a file is applied. What must never:
//! decisions about a request; `policy` makes them. A new property of an entry is a field of its struct here.

mod agent;
mod delegation;
mod issuer;
mod snapshot;
mod tenants;

pub use agent::{Agent, AgentAuth, Workload};
pub use delegation::{DelegatedScope, Delegation, DerivedScope};
pub use issuer::{Issuer, ScopesFrom};
pub use snapshot::{Registry, RegistryError, TargetError};
pub use tenants::Tenants;
