//! The name of an outside token, by which it is revoked and recorded.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sts_jose::{ClaimError, VerifiedToken};
use sts_protocol::is_name;
use thiserror::Error;

use super::OutsideToken;
use crate::storage::TokenReference;

/// A token cannot be named.
#[derive(Debug, Error)]
pub enum JtiError {
    /// `jti` is no string.
    #[error("jti is malformed")]
    Claim(#[from] ClaimError),
    /// `jti` is empty, too long, or has control characters.
    #[error("jti is empty, too long or holds control characters")]
    NoName,
}

impl OutsideToken {
    /// The name of the token: its issuer with its `jti`, or with its digest where it has none.
    ///
    /// # Errors
    /// [`JtiError`] when it has a `jti` that is no name.
    pub fn reference(&self) -> Result<TokenReference, JtiError> {
        reference(self.issuer.iss(), &self.token)
    }
}

/// The name of a token that `iss` signed.
///
/// # Errors
/// [`JtiError`] when it has a `jti` that is no name.
pub fn reference(iss: &str, token: &VerifiedToken) -> Result<TokenReference, JtiError> {
    let jti = match token.claims().string("jti")? {
        Some(jti) if is_name(jti) => jti.to_owned(),
        Some(_) => return Err(JtiError::NoName),
        None => format!("sha256:{}", URL_SAFE_NO_PAD.encode(token.digest())),
    };
    Ok(TokenReference { iss: iss.to_owned(), jti })
}
