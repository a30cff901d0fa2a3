//! The rules that decide an exchange, as pure functions over the registry.
//!
//! What lives here: the chain rules (`chain`), the delegation rules (`exchange`,
//! `service_account`), the rules of scopes (`scope`) and authorization details (`details`), the rule of bindings (`binding`), their view of a subject (`Subject`) and their results (`Permit`, `Judgement`). What must
//! never: I/O, the clock, tokens. A new rule goes into the module of its noun, with a variant of
//! [`PolicyError`] that names what it refuses.

mod binding;
mod chain;
mod details;
mod error;
mod exchange;
mod judgement;
mod permit;
mod scope;
mod service_account;
mod subject;

pub use binding::ParentBinding;
pub use chain::{Chain, extend};
pub use details::HeldDetails;
pub use error::PolicyError;
pub use exchange::{Question, judge, permit};
pub use judgement::{Judgement, RequiredApproval};
pub use permit::{Permit, Ruling};
pub use service_account::{ServiceAccountQuestion, judge_service_account, permit_service_account};
pub use subject::{Authentication, HeldScope, MayAct, Subject, VerifiedSubject};
