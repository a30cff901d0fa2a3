//! Errors as one line of text.

use std::iter::successors;

/// Returns the message of an error and those of its causes, joined by `": "`.
///
/// ```
/// let error = "x".parse::<u8>().unwrap_err();
/// assert_eq!(sts_jose::error_chain(&error), "invalid digit found in string");
/// ```
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
