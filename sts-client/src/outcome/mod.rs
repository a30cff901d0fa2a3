//! Typed outcomes: what an agent answers when it has not done what it was asked, and why, so that the next one can act on it.
//!
//! The agent that called gets an [`Outcome`]. It has no accessor that forgets: whoever wants the value matches, and so has the other
//! case in hand, or calls [`Outcome::settle`], which turns it into the agent's own [`Answer`].
//!
//! ```
//! use sts_client::outcome::{Answer, Halted, Location, Outcome, Success, Trace, Translator};
//!
//! /// An agent in the middle: what the inventory could not do becomes its own answer.
//! fn offer(asked: Outcome<Success>, trace: &Trace) -> Result<u32, Answer> {
//!     let inventory = Translator::of("inventory").field("sku", "product", Location::Body);
//!     asked.json().settle(&inventory, trace)
//! }
//!
//! /// One that looks closer.
//! fn is_left(asked: Outcome<Success>) -> bool {
//!     match asked {
//!         Outcome::Done(_) => true,
//!         Outcome::Halted(Halted::Conflict(_)) => false,
//!         Outcome::Halted(_) => true,
//!     }
//! }
//! ```
//!
//! Nothing else reads the value; this does not compile:
//!
//! ```compile_fail,E0599
//! # use sts_client::outcome::{Outcome, Success};
//! fn swallowed(asked: Outcome<Success>) -> Option<Success> {
//!     asked.ok()
//! }
//! ```
//!
//! and neither does dropping one unseen, where unused results are denied:
//!
//! ```compile_fail
//! #![deny(unused_must_use)]
//! # use sts_client::outcome::{Outcome, Success};
//! fn forgotten(ask: impl Fn() -> Outcome<Success>) {
//!     ask();
//! }
//! ```
//!
//! # On the wire
//!
//! The Agentic REST Response Profile of YAAgents. `type` and media type must agree with the status; what does not is no outcome, and
//! never a success.
//!
//! | variant | status | `type` | media type: `application/vnd.yaagents.…` |
//! |---|---|---|---|
//! | [`Outcome::Done`] | 2xx, not 202 | – | any but these |
//! | [`Halted::Operation`] | 202 | `operation_accepted`; `operation` is read too | `operation+json` |
//! | [`Halted::ClarificationRequired`] | 400 | `clarification_required` | `clarification+json` |
//! | [`Halted::Forbidden`] | 403 | `forbidden` | `error+json` |
//! | [`Halted::Conflict`] | 409 | `conflict` | `conflict+json` |
//! | [`Halted::ApprovalRequired`] | 412 | `approval_required` | `approval-required+json`; `approval+json` is read too |
//! | [`Halted::ValidationFailed`] | 422 | `validation_failed`; `validation_error` is read too | `validation-error+json` |
//! | [`Halted::FailedDependency`] | 424 | `failed_dependency` | `error+json` |
//! | [`Halted::Error`] | 500 | `error` | `error+json` |
//!
//! The first of two is what is sent. Every body is `{type, code, message, trace: {correlationId, requestId}}` and what the variant adds.
//!
//! What lives here: the types (`mod`), their form (`wire`), how answers are read (`read`) and made (`answer`), and what an agent in the
//! middle makes of them (`translate`). What must never: a client or a server. Another kind of outcome is a variant of [`Halted`] and a row
//! of `wire`.

mod answer;
mod members;
mod read;
mod trace;
mod translate;
mod wire;

use std::fmt;
use std::time::Duration;

pub use answer::{Answer, X_REQUEST_ID};
pub use read::{MAX_OUTCOME_BYTES, Success};
pub use trace::Trace;
pub use translate::Translator;

/// What came of a call: the value, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a call that halted has not done what it was asked"]
pub enum Outcome<T> {
    /// It is done.
    Done(T),
    /// It is not, or not yet.
    Halted(Halted),
}

/// Why a call has no value. An agent that serves others answers with one ([`Halted::answer`]).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "whoever asked is told why there is no value"]
pub enum Halted {
    /// It goes on elsewhere.
    Operation(Operation),
    /// Something must be said first.
    ClarificationRequired(Clarification),
    /// Something that was said is wrong.
    ValidationFailed(Validation),
    /// Somebody must agree first.
    ApprovalRequired(Approval),
    /// The caller may not.
    Forbidden(Detail),
    /// The state of things is against it.
    Conflict(Conflict),
    /// Somebody on whom it depends did not do their part. One may try again.
    FailedDependency(Failure),
    /// The agent itself is at fault.
    Error(Detail),
}

/// What every outcome says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// For programs: 1 to 128 of `[A-Za-z0-9_.:-]`.
    pub code: String,
    /// For people: up to 4,096 characters, no control characters but tab and line feed.
    pub message: String,
}

/// An operation that goes on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Code and message.
    pub detail: Detail,
    /// Which one.
    pub operation_id: String,
    /// Where to ask after it; may be relative.
    pub status_url: String,
}

/// What must be said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clarification {
    /// Code and message.
    pub detail: Detail,
    /// What is missing; at least one.
    pub required_inputs: Vec<RequiredInput>,
}

/// One thing that must be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredInput {
    /// How the field is called.
    pub name: String,
    /// Where in the request it goes.
    pub location: Location,
    /// What it must be.
    pub input_type: InputType,
    /// Whether it can be left out.
    pub required: bool,
    /// What to ask the user.
    pub question: String,
    /// What it may be, where not everything is allowed.
    pub allowed_values: Option<Vec<String>>,
}

/// Where in a request a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the body.
    Body,
    /// In the query.
    Query,
    /// In the path.
    Path,
    /// Among the headers.
    Header,
}

/// The JSON type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the types of JSON")]
pub enum InputType {
    String,
    Integer,
    Boolean,
    Array,
    Object,
}

/// What was wrong in what was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// Code and message.
    pub detail: Detail,
    /// Field by field; may be empty.
    pub errors: Vec<FieldError>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Its name.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// Who must agree first.
#[derive(Clone, PartialEq, Eq)]
pub struct Approval {
    /// Code and message.
    pub detail: Detail,
    /// What the approver shows to let it go on. A secret: no `Debug` shows it.
    pub approval_token: String,
    /// Who, where that is known.
    pub approver: Option<String>,
}

/// What stands against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Code and message.
    pub detail: Detail,
    /// With what, where that is known.
    pub conflicting_resource_id: Option<String>,
    /// `Retry-After`, where the conflict goes away by itself.
    pub retry_after: Option<Duration>,
}

/// Whose part was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Code and message.
    pub detail: Detail,
    /// `Retry-After`, where it is known.
    pub retry_after: Option<Duration>,
}

impl<T> Outcome<T> {
    /// The value, or else the agent's own answer. In a handler: `let stock = asked.settle(&inventory, &trace)?;`
    ///
    /// # Errors
    /// What [`Translator::translate`] makes of it.
    pub fn settle(self, translator: &Translator, trace: &Trace) -> Result<T, Answer> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Halted(halted) => Err(translator.translate(halted).answer(trace)),
        }
    }

    /// With another value. What has halted stays as it is.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Done(value) => Outcome::Done(change(value)),
            Self::Halted(halted) => Outcome::Halted(halted),
        }
    }
}

impl Detail {
    /// Code and message. What a reader would not accept is cut off or replaced.
    pub fn new(code: &str, message: &str) -> Self {
        let is_code = |char: &char| char.is_ascii_alphanumeric() || "_.:-".contains(*char);
        let mut code: String = code.chars().filter(is_code).take(members::MAX_CODE_CHARS).collect();
        if code.is_empty() {
            "UNSPECIFIED".clone_into(&mut code);
        }
        let printable = |char: char| if members::is_printable(char) { char } else { ' ' };
        Self { code, message: message.chars().map(printable).take(members::MAX_MESSAGE_CHARS).collect() }
    }
}

impl Halted {
    /// [`Halted::FailedDependency`].
    pub fn failed_dependency(code: &str, message: &str, retry_after: Option<Duration>) -> Self {
        Self::FailedDependency(Failure { detail: Detail::new(code, message), retry_after })
    }

    /// [`Halted::Forbidden`].
    pub fn forbidden(code: &str, message: &str) -> Self {
        Self::Forbidden(Detail::new(code, message))
    }

    /// [`Halted::Error`].
    pub fn error(code: &str, message: &str) -> Self {
        Self::Error(Detail::new(code, message))
    }

    /// [`Halted::Conflict`].
    pub fn conflict(code: &str, message: &str, retry_after: Option<Duration>) -> Self {
        Self::Conflict(Conflict { detail: Detail::new(code, message), conflicting_resource_id: None, retry_after })
    }

    /// Code and message.
    #[must_use]
    pub fn detail(&self) -> &Detail {
        match self {
            Self::Operation(operation) => &operation.detail,
            Self::ClarificationRequired(clarification) => &clarification.detail,
            Self::ValidationFailed(validation) => &validation.detail,
            Self::ApprovalRequired(approval) => &approval.detail,
            Self::Conflict(conflict) => &conflict.detail,
            Self::FailedDependency(failure) => &failure.detail,
            Self::Forbidden(detail) | Self::Error(detail) => detail,
        }
    }

    /// This, as the answer to a request.
    pub fn answer(self, trace: &Trace) -> Answer {
        Answer::new(self, trace.clone())
    }
}

impl fmt::Debug for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approval")
            .field("detail", &self.detail)
            .field("approver", &self.approver)
            .finish_non_exhaustive()
    }
}
