//! The stored form of holds and of revocations without an expiry.
//!
//! A block rejects tokens issued at or before its `at`. A hold is a block whose `at` lies [`AHEAD`]
//! in the future, so that every token is issued before it. The hold was made at `at` minus
//! [`AHEAD`].

use jiff::{SignedDuration, Timestamp};

/// The distance of a hold's `at` from the time at which it is made: 5,000 years, in hours.
const AHEAD: SignedDuration = SignedDuration::from_hours(43_830_000);

/// The earliest `at` of a hold: the start of the year 5000.
pub(super) const HOLDS_BEGIN: Timestamp = Timestamp::constant(95_617_584_000, 0);

/// The `expires_at` of a revocation that lasts until it is lifted, in the year 9987.
pub const UNTIL_LIFTED: Timestamp = Timestamp::constant(253_000_000_000, 0);

/// Returns the `at` of a hold that is made at `now`.
#[must_use]
pub fn hold_at(now: Timestamp) -> Timestamp {
    now.checked_add(AHEAD).unwrap_or(UNTIL_LIFTED).clamp(HOLDS_BEGIN, UNTIL_LIFTED)
}

/// Returns the time at which the hold with this `at` was made, or `None` for a block.
#[must_use]
pub fn held_since(at: Timestamp) -> Option<Timestamp> {
    if at < HOLDS_BEGIN { None } else { Some(at.checked_sub(AHEAD).unwrap_or(at)) }
}
