//! A strict parser of `application/x-www-form-urlencoded` request bodies.

use thiserror::Error;

use crate::parameter::{self, AUDIENCE, RESOURCE};

/// The maximum number of parameters in a body.
const MAX_PARAMETERS: usize = 100;

/// The parameters of one request body (RFC 6749 §3.2).
///
/// A parameter may not be repeated, except `audience` and `resource` (RFC 8693 §2.1). A parameter
/// without a value counts as absent. White space around a token is dropped, because a token file
/// ends with a newline. Debug output shows names, never values.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

/// The body is not a form of RFC 6749 §3.2 and appendix B. The message names the parameter if it is
/// a known one.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{} {fault}", parameter.unwrap_or("a parameter"))]
pub struct FormError {
    /// The defect of the form.
    pub fault: FormFault,
    /// The parameter, if it is one of [`parameter::ALL`].
    pub parameter: Option<&'static str>,
}

/// The defect of a form.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum FormFault {
    /// `%` is not followed by two hexadecimal digits.
    #[error("has a malformed percent-encoding")]
    PercentEncoding,
    /// The decoded bytes are not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The parameter holds a raw or encoded NUL.
    #[error("contains a NUL")]
    Nul,
    /// A parameter other than `audience` and `resource` is repeated.
    #[error("is repeated")]
    Repeated,
    /// The body has too many parameters.
    #[error("is one too many")]
    TooMany,
}

impl Form {
    /// Parses a body. The caller has limited its size.
    ///
    /// # Errors
    /// [`FormError`] with the defect. No part of a bad body is kept.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (count, pair) in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).enumerate() {
            if count >= MAX_PARAMETERS {
                return Err(FormError { fault: FormFault::TooMany, parameter: None });
            }
            let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
                Some(at) => pair.split_at(at),
                None => (pair, &[][..]),
            };
            let name = decode(name).map_err(|fault| FormError { fault, parameter: None })?;
            let of_this = |fault| FormError { fault, parameter: parameter::known(&name) };
            let mut value = decode(value.strip_prefix(b"=").unwrap_or(value)).map_err(of_this)?;
            let repeatable = name == AUDIENCE || name == RESOURCE;
            if !repeatable && parameters.iter().any(|(known, _)| *known == name) {
                return Err(of_this(FormFault::Repeated));
            }
            if parameter::TOKENS.contains(&name.as_str()) && value.trim_ascii().len() < value.len() {
                value = value.trim_ascii().to_owned();
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// Returns the value of a parameter, or `None` if it is absent or empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Returns all non-empty values of a parameter, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn decode(encoded: &[u8]) -> Result<String, FormFault> {
    let decoded = if encoded.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        resolve(encoded)?
    } else {
        // A token, for example. Tokens are most of the bytes of a request.
        encoded.to_vec()
    };
    if decoded.contains(&0) {
        return Err(FormFault::Nul);
    }
    // The cause is dropped, because it holds the bytes of the request, which may be a secret.
    String::from_utf8(decoded).or(Err(FormFault::NotUtf8))
}

fn resolve(encoded: &[u8]) -> Result<Vec<u8>, FormFault> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match (bytes.next().and_then(hex_digit), bytes.next().and_then(hex_digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                (None, _) | (_, None) => return Err(FormFault::PercentEncoding),
            },
            other => *other,
        });
    }
    Ok(decoded)
}

fn hex_digit(byte: &u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let form = Form::parse(b"a=x+y%2Bz%C3%A4&b=1&&c").unwrap();
        assert_eq!(form.get("a"), Some("x y+z\u{e4}"));
        assert_eq!(form.get("b"), Some("1"));
        assert_eq!(form.get("c"), None);
        assert_eq!(form.get("d"), None);
    }

    #[test]
    fn rfc_8693_section_2_1_audience_and_resource_may_repeat() {
        let form = Form::parse(b"audience=a&audience=b&resource=&resource=c").unwrap();
        assert_eq!(form.all("audience").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn rfc_6749_section_3_2_no_other_parameter_may_repeat() {
        for body in ["scope=a&scope=a", "scope=a&scope=", "scope&scope", "sc%6fpe=a&scope=b", "unknown=1&unknown=2"] {
            assert_eq!(Form::parse(body.as_bytes()).unwrap_err().fault, FormFault::Repeated, "{body}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let many = "audience=a&".repeat(101);
        for (body, error) in [
            (&b"a=%"[..], FormFault::PercentEncoding),
            (b"a=%4", FormFault::PercentEncoding),
            (b"a=%zz", FormFault::PercentEncoding),
            (b"a=%+1", FormFault::PercentEncoding),
            (b"a=%00", FormFault::Nul),
            (b"a=\0", FormFault::Nul),
            (b"a=%ff", FormFault::NotUtf8),
            (b"\xff=a", FormFault::NotUtf8),
            (b"a=%ed%a0%80", FormFault::NotUtf8),
            (many.as_bytes(), FormFault::TooMany),
        ] {
            assert_eq!(Form::parse(body).unwrap_err().fault, error, "{body:?}");
        }
    }

    #[test]
    fn a_fault_names_the_parameter_if_it_is_a_known_one() {
        for (body, text) in [
            ("subject_token=a&subject_token=b", "subject_token is repeated"),
            ("scope=%", "scope has a malformed percent-encoding"),
            ("client_secret=%00", "client_secret contains a NUL"),
            ("hunter2=a&hunter2=b", "a parameter is repeated"),
            ("%ff=a", "a parameter is not UTF-8"),
        ] {
            assert_eq!(Form::parse(body.as_bytes()).unwrap_err().to_string(), text, "{body}");
        }
    }

    #[test]
    fn white_space_around_a_token_is_dropped_and_around_a_secret_it_is_not() {
        let form = Form::parse(b"subject_token=%0D%0A+a.b.c%0A&actor_token=+&client_secret=+s%0A").unwrap();
        assert_eq!(form.get("subject_token"), Some("a.b.c"));
        assert_eq!(form.get("actor_token"), None, "nothing but white space is nothing");
        assert_eq!(form.get("client_secret"), Some(" s\n"));
    }

    #[test]
    fn debug_shows_no_value() {
        let form = Form::parse(b"client_secret=hunter2").unwrap();
        assert_eq!(format!("{form:?}"), "{\"client_secret\"}");
    }
}
