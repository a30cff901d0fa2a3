//! DPoP proofs (RFC 9449): the proof that a caller holds the private key that a token is bound to.
//!
//! A [`ProofKey`] makes proofs, and [`ProofRules::check`] checks them. Both compare URLs as [`ProofUri`].
//!
//! # What must never live here
//!
//! The record of used proofs: a proof may be accepted once (RFC 9449 §11.1), and the caller records its `jti`. Headers
//! and answers: the caller refuses a request with two `DPoP` headers. The making of nonces.
//!
//! ```
//! use std::time::Duration;
//!
//! use sts_jose::Algorithm;
//! use sts_jose::dpop::{AccessTokenBinding, ProofClaims, ProofKey, ProofRules, ProofUri, access_token_hash};
//!
//! let key = ProofKey::generate()?;
//! let uri = ProofUri::parse("https://inventory.shop.example/stock?item=7")?;
//! let ath = access_token_hash("the access token");
//! let now = jiff::Timestamp::from_second(1_800_000_000)?;
//! let proof = key.prove(&ProofClaims {
//!     method: "GET",
//!     uri: &uri,
//!     issued_at: now,
//!     jti: "-BwC3ESc6acc2lTc",
//!     ath: Some(&ath),
//!     nonce: None,
//! })?;
//!
//! let rules = ProofRules {
//!     method: "GET",
//!     uri: &uri,
//!     access_token: Some(AccessTokenBinding { ath: &ath, jkt: key.jkt() }),
//!     nonces: None,
//!     algorithms: &[Algorithm::Es256],
//!     max_age: Duration::from_secs(120),
//!     now,
//! };
//! let proof = rules.check(&proof)?;
//! assert_eq!((proof.jkt(), proof.jti()), (key.jkt(), "-BwC3ESc6acc2lTc"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod error;
mod key;
mod uri;

pub use check::{AccessTokenBinding, MAX_PROOF_BYTES, MAX_PROOF_JTI_CHARS, ProofRules, VerifiedProof};
pub use error::ProofError;
pub use key::{ProofClaims, ProofKey};
pub use uri::{ProofUri, ProofUriError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::sha256::sha256;

/// Returns the `ath` of an access token: its SHA-256 in base64url, with 43 characters (RFC 9449 §4.2).
///
/// ```
/// let ath = sts_jose::dpop::access_token_hash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
/// assert_eq!(ath, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
/// ```
#[must_use]
pub fn access_token_hash(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(access_token.as_bytes()))
}
