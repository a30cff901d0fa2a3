//! Where the crate plugs into other libraries, each behind a feature of its name.
//!
//! The outbound ones only carry headers to and from [`crate::Propagator::apply`] and decide nothing themselves. What they have in common:
//! whatever the call bore as a credential goes away, under any spelling; exactly one comes in its place; and on an error nothing is sent.
//! No call is made without a [`crate::CallContext`], and none follows a redirect.
//!
//! Another library is a file and a feature of its name here, that feature in the list of `.ci/run` and in the table of the crate's page,
//! and a file of tests beside those of the others.

#[cfg(feature = "a2a")]
pub mod a2a;
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "rmcp")]
pub mod rmcp;
#[cfg(feature = "tower")]
pub mod tower;

#[cfg(any(feature = "reqwest", feature = "rmcp", feature = "tower"))]
mod challenge;
#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp"))]
mod http_client;
#[cfg(any(feature = "rmcp", feature = "tower"))]
mod propagate_error;

#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp"))]
pub use http_client::http_client;
#[cfg(any(feature = "rmcp", feature = "tower"))]
pub use propagate_error::PropagateError;
