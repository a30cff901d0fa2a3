//! The harness of the integration tests: a real server in this process, with issuers, clock and database of its own.
//!
//! What lives here: whatever several tests need to drive the public edge and to look behind it. What must never: claims about the
//! server; those are the tests. [`Harness`] is where to begin; [`postgres`] finds a `PostgreSQL` server.

mod agent;
mod answer;
mod capture;
pub mod faulty_store;
mod harness;
pub mod invariants;
mod issuer;
mod key;
pub mod keyring;
pub mod local_agent;
mod lock;
pub mod model;
mod node;
mod not_checked;
mod operators;
mod packages;
pub mod postgres;
pub mod process;
mod python;
mod registry;
mod request;
mod seen;
pub mod world;

pub use agent::bearer;
pub use answer::{Answer, members};
pub use capture::Capture;
pub use harness::{ACCESS_TOKEN, Harness, Names, ProofKey, Replica, Setup, refuses};
pub use issuer::{Fault, TestIssuer};
pub use key::{TestKey, base64url};
pub use node::node_packages;
pub use not_checked::not_checked;
pub use operators::{AdminRequest, Operators};
pub use packages::install;
pub use python::{python, python_if_possible};
pub use registry::Registry;
pub use request::{Credentials, FormRequest, Wire};
pub use seen::Seen;
