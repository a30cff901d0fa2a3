//! Proof of possession for outbound calls (RFC 9449): the key of this process, and the headers of a
//! token that is bound to it.
//!
//! What lives here: [`Prover`] makes proofs; [`Nonces`] keeps the newest nonce of each server; [`TokenHeader`] is
//! the `Authorization` of a token. What must never: the checks of an inbound proof, which are in
//! `inbound`, and a request.

mod nonces;
mod prover;
mod token_header;

use http::HeaderName;

pub(crate) use nonces::Nonces;
pub(crate) use prover::{NoProof, Proof, Prover};
pub(crate) use token_header::TokenHeader;

/// The header of a proof (RFC 9449 §4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The header in which a server gives a nonce (RFC 9449 §8.1).
pub(crate) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// The error with which a server asks for a nonce (RFC 9449 §8).
pub(crate) const USE_DPOP_NONCE: &str = "use_dpop_nonce";
/// The scheme of a bound token, and the `token_type` of the STS (RFC 9449 §5, §7.1).
pub(crate) const DPOP_SCHEME: &str = "DPoP";
