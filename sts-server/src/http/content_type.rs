//! The `Content-Type` of a body, and the charset that it names.

use encoding_rs::Encoding;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The charset of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    /// Another charset in which ASCII bytes have the same meaning as in UTF-8.
    AsciiCompatible,
}

/// The media type of a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// The media type of JSON.
pub(super) const JSON: &str = "application/json";

/// Returns the charset of a body. Returns `None` unless there is exactly one `Content-Type` of the
/// expected type, with no parameter but a known charset.
pub(super) fn charset(headers: &HeaderMap, expected: &str) -> Option<Charset> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let mut parts = value.to_str().ok()?.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(expected) {
        return None;
    }
    let mut charset = Charset::Utf8;
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        let (_, label) = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"))?;
        let encoding = Encoding::for_label(label.trim_matches('"').as_bytes())?;
        if encoding != encoding_rs::UTF_8 {
            charset = encoding.is_ascii_compatible().then_some(Charset::AsciiCompatible)?;
        }
    }
    Some(charset)
}

/// Returns true if a form holds only ASCII, both raw and decoded.
pub(super) fn is_ascii(body: &[u8]) -> bool {
    let mut after_percent = body.iter().zip(body.iter().skip(1)).filter(|(byte, _)| **byte == b'%');
    body.is_ascii() && !after_percent.any(|(_, digit)| matches!(digit, b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn content_type(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_form_may_name_a_charset_that_ascii_is_part_of() {
        for (value, charset) in [
            ("application/x-www-form-urlencoded", Charset::Utf8),
            ("application/x-www-form-urlencoded;", Charset::Utf8),
            ("application/x-www-form-urlencoded; charset=utf-8;", Charset::Utf8),
            ("Application/X-WWW-Form-Urlencoded;charset=\"UTF-8\"", Charset::Utf8),
            ("application/x-www-form-urlencoded; charset=ISO-8859-1", Charset::AsciiCompatible),
            ("application/x-www-form-urlencoded; charset=us-ascii", Charset::AsciiCompatible),
            ("application/x-www-form-urlencoded; charset=windows-1252", Charset::AsciiCompatible),
        ] {
            assert_eq!(super::charset(&content_type(value), FORM), Some(charset), "{value}");
        }
        for value in [
            "application/json",
            "application/x-www-form-urlencoded; charset=utf-16",
            "application/x-www-form-urlencoded; charset=utf-7",
            "application/x-www-form-urlencoded; charset=iso-2022-jp",
            "application/x-www-form-urlencoded; charset=nothing",
            "application/x-www-form-urlencoded; boundary=x",
            "multipart/form-data",
            "",
        ] {
            assert_eq!(super::charset(&content_type(value), FORM), None, "{value}");
        }
        assert_eq!(super::charset(&HeaderMap::new(), FORM), None);
    }

    #[test]
    fn a_form_of_ascii_holds_no_other_byte_encoded_either() {
        for (body, ascii) in
            [(&b"a=b%2Bc%7e"[..], true), (b"a=%", true), (b"a=%e4", false), (b"a=%C3%A4", false), (b"a=\xe4", false)]
        {
            assert_eq!(is_ascii(body), ascii, "{body:?}");
        }
    }
}
