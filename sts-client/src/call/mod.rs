//! The types of a call: the verified caller, the context, the headers that travel with it, and the
//! route.
//!
//! What lives here: values, and the rules of each. What must never: a request, or a decision about
//! a request. Add a header that travels in `headers`, a rule of a route in
//! `route`, and the search for the route of a URL in `routes`.

mod call_counts;
mod caller;
mod context;
pub(crate) mod headers;
mod idempotency_key;
mod permissions;
mod possession;
mod prior_actors;
mod refusal_code;
mod requested_details;
mod required_action;
mod required_approval;
mod route;
mod route_error;
mod routes;
#[cfg(feature = "rmcp")]
mod tool_details;

pub(crate) use caller::Verified;
pub use caller::{Caller, Kind, VerifiedTenant};
pub use context::{CallContext, MissingContext, Scoped};
pub use headers::{
    CorrelationId, PropagatedHeaders, STRIPPED_HEADERS, X_CORRELATION_ID, X_DELEGATION_FALLBACK, X_TENANT_ID,
};
pub(crate) use headers::{X_STS_VERIFIED, single};
pub use idempotency_key::{IDEMPOTENCY_KEY, IdempotencyKey, MalformedKey};
pub(crate) use permissions::Permissions;
pub use possession::Possession;
pub(crate) use possession::{Challenges, Scheme};
pub use prior_actors::PriorActors;
pub use refusal_code::RefusalCode;
pub(crate) use requested_details::RequestedDetails;
pub use required_action::RequiredAction;
pub(crate) use required_approval::page;
pub use required_approval::{Approver, RequiredApproval};
pub use route::{OnApproval, OnOutage, OutboundKey, Route, WithoutUser};
pub use route_error::RouteError;
pub(crate) use routes::{Routes, without_secrets};
#[cfg(feature = "rmcp")]
pub(crate) use tool_details::of_tool;
