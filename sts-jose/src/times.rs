//! The one rule about time, so that no path has a laxer one.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::claims::{ClaimError, Claims};

/// How far `iat` and `nbf` may lie ahead of our clock. `exp` has no such grace: a token that has expired anywhere has
/// expired here.
pub const AHEAD_TOLERANCE: Duration = Duration::from_secs(30);

/// The times of a token that is good now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it ends.
    pub exp: Timestamp,
    /// When it was issued, if it says so.
    pub iat: Option<Timestamp>,
    /// From when it is good, if it says so.
    pub nbf: Option<Timestamp>,
}

/// Why a token is not good now. The fault of whoever presents or issued it; another try with the same token helps only
/// for [`TimeError::NotYetValid`] and [`TimeError::IssuedInFuture`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// `exp`, `iat` or `nbf` is not a moment.
    #[error("a time claim is malformed")]
    Claim(#[from] ClaimError),
    /// There is no `exp`.
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
    /// Checks `exp`, `iat` and `nbf` against `now`: `exp` is required and has no grace, `iat` and `nbf` may lie up to
    /// [`AHEAD_TOLERANCE`] ahead. How old or how long-lived a token may be is policy, and not checked here.
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
