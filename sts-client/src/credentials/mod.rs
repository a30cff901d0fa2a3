//! The agent's credentials at the STS, and the sources of its own tokens.
//!
//! What lives here: the kinds of credentials, and token sources that need only this machine. What
//! must never: a request. `exchange::client_auth` sends the proof, and a source that uses the
//! network belongs in `service_account`. Add another source as a file beside `token_file`. Add
//! another kind of proof as a variant of [`Credentials`], with an arm in `exchange::client_auth`
//! and a key in `propagate::config`.

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

/// The credentials with which the agent authenticates at the STS.
///
/// ```
/// use std::sync::Arc;
/// use sts_client::{Credentials, Sts, TokenFile};
///
/// // In Kubernetes: the projected token of the service account, renewed by the kubelet.
/// let own = Credentials::Token(Arc::new(TokenFile::new("/var/run/secrets/tokens/sts")));
/// let sts = Sts::builder("https://sts.example.com", "inventory", own).build()?;
///
/// // Elsewhere: a secret, or a key (`PrivateKeyFile`).
/// let own = Credentials::ClientSecret("from a vault".into());
/// let sts = Sts::builder("https://sts.example.com", "inventory", own).build()?;
/// # Ok::<(), sts_client::BuildError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    ClientSecret(SecretString),
    /// `client_secret_basic`, with a secret in a file that the operator may replace.
    ClientSecretFile(Arc<SecretFile>),
    /// `private_key_jwt` (RFC 7523): a new assertion for every request.
    PrivateKeyJwt(Arc<sts_jose::SigningKey>),
    /// `private_key_jwt`, with a key in a file that the operator may replace.
    PrivateKeyFile(Arc<PrivateKeyFile>),
    /// `tls_client_auth` (RFC 8705): the client certificate of the connection.
    /// [`StsBuilder::client_certificate_files`](crate::exchange::StsBuilder::client_certificate_files)
    /// names it.
    ClientCertificate,
    /// A token of a workload issuer (Kubernetes, SPIFFE), sent as the client assertion.
    Token(Arc<dyn TokenSource>),
}

/// A source of the agent's own token, such as a file, another IdP or a vault.
///
/// ```
/// use std::sync::Arc;
/// use sts_client::{SourcedToken, TokenSource, TokenSourceError, async_trait};
///
/// /// A vault agent that listens on this machine.
/// #[derive(Debug)]
/// struct Vault;
///
/// #[async_trait]
/// impl TokenSource for Vault {
///     async fn token(&self) -> Result<SourcedToken, TokenSourceError> {
///         match ask_vault().await {
///             Ok(token) => Ok(SourcedToken { token: token.into(), expires_at: None }),
///             Err(error) => Err(TokenSourceError::Unavailable(Arc::new(error))),
///         }
///     }
/// }
/// # async fn ask_vault() -> std::io::Result<String> { Ok(String::new()) }
/// ```
#[async_trait]
pub trait TokenSource: std::fmt::Debug + Send + Sync {
    /// Returns a token that is valid now. Called for every request, so a slow source must cache its
    /// token.
    ///
    /// # Errors
    /// See [`TokenSourceError`].
    async fn token(&self) -> Result<SourcedToken, TokenSourceError>;

    /// Drops the cached token, because a target refused it as invalid or because the agent needs
    /// another token. A source without a cache does not need to implement this method.
    fn forget(&self) {}
}

/// Requests a token from a source. A panic of the source is treated as an outage, so that it does
/// not end the renewal task.
pub(crate) async fn ask(source: &dyn TokenSource) -> Result<SourcedToken, TokenSourceError> {
    let asked = AssertUnwindSafe(async { source.token().await }).catch_unwind().await;
    asked.unwrap_or_else(|_panic| {
        tracing::error!(?source, "the token source panicked");
        Err(TokenSourceError::Unavailable(Arc::new(Panicked)))
    })
}

/// The error for a panic inside a token source.
#[derive(Debug, thiserror::Error)]
#[error("the token source panicked")]
struct Panicked;

/// A token for the agent's own use.
///
/// ```
/// use sts_client::{Clock as _, SourcedToken, SystemClock, jiff::SignedDuration};
///
/// let expires_at = SystemClock.now() + SignedDuration::from_mins(10);
/// let token = SourcedToken { token: "eyJhbGciOi…".into(), expires_at: Some(expires_at) };
/// assert!(!format!("{token:?}").contains("eyJ"), "Debug does not show the token");
/// ```
#[derive(Debug, Clone)]
pub struct SourcedToken {
    /// The token text, as it is sent in a header.
    pub token: SecretString,
    /// The expiry, if known.
    pub expires_at: Option<Timestamp>,
}

/// The reason for a missing token.
///
/// ```
/// use sts_client::{Error, RefusalCode, TokenSourceError, http::StatusCode};
///
/// /// The answer of the identity provider.
/// fn failed(status: StatusCode, answered: std::io::Error) -> TokenSourceError {
///     match status {
///         StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
///             TokenSourceError::Refused { code: RefusalCode::from_answer("invalid_client") }
///         }
///         _ => TokenSourceError::Unavailable(std::sync::Arc::new(answered)),
///     }
/// }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenSourceError {
    /// The source refused to issue a token.
    #[error("the token source refused: {code}")]
    Refused {
        /// The error code that the source returned.
        code: RefusalCode,
    },
    /// The source is unreachable. The caller may retry.
    #[error("the token source cannot be reached")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The source holds no valid token: its file is absent, empty or not text. The operator must
    /// correct the configuration.
    #[error("{what}")]
    Misconfigured {
        /// The problem that the operator must correct. Contains no secrets.
        what: String,
    },
}
