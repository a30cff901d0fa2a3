//! Values that a request may spend once.

use crate::storage::OneTimeValue;

/// A value of a request that must still be unspent when its decision is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SingleUse {
    /// The credential that the value is of.
    pub kind: SingleUseKind,
    /// The value.
    pub value: OneTimeValue,
}

/// A credential that may be used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleUseKind {
    /// A client assertion, by its `jti`.
    ClientAssertion,
    /// A DPoP proof, by its `jti`.
    DpopProof,
    /// A deferral code, by its hash.
    DeferralCode,
}

impl SingleUseKind {
    /// Returns the stable name and the description of a second use.
    #[must_use]
    pub fn replayed(self) -> (&'static str, &'static str) {
        match self {
            Self::ClientAssertion => ("assertion_replayed", "the client assertion was used before"),
            Self::DeferralCode => ("deferral_code_used", "the deferral code was redeemed before"),
            Self::DpopProof => ("dpop_proof_replayed", "the DPoP proof was used before"),
        }
    }
}
