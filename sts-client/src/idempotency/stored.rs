//! An HTTP answer as bytes: version, status, headers, trailers, body. Bytes in any other format are
//! rejected.

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE,
    ETAG, EXPIRES, LAST_MODIFIED, LINK, LOCATION, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The version of the format that [`Stored::to_bytes`] writes.
const VERSION: u8 = 2;

/// The default headers to store: headers that describe the outcome or the next step of the client.
/// Headers that set a cookie, describe a connection or describe a single attempt must never be
/// stored.
pub(super) const KEPT: [HeaderName; 20] = [
    ALLOW,
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    CONTENT_TYPE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    LINK,
    LOCATION,
    RETRY_AFTER,
    VARY,
    WWW_AUTHENTICATE,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-status-details-bin"),
];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) body: Vec<u8>,
}

impl Stored {
    /// Encodes the answer. Omits header fields that exceed the length limits of the format.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.status.as_u16().to_be_bytes());
        write_fields(&mut bytes, &self.headers);
        bytes.push(u8::from(self.trailers.is_some()));
        if let Some(trailers) = &self.trailers {
            write_fields(&mut bytes, trailers);
        }
        bytes.extend(&self.body);
        bytes
    }

    /// Decodes an answer; `None` if the bytes are invalid.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = bytes.split_first()? else { return None };
        let status = StatusCode::from_u16(number(&mut rest)?).ok()?;
        let headers = read_fields(&mut rest)?;
        let (has_trailers, mut rest) = rest.split_first()?;
        let trailers = if *has_trailers == 1 { Some(read_fields(&mut rest)?) } else { None };
        Some(Self { status, headers, trailers, body: rest.to_vec() })
    }
}

/// Returns the headers that are to be stored.
pub(super) fn select(headers: &HeaderMap, kept: &[HeaderName]) -> HeaderMap {
    let kept = headers.iter().filter(|(name, _)| kept.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn write_fields(bytes: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        let lengths = (u16::try_from(name.as_str().len()), u16::try_from(value.len()));
        let (Ok(name_length), Ok(value_length)) = lengths else { continue };
        bytes.extend(name_length.to_be_bytes());
        bytes.extend(name.as_str().as_bytes());
        bytes.extend(value_length.to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    // An empty name ends the list, because a field name is never empty.
    bytes.extend([0, 0]);
}

fn read_fields(rest: &mut &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    loop {
        let name = text(rest)?;
        if name.is_empty() {
            return Some(fields);
        }
        fields.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(text(rest)?).ok()?);
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
        let headers = select(&headers, &KEPT);
        assert_eq!((headers.len(), headers.contains_key("set-cookie")), (2, false));
        let trailers: HeaderMap =
            [(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))].into_iter().collect();
        for trailers in [None, Some(trailers)] {
            let body: Vec<u8> = (0..=255).collect();
            let stored = Stored { status: StatusCode::CREATED, headers: headers.clone(), trailers, body };
            let bytes = stored.to_bytes();
            assert_eq!(Stored::from_bytes(&bytes), Some(stored));
            for end in 0..bytes.len() - 256 {
                assert_eq!(Stored::from_bytes(&bytes[..end]), None, "{end}");
            }
            assert_eq!(Stored::from_bytes(&[&[1], &bytes[1..]].concat()), None);
        }
    }
}
