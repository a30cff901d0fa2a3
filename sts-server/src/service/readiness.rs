//! Readiness: whether tokens can be issued, by what is known already. Asking costs no I/O.

use super::Sts;

/// The greatest age of the database's last answer, in milliseconds.
const SILENT_MILLISECONDS: i64 = 5_000;

impl Sts {
    /// True if tokens can be issued: the database has answered within the last seconds, the view of it is confirmed, its clock agrees with
    /// ours, and a key is active.
    #[must_use]
    pub fn readiness(&self) -> bool {
        let is_heard = (-SILENT_MILLISECONDS..SILENT_MILLISECONDS).contains(&self.database_clock.silence(self.now()));
        is_heard && self.is_trusted() && !self.database_clock.is_far_apart() && self.snapshot().ring.is_able()
    }
}
