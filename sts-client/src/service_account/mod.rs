//! The agent's own tokens: for work without a user, and as the fallback for an STS out of reach.
//!
//! Each source has one slot (the STS: one per route). A slot that may have to stand in for the STS is kept warm from the start. What a
//! source refuses is gone at once: only an outage leaves the token standing that was there before.
//!
//! `slot` holds the token, `warm` renews it, `openid` is another identity provider as a source. What must never live here: a decision
//! whether the agent may speak for itself; that is `propagate::decide`. Another provider is a [`TokenSource`] beside `openid`, with its
//! keys in `propagate::config`.

#[cfg(feature = "openidconnect")]
pub mod openid;
mod slot;
mod warm;

use std::sync::Arc;

pub(crate) use slot::{Origin, Slot};
pub(crate) use warm::keep_warm;

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
