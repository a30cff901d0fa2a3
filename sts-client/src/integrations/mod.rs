//! Integrations with other libraries, each behind a feature of the same name.
//!
//! The outbound integrations only pass headers to and from [`crate::Propagator::apply`] and decide
//! nothing themselves. They share these rules:
//! - All credentials that the call carried are removed, in any spelling, and exactly one new
//!   credential is added.
//! - On an error, nothing is sent.
//! - Every call requires a [`crate::CallContext`], and no call follows a redirect.
//!
//! To add a library, add a file and a feature of its name here, and a test file beside the existing
//! ones. Also add the feature to `client_features` in the `justfile` and to the table of the crate's page.

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

#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp", feature = "tower"))]
mod challenge;
#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp"))]
mod http_client;
#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp", feature = "tower"))]
mod other_client;
#[cfg(any(feature = "a2a", feature = "rmcp"))]
mod probe;
#[cfg(any(feature = "rmcp", feature = "tower"))]
mod propagate_error;

#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp"))]
pub use http_client::http_client;
#[cfg(any(feature = "rmcp", feature = "tower"))]
pub use propagate_error::PropagateError;
