//! The data that is committed before a response is sent: the token's row, its audit event and its
//! one-time values.
//!
//! What lives here: the audit event (`event`), its size limits (`bounds`), the chain that seals it
//! (`chain`), the check of that chain (`chain_check`, `verify`) and its removal (`retention`). Also the revocations as requests read them
//! (`revocations`), the parts of a credential that they match (`credential`), and the stored form
//! of a hold (`hold`), and the values that a request spends (`single_use`). The recorder (`recorder`) commits many decisions at once. What must never:
//! decisions. A new audit field is a field of [`Event`] and a row of the table in `docs/audit.md`.

mod archive;
mod audit_fault;
mod bounds;
mod chain;
mod chain_check;
mod commits;
mod credential;
mod event;
mod event_words;
mod exported;
mod hold;
mod recorder;
mod retention;
mod revocations;
mod single_use;
mod verify;

pub use archive::{ArchiveError, archive, verify_archive};
pub use audit_fault::{AuditFault, event_of};
pub use bounds::{DETAIL_CHARS, EVENT_BYTES, TEXT_CHARS, cut, cut_detail};
pub use chain::AuditWriter;
pub use event::{Event, EventKind};
pub use exported::{ExportedHead, ExportedRow};
pub use hold::{UNTIL_LIFTED, held_since, hold_at};
pub use recorder::{RecordError, Recorder, Submission, Verdict, Writer, revoked_reason};
pub use retention::{RetentionError, shorten};
pub use revocations::{Revocations, Standing};
pub use single_use::{SingleUse, SingleUseKind};
pub use verify::{AuditReport, verify};
