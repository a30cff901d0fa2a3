//! Bounds of audit reads, the same in every database.

/// The time by which an event with a smaller id may be later than another, in milliseconds: the clocks of two servers that are
/// ready differ by two minutes at most, and a decision waits less than one for its commit.
pub(super) const DISORDER_MILLISECONDS: i64 = 3 * 60 * 1000;

/// The most events that are read for that: a search by time has a bound on its cost too.
pub(super) const DISORDER_ROWS: i64 = 100_000;
