//! The reasons why a request about an approval was not served.

use crate::exchange::ApproverRefusal;

/// A request about an approval was not served.
pub(super) enum Unanswered {
    /// There is no token.
    TokenMissing,
    /// The request is malformed.
    Malformed(&'static str),
    Refused(ApproverRefusal),
}

impl From<ApproverRefusal> for Unanswered {
    fn from(refusal: ApproverRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Unanswered {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::Malformed(_) => "invalid_request",
            Self::Refused(refusal) => refusal.reason(),
        }
    }
}
