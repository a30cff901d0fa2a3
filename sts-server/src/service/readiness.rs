//! Readiness: true if tokens can be issued, by what the server already knows. The check costs no
//! I/O.

use super::Sts;

/// The maximum age of the database's last answer, in milliseconds.
const SILENT_MILLISECONDS: i64 = 5_000;

impl Sts {
    /// Returns true if tokens can be issued: the database has answered within the last seconds, the
    /// snapshot is confirmed, the clocks agree, and a key is active.
    #[must_use]
    pub fn readiness(&self) -> bool {
        let is_heard = (-SILENT_MILLISECONDS..SILENT_MILLISECONDS).contains(&self.database_clock.silence(self.now()));
        is_heard && self.is_trusted() && !self.database_clock.is_far_apart() && self.snapshot().ring.is_able()
    }
}
