//! A token in readable form, for operators. It is shown even if it is invalid.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::{alphabet, engine::DecodePaddingMode};
use serde_json::{Map, Value};

/// The longest token that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Accepts padding and spare bits. Tokens are refused for these elsewhere, but are still shown
/// here.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The unverified content of a token, for logs and for operators who ask for the reason of a
/// refusal. **Nothing in it is verified or known to be well-formed**: no decision may read it.
/// `Debug` shows no values.
pub struct ReadableToken {
    header: Map<String, Value>,
    claims: Option<Map<String, Value>>,
    segments: usize,
}

/// The protection of a token, according to its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// The token is signed with a private key.
    Signed,
    /// The token is signed with a shared secret, so no public key verifies it.
    Symmetric,
    /// The token is not signed (`alg` is `none`, or absent).
    None,
    /// The token is encrypted (RFC 7516).
    Encrypted,
}

impl ReadableToken {
    /// Reads the header of a token, and its claims if they are readable. Surrounding white space
    /// and a leading `Bearer` are dropped.
    ///
    /// Returns `None` for an opaque token: a text without a JOSE header, or a text longer than 64
    /// KiB.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let token = match text.split_at_checked(6) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && token.starts_with([' ', '\t']) => token,
            _ => text,
        };
        let token = token.trim_ascii();
        let segments: Vec<&str> = token.split('.').take(6).collect();
        if token.len() > MAX_BYTES || !matches!(segments.len(), 2 | 3 | 5) {
            return None;
        }
        let header = object(segments.first()?)?;
        let claims = segments.get(1).filter(|_| segments.len() != 5).and_then(|payload| object(payload));
        Some(Self { header, claims, segments: segments.len() })
    }

    /// Returns the members of the header.
    #[must_use]
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// Returns the claims, or `None` if the token is encrypted or its payload is not a JSON object.
    #[must_use]
    pub fn claims(&self) -> Option<&Map<String, Value>> {
        self.claims.as_ref()
    }

    /// Returns the protection that the header names.
    #[must_use]
    pub fn protection(&self) -> Protection {
        let algorithm = self.header.get("alg").and_then(Value::as_str);
        match algorithm {
            _ if self.segments == 5 => Protection::Encrypted,
            None => Protection::None,
            Some(none) if none.eq_ignore_ascii_case("none") => Protection::None,
            Some(hmac) if hmac.starts_with("HS") => Protection::Symmetric,
            Some(_) => Protection::Signed,
        }
    }
}

impl std::fmt::Debug for ReadableToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadableToken").field("protection", &self.protection()).finish_non_exhaustive()
    }
}

fn object(segment: &str) -> Option<Map<String, Value>> {
    // Some issuers write the standard alphabet.
    let bytes = TOLERANT.decode(segment.replace('+', "-").replace('/', "_")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn what_is_refused_elsewhere_is_read_here() {
        for (header, protection) in [
            (r#"{"alg":"ES256"}"#, Protection::Signed),
            (r#"{"alg":"ES256","crit":["x"]}"#, Protection::Signed),
            (r#"{"alg":"HS256"}"#, Protection::Symmetric),
            (r#"{"alg":"nOnE"}"#, Protection::None),
            (r"{}", Protection::None),
        ] {
            let read = ReadableToken::read(&token(header, r#"{"iss":"a","iss":"b"}"#)).unwrap();
            assert_eq!((read.protection(), &read.claims().unwrap()["iss"]), (protection, &"b".into()), "{header}");
        }
        let padded = format!("{}.{}.x", STANDARD.encode(r#"{"alg":"RS256"}"#), STANDARD.encode(r#"{"sub":"??>"}"#));
        let read = ReadableToken::read(&format!(" bearer {padded}\n")).unwrap();
        assert_eq!(read.claims().unwrap()["sub"], "??>");
    }

    #[test]
    fn an_encrypted_token_shows_its_header_alone() {
        let token = format!("{}.a.b.c.d", URL_SAFE_NO_PAD.encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#));
        let read = ReadableToken::read(&token).unwrap();
        assert_eq!((read.protection(), read.claims()), (Protection::Encrypted, None));
        assert_eq!(read.header()["enc"], "A256GCM");
    }

    #[test]
    fn a_text_without_a_header_is_opaque() {
        let long = token(r#"{"alg":"ES256"}"#, &" ".repeat(MAX_BYTES));
        for text in
            ["", "x", "a.b.c", "a.b.c.d", ".", "..", "W10.e30.x", "gho_16C7e42F292c6912E7710c838347Ae178B4a", &long]
        {
            assert!(ReadableToken::read(text).is_none(), "{text:?}");
        }
    }
}
