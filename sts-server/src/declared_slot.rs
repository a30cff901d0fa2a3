//! The slot of a token whose type the request declares.

use sts_jose::Slot;
use sts_protocol::TokenType;

/// Returns the slot for tokens of a declared type (RFC 8693 §3).
pub(crate) fn declared_slot(declared: TokenType) -> Slot {
    match declared {
        TokenType::AccessToken | TokenType::Jwt => Slot::AccessToken,
        TokenType::IdToken => Slot::IdToken,
    }
}
