//! The agent's own tokens: for work without a user, and as the fallback for an STS out of reach.

use std::sync::Arc;

use crate::credentials::TokenSource;

/// Where the agent's own tokens come from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServiceAccount {
    /// From the STS by `client_credentials`, one per route.
    Sts,
    /// From elsewhere: another IdP, a projected token file. One for all routes.
    Source(Arc<dyn TokenSource>),
}
