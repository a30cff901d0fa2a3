//! Sealed messages between agents: signed by the caller, encrypted to the recipient, bound to the delegated token that travels with them.
//!
//! What lives here: [`Envelopes`] seals ([`Envelopes::seal`]) and opens ([`Envelopes::open`]); [`Opened`] reads the payload and seals the
//! answer; [`Awaiting`] opens that answer. `open` reads like the list of the checks, `checks` says what each of them is and which [`Reason`]
//! it has, `claims` writes and reads the signed fields, `jwe` encrypts, `keys` lets keys come and go, `key_file`
//! stores them, `once` and `approvals` are what was seen and approved.
//! What must never live here: the verification of tokens (`inbound` makes the [`crate::Caller`] that opening asks for), HTTP, and a
//! payload that is decrypted before every check has passed. Another check is a function of `checks`, a [`Reason`] and a line of `open`; the
//! format is described in `docs/secure-messages.md` of the repository.

mod answer;
mod approvals;
mod awaiting;
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
