//! The reference to an outside token, used to revoke and to record it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sts_jose::{ClaimError, VerifiedToken};
use sts_protocol::is_name;
use thiserror::Error;

use super::OutsideToken;
use crate::storage::TokenReference;

/// A token whose `jti` cannot be used as a name.
#[derive(Debug, Error)]
pub enum JtiError {
    /// The `jti` is not a string.
    #[error("jti is malformed")]
    Claim(#[from] ClaimError),
    /// The `jti` is empty, too long, or contains control characters.
    #[error("jti is empty, too long or contains control characters")]
    NoName,
}

impl OutsideToken {
    /// Returns the reference to the token: its issuer and its `jti`, or its digest if it has no
    /// `jti`.
    ///
    /// # Errors
    /// [`JtiError`] if its `jti` is not a valid name.
    pub fn reference(&self) -> Result<TokenReference, JtiError> {
        reference(self.issuer.iss(), &self.token)
    }
}

/// Returns the reference to a token that `iss` signed.
///
/// # Errors
/// [`JtiError`] if its `jti` is not a valid name.
pub fn reference(iss: &str, token: &VerifiedToken) -> Result<TokenReference, JtiError> {
    let jti = match token.claims().string("jti")? {
        Some(jti) if is_name(jti) => jti.to_owned(),
        Some(_) => return Err(JtiError::NoName),
        None => format!("sha256:{}", URL_SAFE_NO_PAD.encode(token.digest())),
    };
    Ok(TokenReference { iss: iss.to_owned(), jti })
}
