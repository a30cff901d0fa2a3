//! The agent's own tokens: for work without a user, and as a fallback while the STS is unreachable.
//!
//! Each source has a single slot; the STS has a slot for each route. A slot that may stand in for
//! the STS is kept warm from startup. If a source refuses, its token is dropped at once. Only an
//! outage keeps the earlier token in use.
//!
//! What lives here: `slot` holds the token, `warm` renews it, and `openid` gets tokens from another
//! identity provider. What must never: the decision whether the agent may act on its own behalf,
//! which is in `propagate::decide`. Add another provider as a [`TokenSource`] beside `openid`, with
//! its keys in `propagate::config`.

#[cfg(feature = "openidconnect")]
pub mod openid;
mod slot;
mod warm;

use std::sync::Arc;

pub(crate) use slot::{Origin, Slot};
pub(crate) use warm::keep_warm;

use crate::credentials::TokenSource;

/// The source of the agent's own tokens.
///
/// ```
/// use std::sync::Arc;
/// use sts_client::{ServiceAccount, TokenFile};
///
/// /// A cron job has a token of the platform; a deployed agent asks the STS.
/// fn source(token_file: Option<&str>) -> ServiceAccount {
///     match token_file {
///         Some(path) => ServiceAccount::Source(Arc::new(TokenFile::new(path))),
///         None => ServiceAccount::Sts,
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ServiceAccount {
    /// The STS, by `client_credentials`. Each route has its own token.
    Sts,
    /// Another source, such as another IdP or a projected token file. All routes share its token.
    Source(Arc<dyn TokenSource>),
}
