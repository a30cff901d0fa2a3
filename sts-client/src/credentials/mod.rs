//! How the agent proves to the STS who it is, and where tokens of its own come from.
//!
//! What lives here: the kinds of credentials, and sources of tokens that need nothing but this machine. What must never: a request; how a
//! proof is sent is `exchange::client_auth`, and a source that asks others belongs in `service_account`. Another source is a file beside
//! `token_file`; another kind of proof a variant of [`Credentials`], its arm in `exchange::client_auth` and its key in `propagate::config`.

mod secret_file;
mod token_file;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use secrecy::SecretString;

pub use secret_file::{PrivateKeyFile, SecretFile, WatchedFile};
pub use token_file::TokenFile;

use crate::call::RefusalCode;

/// How the agent proves to the STS who it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    ClientSecret(SecretString),
    /// The same, with a secret in a file that may be replaced.
    ClientSecretFile(Arc<SecretFile>),
    /// `private_key_jwt` (RFC 7523): a new assertion for every request.
    PrivateKeyJwt(Arc<sts_jose::SigningKey>),
    /// The same, with a key in a file that may be replaced.
    PrivateKeyFile(Arc<PrivateKeyFile>),
    /// A token of a workload issuer (Kubernetes, SPIFFE), sent as the client assertion.
    Token(Arc<dyn TokenSource>),
}

/// Where a token of the agent's own comes from: a file, another IdP, a vault.
#[async_trait]
pub trait TokenSource: std::fmt::Debug + Send + Sync {
    /// A token that is good now. Called for every request; a source that is slow keeps what it has.
    ///
    /// # Errors
    /// See [`TokenSourceError`].
    async fn token(&self) -> Result<SourcedToken, TokenSourceError>;

    /// Drops what the source has kept: a target has refused its token as invalid, or the agent wants another. A source that keeps nothing
    /// need not implement it.
    fn forget(&self) {}
}

/// Asks a source. A panic of the source is an outage of it: it must not end what renews tokens in the background.
pub(crate) async fn ask(source: &dyn TokenSource) -> Result<SourcedToken, TokenSourceError> {
    let asked = AssertUnwindSafe(async { source.token().await }).catch_unwind().await;
    asked.unwrap_or_else(|_panic| {
        tracing::error!(?source, "the token source panicked");
        Err(TokenSourceError::Unavailable(Arc::new(Panicked)))
    })
}

/// The code of a source panicked.
#[derive(Debug, thiserror::Error)]
#[error("the token source panicked")]
struct Panicked;

/// A token of the agent's own.
#[derive(Debug, Clone)]
pub struct SourcedToken {
    /// The token.
    pub token: SecretString,
    /// When it dies, where that is known.
    pub expires_at: Option<Timestamp>,
}

/// Why a source has no token.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenSourceError {
    /// The source says no.
    #[error("the token source refused: {code}")]
    Refused {
        /// Its code.
        code: RefusalCode,
    },
    /// The source is out of reach. One may retry.
    #[error("the token source is out of reach")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// What the source has is no token: a file that is absent, empty or no text. The configuration is at fault.
    #[error("{what}")]
    Misconfigured {
        /// What must be put right; no secrets.
        what: String,
    },
}
