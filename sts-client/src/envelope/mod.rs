//! Sealed messages between agents. The caller signs them, they are encrypted to the recipient, and
//! they are bound to the delegated token that travels with them.
//!
//! [`Envelopes`] seals ([`Envelopes::seal`]) and opens ([`Envelopes::open`]). [`Opened`] reads the
//! payload and seals the answer. [`Awaiting`] opens that answer.
//!
//! What lives here:
//! - the order of the checks (`open`), and each check with its [`Reason`] (`checks`);
//! - the signed fields, written and read (`claims`);
//! - encryption (`jwe`);
//! - keys and their rotation (`keys`), and their file (`key_file`);
//! - single use (`once`), and approvals: of the recipient (`approvals`), and of the STS
//!   (`approved_action`).
//!
//! What must never live here: the verification of tokens (`inbound` makes the [`crate::Caller`]
//! that opening needs), HTTP, and the decryption of a payload before every check has passed. For
//! another check, add a function in `checks`, a [`Reason`] and a line in `open`.
//! `docs/secure-messages.md` of the repository describes the format.

mod answer;
mod approvals;
mod approved_action;
mod awaiting;
mod boundaries;
mod capability;
mod checks;
mod claims;
mod draft;
mod jwe;
mod key_error;
mod key_file;
mod keys;
mod once;
mod open;
mod party;
mod payload;
mod refusal;
mod seal;

pub use answer::ServeError;
pub use approvals::{ApprovalDesk, Approvals, ApprovalsUnavailable, Operation};
pub use awaiting::{AnswerError, Awaiting};
pub use capability::{Capability, Needs, UnknownCapability};
pub use draft::{MAX_ENVELOPE_BYTES, SealError};
pub use jwe::{DecryptionKey, DecryptionKeyError, EncryptError, Undecryptable};
pub use key_error::{AgentKeysError, KeyFileError};
pub use keys::AgentKeys;
pub use once::MAX_ANSWER_BYTES;
pub use open::Opened;
pub use party::{Decryptions, Envelopes, EnvelopesBuilder, Peer};
pub use payload::SchemaError;
pub use refusal::{OpenError, Reason, Refusal};
pub use seal::{Message, Sealed};
