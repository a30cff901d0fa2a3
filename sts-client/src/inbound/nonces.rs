//! The nonces that this agent gives to its callers (RFC 9449 §9).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice};

use crate::build_error::BuildError;

/// The time after which the nonce changes. The previous nonce is accepted for the same time.
const PERIOD_SECONDS: i64 = 60;

/// The minimum length of the secret, in bytes.
const MIN_SECRET_BYTES: usize = 32;

/// The part of the HMAC that a nonce shows, in bytes.
const NONCE_BYTES: usize = 16;

/// Nonces without a store: each is an HMAC of its period. All replicas with the same secret agree.
#[derive(Debug)]
pub(super) struct OwnNonces(hmac::Key);

impl OwnNonces {
    pub(super) fn new(secret: &SecretSlice<u8>) -> Result<Self, BuildError> {
        let secret = secret.expose_secret();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(BuildError::contradiction(format!(
                "the secret of nonces must have {MIN_SECRET_BYTES} bytes or more (inbound.dpop_nonce_secret_file in agent.toml)"
            )));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// Returns the nonces that are accepted now, the newest first.
    pub(super) fn accepted(&self, now: Timestamp) -> [String; 2] {
        let period = now.as_second().div_euclid(PERIOD_SECONDS);
        [period, period.saturating_sub(1)].map(|period| self.of(period))
    }

    fn of(&self, period: i64) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"dpop-nonce");
        context.update(&period.to_be_bytes());
        let tag = context.sign();
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..NONCE_BYTES).unwrap_or_default())
    }
}
