//! The reason for a refusal, as a code.

use std::borrow::Cow;
use std::fmt;

/// The reason for a refusal: an OAuth error code, at most 64 characters of RFC 6749 §5.2 without
/// spaces.
///
/// ```
/// use sts_client::RefusalCode;
///
/// fn must_log_in_again(code: &RefusalCode) -> bool {
///     [RefusalCode::INVALID_TOKEN, RefusalCode::LOGIN_REQUIRED].contains(code)
/// }
/// assert!(!must_log_in_again(&RefusalCode::from_answer("invalid_target")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefusalCode(Cow<'static, str>);

/// The maximum length of a code, in characters.
const MAX_CODE_CHARS: usize = 64;

impl RefusalCode {
    /// The inbound token is invalid or has expired (RFC 6750 §3.1): 401 to the caller.
    pub const INVALID_TOKEN: Self = Self(Cow::Borrowed("invalid_token"));
    /// The route requires a user and the call has none (OpenID Connect Core 1.0 §3.1.2.6).
    pub const LOGIN_REQUIRED: Self = Self(Cow::Borrowed("login_required"));
    /// The service account may not act for that tenant.
    pub const INVALID_TENANT: Self = Self(Cow::Borrowed("invalid_tenant"));
    /// No authorization detail permits the call (RFC 9396 §5).
    pub const INVALID_AUTHORIZATION_DETAILS: Self = Self(Cow::Borrowed("invalid_authorization_details"));
    /// The STS did not send a token for this request: another audience, subject, tenant or actor,
    /// or an unreadable answer.
    pub const INVALID_RESPONSE: Self = Self(Cow::Borrowed("invalid_response"));

    /// Returns the code of an answer; [`Self::INVALID_RESPONSE`] if it is not a valid code.
    ///
    /// ```
    /// use sts_client::RefusalCode;
    ///
    /// assert_eq!(RefusalCode::from_answer("invalid_target").as_str(), "invalid_target");
    /// assert_eq!(RefusalCode::from_answer("not a code"), RefusalCode::INVALID_RESPONSE);
    /// ```
    #[must_use]
    pub fn from_answer(code: &str) -> Self {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if code.is_empty() || code.len() > MAX_CODE_CHARS || !code.bytes().all(allowed) {
            return Self::INVALID_RESPONSE;
        }
        Self(Cow::Owned(code.to_owned()))
    }

    /// Returns the code as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_could_forge_a_log_line_is_not_taken_over() {
        for code in ["", "a b", "a\nb", "a\"b", "a\\b", "ä", &"x".repeat(65)] {
            assert_eq!(RefusalCode::from_answer(code), RefusalCode::INVALID_RESPONSE, "{code:?}");
        }
        assert_eq!(RefusalCode::from_answer("invalid_scope").as_str(), "invalid_scope");
    }
}
