//! Where the crate plugs into other libraries, each behind a feature of its name.
//!
//! The outbound ones only carry headers to and from [`crate::Propagator::apply`] and decide nothing themselves. What they have in common:
//! whatever the call bore as a credential goes away, under any spelling; exactly one comes in its place; and on an error nothing is sent.

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

#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp"))]
mod http_client;
#[cfg(any(feature = "rmcp", feature = "tower"))]
mod propagate_error;

#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp"))]
pub use http_client::http_client;
#[cfg(any(feature = "rmcp", feature = "tower"))]
pub use propagate_error::PropagateError;
