//! Readiness: true if tokens can be issued, by what the server already knows. The check costs no
//! I/O.

use std::sync::atomic::Ordering;

use super::Sts;

/// The maximum age of the database's last answer, in milliseconds.
const SILENT_MILLISECONDS: i64 = 5_000;

impl Sts {
    /// Returns true if tokens can be issued: the database has answered and committed within the last
    /// seconds, it is as synchronous as configured, the snapshot is confirmed, the clocks agree, and
    /// a key is active.
    #[must_use]
    pub fn readiness(&self) -> bool {
        let is_heard = (-SILENT_MILLISECONDS..SILENT_MILLISECONDS).contains(&self.database_clock.silence(self.now()));
        let is_durable = !self.recorder.is_stalled() && self.is_synchronous.load(Ordering::Relaxed);
        is_heard
            && is_durable
            && self.is_trusted()
            && !self.database_clock.is_far_apart()
            && self.snapshot().ring.is_able()
    }
}
