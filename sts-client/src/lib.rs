//! The agent's half of agent-sts.

mod agent_file;
mod build_error;
mod cache;
mod carried;
mod context;
mod credentials;
mod delegation;
mod error;
pub mod exchange;
mod flight;
pub mod inbound;
pub mod integrations;
pub mod propagate;
mod refusal_code;
pub mod route;
pub mod service_account;
pub mod transport;

pub use build_error::BuildError;
pub use carried::{
    Carried, CorrelationId, IDEMPOTENCY_KEY, IdempotencyKey, X_CORRELATION_ID, X_DELEGATION_FALLBACK, X_TENANT_ID,
};
pub use context::CallContext;
pub use credentials::{Credentials, SourcedToken, TokenFile, TokenSource, TokenSourceError};
pub use delegation::{Delegation, Kind, PriorActors};
pub use error::Error;
pub use exchange::Sts;
pub use inbound::Verifier;
pub use propagate::Propagator;
pub use refusal_code::RefusalCode;
pub use route::{OnOutage, Route, WithoutUser};
pub use service_account::ServiceAccount;

pub use sts_protocol::{Actor, Scope, SubjectId, Tenant};
