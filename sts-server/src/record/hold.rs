//! Holds, and revocations without an end, as a revocation's row stores them.
//!
//! A block refuses what was issued at or before its `at`. A hold is a block whose `at` lies [`AHEAD`] in the future, so that every
//! token of today was issued before it; the moment when it was made can still be read from it.

use jiff::{SignedDuration, Timestamp};

/// How far in the future the `at` of a hold lies: some 5,000 years, in hours.
const AHEAD: SignedDuration = SignedDuration::from_hours(43_830_000);

/// An `at` from this moment on, the beginning of the year 5000, is that of a hold.
pub(super) const HOLDS_BEGIN: Timestamp = Timestamp::constant(95_617_584_000, 0);

/// When a revocation expires that stands until it is lifted: in the year 9987.
pub const UNTIL_LIFTED: Timestamp = Timestamp::constant(253_000_000_000, 0);

/// The `at` of a hold that is made now.
#[must_use]
pub fn hold_at(now: Timestamp) -> Timestamp {
    now.checked_add(AHEAD).unwrap_or(UNTIL_LIFTED).clamp(HOLDS_BEGIN, UNTIL_LIFTED)
}

/// When the hold of this `at` was made; none of a block.
#[must_use]
pub fn held_since(at: Timestamp) -> Option<Timestamp> {
    if at < HOLDS_BEGIN { None } else { Some(at.checked_sub(AHEAD).unwrap_or(at)) }
}
