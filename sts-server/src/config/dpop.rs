//! The options of proofs of possession (RFC 9449).

use serde::Deserialize;

use crate::ttl::Ttl;

/// Proofs of possession.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpop {
    /// The maximum age of a proof. Default `2m`.
    pub max_age: Ttl,
    /// Nonces in proofs. Default [`DpopNonce::Off`].
    pub nonce: DpopNonce,
}

/// The rule for nonces in proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpopNonce {
    /// Proofs need no nonce.
    Off,
    /// Every proof needs a nonce of the server.
    Required,
}
