//! The time for which a row is kept after its subject has expired.

use jiff::{SignedDuration, Timestamp};

/// The time that a row is kept after its subject has expired. Servers and databases whose clocks
/// differ by less than this agree that it has expired.
pub const CLOCK_MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Returns the time from which a row about something that expires at `expiry` may be deleted.
#[must_use]
pub fn forget_at(expiry: Timestamp) -> Timestamp {
    expiry.checked_add(CLOCK_MARGIN).unwrap_or(Timestamp::MAX)
}
