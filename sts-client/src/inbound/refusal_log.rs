//! The log of refused requests: the cause of each refusal, with a limit on the number of warnings.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sts_jose::{UnverifiedToken, has_passed};

use super::why::Why;
use crate::call::CorrelationId;

/// The period after which the first refusal of a kind is logged as a warning again.
const PERIOD: Duration = Duration::from_secs(10 * 60);

/// The maximum number of warnings in a [`PERIOD`]. The limit is needed because the sender chooses
/// the issuer that a token names.
const MAX_WARNINGS: usize = 32;

/// The maximum length of a logged claim, in characters.
const MAX_CLAIM_CHARS: usize = 256;

/// Logs refusals. A kind of refusal is a reason and an issuer. Logs the first refusal of each kind
/// at `warn` with the expected values, and all others at `debug`.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<Warned>);

#[derive(Debug, Default)]
struct Warned {
    since: Option<Timestamp>,
    kinds: HashSet<(&'static str, String)>,
}

/// The tokens that a verifier accepts.
pub(super) struct Wanted<'a> {
    pub(super) issuers: Vec<&'a str>,
    pub(super) audiences: &'a [String],
}

/// The claims of an unverified token, truncated, for the log only.
#[derive(Debug, Default)]
struct Claimed {
    iss: String,
    aud: String,
    typ: String,
}

impl RefusalLog {
    /// Logs a refusal. `token` is `None` if the request has no token.
    pub(super) fn write<'a>(
        &self,
        (why, token): (&Why, Option<&str>),
        wanted: impl FnOnce() -> Wanted<'a>,
        correlation_id: &CorrelationId,
        now: Timestamp,
    ) {
        let reason = why.reason();
        let error: &(dyn std::error::Error + 'static) = why;
        let claimed = token.map(Claimed::of).unwrap_or_default();
        // The first proof of each client has no nonce: that needs no operator.
        if matches!(why, Why::ProofNonce(_)) || !self.is_first(reason, &claimed.iss, now) {
            tracing::debug!(reason, %correlation_id, token_iss = claimed.iss, error, "an inbound request was refused");
            return;
        }
        let Wanted { issuers, audiences } = wanted();
        tracing::warn!(
            reason,
            %correlation_id,
            token_iss = claimed.iss,
            expected_iss = ?issuers,
            token_aud = claimed.aud,
            expected_aud = ?audiences,
            token_typ = claimed.typ,
            error,
            "an inbound request was refused; others with this reason and issuer are logged at debug for 10 minutes"
        );
    }

    fn is_first(&self, reason: &'static str, iss: &str, now: Timestamp) -> bool {
        let mut warned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = has_passed(warned.since, now, PERIOD);
        if is_over {
            *warned = Warned { since: Some(now), kinds: HashSet::new() };
        }
        warned.kinds.len() < MAX_WARNINGS && warned.kinds.insert((reason, iss.to_owned()))
    }
}

impl Claimed {
    fn of(token: &str) -> Self {
        let Ok(token) = UnverifiedToken::parse(token) else { return Self::default() };
        let claims = token.claims();
        Self {
            iss: cut(claims.string("iss").ok().flatten().unwrap_or_default()),
            aud: cut(&claims.strings("aud").ok().flatten().unwrap_or_default().join(" ")),
            typ: cut(token.header().typ.as_deref().unwrap_or_default()),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_CLAIM_CHARS).collect()
}
