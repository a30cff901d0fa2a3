//! Bounds of audit reads, the same in every database.

/// How much later than an event another one with a smaller id may have happened, in milliseconds: the clocks of two servers that are
/// ready differ by two minutes at most, and a decision waits less than one for its commit.
pub(super) const DISORDER_MILLISECONDS: i64 = 3 * 60 * 1000;

/// How many events are looked at for that, at most: a search by time has a bound on its cost too.
pub(super) const DISORDER_ROWS: i64 = 100_000;
