//! Typed outcomes: the answers of an agent that did not do the requested work, with a reason that
//! the caller can act on.
//!
//! The calling agent gets an [`Outcome`]. It has no accessor that ignores the other case. To get
//! the value, the agent matches on the outcome, or calls [`Outcome::settle`], which turns the other
//! case into the agent's own [`Answer`].
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
//! No other method returns the value; this does not compile:
//!
//! ```compile_fail,E0599
//! # use sts_client::outcome::{Outcome, Success};
//! fn swallowed(asked: Outcome<Success>) -> Option<Success> {
//!     asked.ok()
//! }
//! ```
//!
//! Dropping an outcome unused does not compile either, if unused results are denied:
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
//! The format is the Agentic REST Response Profile of YAAgents. `type` and media type must agree
//! with the status. An answer in which they differ is not an outcome, and never a success.
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
//! If two names are listed, the first is sent. Every body is `{type, code, message, trace:
//! {correlationId, requestId}}` plus the members of the variant.
//!
//! What lives here:
//! - the types (`mod`);
//! - their format (`wire`);
//! - the reading (`read`) and writing (`answer`) of answers;
//! - the translation by an agent in the middle (`translate`).
//!
//! What must never: a client or a server. For another kind of outcome, add a variant of [`Halted`]
//! and a row of `wire`.

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
use url::Url;

/// The outcome of a call: the value, or the reason why there is none.
///
/// ```
/// use sts_client::http::{HeaderMap, StatusCode};
/// use sts_client::outcome::{Halted, Outcome};
///
/// let asked = Outcome::read(StatusCode::OK, HeaderMap::new(), b"40".to_vec()).json::<u32>();
/// assert_eq!(asked, Outcome::Done(40));
/// let asked = Outcome::read(StatusCode::FORBIDDEN, HeaderMap::new(), Vec::new());
/// assert!(matches!(asked, Outcome::Halted(Halted::Forbidden(_))));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a halted call did not run its operation"]
pub enum Outcome<T> {
    /// The call succeeded, with this value.
    Done(T),
    /// The call has no value, or no value yet.
    Halted(Halted),
}

/// The reason why a call has no value. An agent that serves others can return it
/// ([`Halted::answer`]).
///
/// ```
/// use std::time::Duration;
/// use sts_client::outcome::Halted;
///
/// /// The delay before a retry, if one makes sense.
/// fn retry(halted: &Halted) -> Option<Duration> {
///     match halted {
///         Halted::FailedDependency(failure) => failure.retry_after,
///         Halted::Conflict(conflict) => conflict.retry_after,
///         _ => None,
///     }
/// }
/// assert_eq!(retry(&Halted::forbidden("NO_STOCK_SCOPE", "the token lacks stock:read")), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the answer must be returned to the caller"]
pub enum Halted {
    /// The operation continues asynchronously.
    Operation(PendingOperation),
    /// The request needs more information.
    ClarificationRequired(Clarification),
    /// A value in the request is invalid.
    ValidationFailed(Validation),
    /// The request needs an approval first.
    ApprovalRequired(Box<Approval>),
    /// The caller has no permission.
    Forbidden(Detail),
    /// The request conflicts with the current state.
    Conflict(Conflict),
    /// A dependency failed. The caller may retry.
    FailedDependency(Failure),
    /// The agent itself failed.
    Error(Detail),
}

/// The code and message that every outcome has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// The code for programs: 1 to 128 of `[A-Za-z0-9_.:-]`.
    pub code: String,
    /// The message for people: up to 4,096 characters, no control characters except tab and line
    /// feed.
    pub message: String,
}

/// An operation that continues asynchronously.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingOperation {
    /// The code and the message.
    pub detail: Detail,
    /// The identifier of the operation.
    pub operation_id: String,
    /// The URL that reports the status of the operation; may be relative.
    pub status_url: String,
}

/// The information that the request lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clarification {
    /// The code and the message.
    pub detail: Detail,
    /// The missing inputs; at least one.
    pub required_inputs: Vec<RequiredInput>,
}

/// An input that the caller must supply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredInput {
    /// The name of the field.
    pub name: String,
    /// The part of the request that holds the field.
    pub location: Location,
    /// The JSON type of the value.
    pub input_type: InputType,
    /// True if the field is required.
    pub required: bool,
    /// The question to ask the user.
    pub question: String,
    /// The allowed values, if they are limited.
    pub allowed_values: Option<Vec<String>>,
}

/// The part of a request that holds a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// The request body.
    Body,
    /// The query of the URL.
    Query,
    /// The path of the URL.
    Path,
    /// The request headers.
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

/// The invalid values of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// The code and the message.
    pub detail: Detail,
    /// The invalid fields; may be empty.
    pub errors: Vec<FieldError>,
}

/// The error of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The name of the field.
    pub field: String,
    /// The description of the error.
    pub message: String,
}

/// The approval that a request needs.
///
/// ```
/// use sts_client::outcome::Halted;
/// use sts_client::url::Url;
///
/// /// The page to which an agent sends its user.
/// fn page(halted: &Halted) -> Option<&Url> {
///     let Halted::ApprovalRequired(approval) = halted else { return None };
///     approval.interaction_uri.as_ref()
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Approval {
    /// The code and the message.
    pub detail: Detail,
    /// The token that the approver presents to continue the request. A secret: no `Debug` shows it. For
    /// an approval of the STS it is the id, because the approver presents a token of its own.
    pub approval_token: String,
    /// The approver, if known. An approval of the STS says `user` or `operator`.
    pub approver: Option<String>,
    /// The id of the approval at the STS.
    pub approval_id: Option<String>,
    /// The page on which the approver decides.
    pub interaction_uri: Option<Url>,
}

/// The conflict of a request with the current state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The code and the message.
    pub detail: Detail,
    /// The resource that the request conflicts with, if known.
    pub conflicting_resource_id: Option<String>,
    /// `Retry-After`, if the conflict is temporary.
    pub retry_after: Option<Duration>,
}

/// The failure of a dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The code and the message.
    pub detail: Detail,
    /// `Retry-After`, if known.
    pub retry_after: Option<Duration>,
}

impl<T> Outcome<T> {
    /// Returns the value, or the agent's own answer. In a handler: `let stock =
    /// asked.settle(&inventory, &trace)?;`
    ///
    /// ```
    /// use sts_client::outcome::{Answer, Outcome, Trace, Translator};
    ///
    /// fn left(asked: Outcome<u32>, trace: &Trace) -> Result<String, Answer> {
    ///     let stock = asked.settle(&Translator::of("inventory"), trace)?;
    ///     Ok(format!("{stock} left"))
    /// }
    /// ```
    ///
    /// # Errors
    /// The translation of the reason by [`Translator::translate`].
    pub fn settle(self, translator: &Translator, trace: &Trace) -> Result<T, Answer> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Halted(halted) => Err(translator.translate(halted).answer(trace)),
        }
    }

    /// Changes the value. An [`Outcome::Halted`] stays unchanged.
    ///
    /// ```
    /// use sts_client::outcome::Outcome;
    ///
    /// assert_eq!(Outcome::Done(40).map(|packets| packets * 50), Outcome::Done(2_000));
    /// ```
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Done(value) => Outcome::Done(change(value)),
            Self::Halted(halted) => Outcome::Halted(halted),
        }
    }
}

impl Detail {
    /// Makes a code and a message. Parts that a reader would reject are cut off or replaced.
    ///
    /// ```
    /// use sts_client::outcome::Detail;
    ///
    /// let detail = Detail::new("NO STOCK!", "none\u{7}left");
    /// assert_eq!((detail.code.as_str(), detail.message.as_str()), ("NOSTOCK", "none left"));
    /// ```
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
    /// Makes a [`Halted::FailedDependency`].
    pub fn failed_dependency(code: &str, message: &str, retry_after: Option<Duration>) -> Self {
        Self::FailedDependency(Failure { detail: Detail::new(code, message), retry_after })
    }

    /// Makes a [`Halted::Forbidden`].
    pub fn forbidden(code: &str, message: &str) -> Self {
        Self::Forbidden(Detail::new(code, message))
    }

    /// Makes a [`Halted::Error`].
    pub fn error(code: &str, message: &str) -> Self {
        Self::Error(Detail::new(code, message))
    }

    /// Makes a [`Halted::Conflict`].
    pub fn conflict(code: &str, message: &str, retry_after: Option<Duration>) -> Self {
        Self::Conflict(Conflict { detail: Detail::new(code, message), conflicting_resource_id: None, retry_after })
    }

    /// Returns the code and the message.
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

    /// Makes the response to a request.
    ///
    /// ```
    /// use sts_client::{CallContext, SystemEntropy};
    /// use sts_client::outcome::{Halted, Trace};
    ///
    /// let trace = Trace::from(&CallContext::without_user(None, &SystemEntropy));
    /// let answer = Halted::forbidden("NO_STOCK_SCOPE", "the token lacks stock:read").answer(&trace);
    /// let response = answer.to_response::<Vec<u8>>();
    /// assert_eq!(response.status(), 403);
    /// assert_eq!(answer.to_value()["trace"]["correlationId"], trace.correlation_id());
    /// ```
    pub fn answer(self, trace: &Trace) -> Answer {
        Answer::new(self, trace.clone())
    }
}

impl fmt::Debug for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Approval")
            .field("detail", &self.detail)
            .field("approver", &self.approver)
            .field("approval_id", &self.approval_id)
            .field("interaction_uri", &self.interaction_uri)
            .finish_non_exhaustive()
    }
}
