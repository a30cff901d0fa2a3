//! The only rule about time, so that no code path has a weaker rule.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::claims::{ClaimError, Claims};

/// The maximum time that `iat` and `nbf` may lie ahead of our clock. `exp` has no such tolerance: a
/// token that has expired anywhere has expired here.
pub const AHEAD_TOLERANCE: Duration = Duration::from_secs(30);

/// The times of a token that is valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The expiry time.
    pub exp: Timestamp,
    /// The time of issue, if the token holds it.
    pub iat: Option<Timestamp>,
    /// The start of validity, if the token holds it.
    pub nbf: Option<Timestamp>,
}

/// The reason a token is not valid now. The presenter or the issuer causes this error. A retry with
/// the same token helps only for [`TimeError::NotYetValid`] and [`TimeError::IssuedInFuture`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// `exp`, `iat` or `nbf` is not a valid moment.
    #[error("a time claim is malformed")]
    Claim(#[from] ClaimError),
    /// The token has no `exp`.
    #[error("no exp")]
    ExpMissing,
    /// `exp` is now or in the past.
    #[error("expired")]
    Expired,
    /// `nbf` lies more than [`AHEAD_TOLERANCE`] ahead.
    #[error("not yet valid")]
    NotYetValid,
    /// `iat` lies more than [`AHEAD_TOLERANCE`] ahead.
    #[error("issued in the future")]
    IssuedInFuture,
}

impl Times {
    /// True if the token is no older than `age` by its `iat`. A token without `iat` may live no longer than that.
    #[must_use]
    pub fn are_within(&self, age: SignedDuration, now: Timestamp) -> bool {
        match self.iat {
            Some(iat) => now.duration_since(iat) <= age,
            None => self.exp.duration_since(now) <= age,
        }
    }
}

impl Claims {
    /// Checks `exp`, `iat` and `nbf` against `now`. `exp` is required and has no tolerance. `iat`
    /// and `nbf` may lie up to [`AHEAD_TOLERANCE`] ahead. Limits on the age or lifetime of a token
    /// are policy, and are not checked here.
    ///
    /// # Errors
    /// The first of: a malformed claim, no `exp`, expired, not yet valid, issued in the future.
    pub fn times(&self, now: Timestamp) -> Result<Times, TimeError> {
        let exp = self.numeric_date("exp")?;
        let iat = self.numeric_date("iat")?;
        let nbf = self.numeric_date("nbf")?;
        let exp = exp.ok_or(TimeError::ExpMissing)?;
        if now >= exp {
            return Err(TimeError::Expired);
        }
        let latest = now.checked_add(AHEAD_TOLERANCE).unwrap_or(Timestamp::MAX);
        if nbf.is_some_and(|nbf| nbf > latest) {
            return Err(TimeError::NotYetValid);
        }
        if iat.is_some_and(|iat| iat > latest) {
            return Err(TimeError::IssuedInFuture);
        }
        Ok(Times { exp, iat, nbf })
    }
}
