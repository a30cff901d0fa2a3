//! The options of proofs of possession (RFC 9449).

use std::str::FromStr;

use super::option::{ConfigOption, OptionKind};
use super::values::{set, set_timeout};
use crate::ttl::Ttl;

/// Proofs of possession.
#[derive(Debug, Clone)]
pub struct Dpop {
    /// The maximum age of a proof. Default `2m`.
    pub max_age: Ttl,
    /// Nonces in proofs. Default [`DpopNonce::Off`].
    pub nonce: DpopNonce,
}

/// The rule for nonces in proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DpopNonce {
    /// Proofs need no nonce.
    Off,
    /// Every proof needs a nonce of the server.
    Required,
}

impl FromStr for DpopNonce {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "required" => Ok(Self::Required),
            _ => Err(()),
        }
    }
}

pub(super) const MAX_AGE: ConfigOption = ConfigOption {
    table: Some("dpop"),
    key: "max_age",
    kind: OptionKind::Text,
    default: Some("2m"),
    form: "a span of time, at most 10m",
    doc: "The maximum age of a DPoP proof by its iat. A proof may be issued up to 30 s ahead.",
    set: |config, given| set_timeout(&mut config.dpop.max_age, given),
};

pub(super) const NONCE: ConfigOption = ConfigOption {
    table: Some("dpop"),
    key: "nonce",
    kind: OptionKind::Text,
    default: Some("off"),
    form: "off or required",
    doc: "Whether a DPoP proof needs a nonce that the server gave. With required, a proof without one is answered use_dpop_nonce, and every answer of the POST endpoints has a DPoP-Nonce.",
    set: |config, given| set(&mut config.dpop.nonce, given, "off or required"),
};
