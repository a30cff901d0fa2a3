//! Bounds of audit reads, the same in every database.

/// The most, in milliseconds, by which an event can be later than an event with a greater id. The
/// clocks of two ready servers differ by at most two minutes. A decision waits less than one minute
/// for its commit.
pub(super) const DISORDER_MILLISECONDS: i64 = 3 * 60 * 1000;

/// The maximum number of events read to cover that disorder. It bounds the cost of a search by
/// time.
pub(super) const DISORDER_ROWS: i64 = 100_000;
