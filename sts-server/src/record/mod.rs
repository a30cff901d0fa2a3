//! What is committed before an answer goes: the token's row, its audit event, the values that count once.
//!
//! What lives here: the audit event (`event`) and its bounds (`bounds`), the chain that seals it (`chain`) and the check of that chain
//! (`verify`), the revocations as requests read them (`revocations`), with what of each credential they can be about (`credential`) and
//! how a hold is stored (`hold`), and the recorder that commits many decisions at once (`recorder`). What must
//! never: decisions. A new audit field is a field of [`Event`] and a row of the table in `docs/audit.md`.

mod bounds;
mod chain;
mod credential;
mod event;
mod hold;
mod recorder;
mod revocations;
mod verify;

pub use bounds::{DETAIL_CHARS, EVENT_BYTES, TEXT_CHARS, cut, cut_detail};
pub use chain::AuditWriter;
pub use event::{Event, EventKind};
pub use hold::{UNTIL_LIFTED, held_since, hold_at};
pub use recorder::{RecordError, Recorder, Submission, Verdict, Writer, revoked_reason};
pub use revocations::{Revocations, Standing};
pub use verify::{AuditFault, AuditReport, event_of, verify};
