//! Headers in JSON: an array of pairs, because a name may be repeated. A byte is a character of
//! Latin-1, as in ASGI and in `fetch`.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// Headers as an array of `[name, value]`.
pub(crate) type HeaderPairs = Vec<[String; 2]>;

/// The maximum number of headers in a request.
const MAX_HEADERS: usize = 200;

/// The maximum number of headers in an answer of this process: those of a request, and those that it
/// adds, of which most are forwarded from another request.
const MAX_ANSWERED: usize = 2 * MAX_HEADERS + 16;

/// A header that cannot stand on the wire. The position is counted from 0.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum HeaderError {
    #[error("there are more than {0} headers")]
    Count(usize),
    #[error("header {0} has a name that is no token")]
    Name(usize),
    #[error("header {0} has a value with a control character, or with one that is not of Latin-1")]
    Value(usize),
}

/// Reads pairs. A line break, a colon or a space in the wrong place is an error, so that no pair can
/// become two headers.
pub(crate) fn read(pairs: &[[String; 2]]) -> Result<HeaderMap, HeaderError> {
    read_at_most(MAX_HEADERS, pairs)
}

/// Reads pairs that an answer of this process gave.
pub(crate) fn read_answered(pairs: &[[String; 2]]) -> Result<HeaderMap, HeaderError> {
    read_at_most(MAX_ANSWERED, pairs)
}

fn read_at_most(max: usize, pairs: &[[String; 2]]) -> Result<HeaderMap, HeaderError> {
    if pairs.len() > max {
        return Err(HeaderError::Count(max));
    }
    let mut headers = HeaderMap::new();
    for (position, [name, value]) in pairs.iter().enumerate() {
        // Neither cause says more than the position does.
        let name = HeaderName::from_bytes(name.as_bytes()).or(Err(HeaderError::Name(position)))?;
        headers.append(name, value_of(value).ok_or(HeaderError::Value(position))?);
    }
    Ok(headers)
}

fn value_of(text: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = text.chars().map(|char| u8::try_from(char).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

/// Writes headers as pairs.
pub(crate) fn write(headers: &HeaderMap) -> HeaderPairs {
    headers.iter().map(|(name, value)| [name.as_str().to_owned(), text_of(value)]).collect()
}

fn text_of(value: &HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_could_become_two_headers_is_refused() {
        for [name, value] in [
            ["authorization", "Bearer a\r\nx-tenant-id: evil"],
            ["authorization", "a\nb"],
            ["authorization", "a\0b"],
            ["authorization", "€"],
            ["authorization\r\nx-tenant-id", "evil"],
            ["authorization:", "a"],
            [":authority", "evil"],
            ["author ization", "a"],
            [" authorization", "a"],
            ["", "a"],
            ["authorizatiön", "a"],
        ] {
            let pair = [name.to_owned(), value.to_owned()];
            assert!(read(&[pair]).is_err(), "{name:?}: {value:?}");
        }
        let many = vec![["x-a".to_owned(), "b".to_owned()]; MAX_HEADERS + 1];
        assert_eq!(read(&many), Err(HeaderError::Count(MAX_HEADERS)));
        assert!(read_answered(&many).is_ok());
        let more = vec![["x-a".to_owned(), "b".to_owned()]; MAX_ANSWERED + 1];
        assert_eq!(read_answered(&more), Err(HeaderError::Count(MAX_ANSWERED)));
    }

    #[test]
    fn every_byte_of_a_value_comes_back_and_repeats_stay_repeats() {
        let pairs = [["X-A", "ä"], ["x-a", "b"], ["x-b", ""]].map(|pair| pair.map(str::to_owned));
        let headers = read(&pairs).unwrap();
        assert_eq!(headers.get("x-a").unwrap().as_bytes(), [0xE4]);
        assert_eq!(write(&headers), [["x-a", "ä"], ["x-a", "b"], ["x-b", ""]]);
    }
}
