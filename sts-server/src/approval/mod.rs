//! Approvals: what a person must decide on before a token is issued.
//!
//! What lives here: the content of an approval and its digest (`content`), the approvals as requests
//! read them (`snapshot`) and as they are shown (`seen`), in pages (`page`), and the rules of decisions (`decision`). What must never: the rule that
//! a token needs an approval, which is in `policy`; and I/O.

mod content;
mod decision;
mod page;
mod seen;
mod snapshot;

pub use content::ApprovalContent;
pub use decision::{ApprovalAct, DecidedBy, UndecidableError};
pub use page::{ApprovalList, ApprovalPage};
pub use seen::SeenApproval;
pub use snapshot::{Approval, Approvals, KnownApproval};

use jiff::SignedDuration;

/// The most approvals that may be requested for one user in [`QUOTA_PERIOD`], and the most that may
/// wait for the user, so that a user is not asked until they tire.
pub const QUOTA: u32 = 30;
/// The most approvals that wait for a decision, of all users. Decided ones do not count.
pub const MOST_PENDING: u32 = 10_000;
/// The most approvals of one user that are open: they wait, or are granted and remembered. Closed ones do
/// not count, so that an agent whose requests are denied or expire cannot lock the user out.
pub const MOST_OPEN_OF_USER: u32 = 300;
/// The most approvals that are granted and remembered, of all users, when another one is requested.
pub const MOST_GRANTED: u32 = 10_000;
/// The period of [`QUOTA`].
pub const QUOTA_PERIOD: SignedDuration = SignedDuration::from_hours(1);
