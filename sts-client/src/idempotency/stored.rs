//! An HTTP answer as bytes: version, status, headers, body. What is not of this form is not read.

use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, ETAG, LAST_MODIFIED, LINK, LOCATION, RETRY_AFTER,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The form below.
const VERSION: u8 = 1;

/// The headers that are kept: those that describe the outcome. Never one that sets a cookie, names a connection or one try.
pub(super) const KEPT: [HeaderName; 10] = [
    CONTENT_TYPE,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    LOCATION,
    ETAG,
    LAST_MODIFIED,
    CACHE_CONTROL,
    VARY,
    LINK,
    RETRY_AFTER,
];

/// An answer that was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// The bytes of an answer, with those of its headers that are kept. Of headers that are longer than the form allows, none.
pub(super) fn to_bytes(status: StatusCode, headers: &HeaderMap, kept: &[HeaderName], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(status.as_u16().to_be_bytes());
    let kept = headers.iter().filter(|(name, _)| kept.contains(name));
    for (name, value) in kept {
        let lengths = (u16::try_from(name.as_str().len()), u16::try_from(value.len()));
        let (Ok(name_length), Ok(value_length)) = lengths else { continue };
        bytes.extend(name_length.to_be_bytes());
        bytes.extend(name.as_str().as_bytes());
        bytes.extend(value_length.to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    // No header has a name without letters.
    bytes.extend([0, 0]);
    bytes.extend(body);
    bytes
}

/// The answer; `None` for bytes that are none.
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Stored> {
    let (&VERSION, mut rest) = bytes.split_first()? else { return None };
    let status = StatusCode::from_u16(number(&mut rest)?).ok()?;
    let mut headers = HeaderMap::new();
    loop {
        let name = text(&mut rest)?;
        if name.is_empty() {
            return Some(Stored { status, headers, body: rest.to_vec() });
        }
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(text(&mut rest)?).ok()?);
    }
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u16::from_be_bytes(*number))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?.into();
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_and_no_part_of_it_is() {
        let mut headers = HeaderMap::new();
        headers.append(LINK, HeaderValue::from_static("</a>"));
        headers.append(LINK, HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append("set-cookie", HeaderValue::from_static("a=b"));
        let body: Vec<u8> = (0..=255).collect();
        let bytes = to_bytes(StatusCode::CREATED, &headers, &KEPT, &body);
        headers.remove("set-cookie");
        assert_eq!(from_bytes(&bytes), Some(Stored { status: StatusCode::CREATED, headers, body }));
        for end in 0..bytes.len() - 256 {
            assert_eq!(from_bytes(&bytes[..end]), None, "{end}");
        }
        assert_eq!(from_bytes(&[&[2], &bytes[1..]].concat()), None);
    }
}
