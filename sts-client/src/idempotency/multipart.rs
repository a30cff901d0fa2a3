//! Multipart bodies. HTTP clients choose a new boundary for each attempt, so a fingerprint must not
//! depend on it.

use http::HeaderValue;

/// Returns the inputs of a fingerprint: the content type and the body. A multipart body is split
/// into its parts, without its boundary.
pub(super) fn canonical<'a>(content_type: Option<&'a HeaderValue>, body: &'a [u8]) -> Vec<&'a [u8]> {
    let content_type = content_type.map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((before, boundary, after)) = std::str::from_utf8(content_type).ok().and_then(boundary) else {
        return vec![content_type, body];
    };
    let delimiter = format!("--{boundary}");
    let mut canonical = vec![before.as_bytes(), after.as_bytes()];
    canonical.extend(split(body, delimiter.as_bytes()));
    canonical
}

/// Returns the boundary of a multipart content type (RFC 2046 §5.1.1), and the text before and
/// after it. Returns `None` for other types and for an invalid boundary.
fn boundary(content_type: &str) -> Option<(&str, &str, &str)> {
    const NAME: &str = "boundary=";
    let is_multipart = content_type.get(..10)?.eq_ignore_ascii_case("multipart/");
    // Positions are equal in both texts, because only ASCII letters change.
    let lower = content_type.to_ascii_lowercase();
    let start = lower.find(NAME).filter(|_| is_multipart)? + NAME.len();
    let (before, value) = content_type.split_at_checked(start)?;
    let (boundary, after) = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => value.split_at_checked(value.find(';').unwrap_or(value.len()))?,
    };
    let boundary = boundary.trim_end();
    (1..=70).contains(&boundary.len()).then_some((before, boundary, after))
}

/// Splits a body at its delimiters. A delimiter must be at the start of a line.
fn split<'a>(body: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    let is_at_line = |at: usize| at == 0 || body.get(..at).is_some_and(|before| before.ends_with(b"\r\n"));
    let mut at = 0;
    while let Some(rest) = body.get(at..) {
        if rest.len() < delimiter.len() {
            break;
        }
        if rest.starts_with(delimiter) && is_at_line(at) {
            pieces.push(body.get(start..at).unwrap_or_default());
            at += delimiter.len();
            start = at;
        } else {
            at += 1;
        }
    }
    pieces.push(body.get(start..).unwrap_or_default());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(boundary: &str, value: &str) -> String {
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{value}\r\n--{boundary}--\r\n")
    }

    fn is_alike(one: (&'static str, &str), other: (&'static str, &str)) -> bool {
        let (one_type, other_type) = (HeaderValue::from_static(one.0), HeaderValue::from_static(other.0));
        canonical(Some(&one_type), one.1.as_bytes()) == canonical(Some(&other_type), other.1.as_bytes())
    }

    #[test]
    fn another_boundary_is_the_same_body_and_everything_else_is_another() {
        let one = ("multipart/form-data; boundary=X1", form("X1", "tea"));
        let same = [
            ("multipart/form-data; boundary=abc-2", form("abc-2", "tea")),
            ("multipart/form-data; boundary=\"q (1)\"", form("q (1)", "tea")),
        ];
        for (content_type, body) in &same {
            assert!(is_alike((one.0, &one.1), (content_type, body)), "{content_type}");
        }
        let others = [
            ("multipart/form-data; boundary=X2", form("X2", "coffee")),
            ("multipart/mixed; boundary=X2", form("X2", "tea")),
            ("multipart/form-data; boundary=X2; charset=utf-8", form("X2", "tea")),
            ("multipart/form-data; boundary=X2", form("X1", "tea")),
            ("multipart/form-data", form("X1", "tea")),
            ("text/plain; boundary=X2", form("X2", "tea")),
            ("multipart/form-data; boundary=\"X2", form("X2", "tea")),
            ("multipart/form-data; boundary=", form("", "tea")),
            ("", form("X1", "tea")),
        ];
        for (content_type, body) in &others {
            assert!(!is_alike((one.0, &one.1), (content_type, body)), "{content_type}");
        }
    }

    #[test]
    fn a_delimiter_within_a_line_is_content() {
        let body = |boundary: &str| form(boundary, "a--X1b");
        assert!(!is_alike(
            ("multipart/form-data; boundary=X1", &body("X1")),
            ("multipart/form-data; boundary=X1", &form("X1", "a\r\n--X1b")),
        ));
        assert!(is_alike(
            ("multipart/form-data; boundary=X1", &body("X1")),
            ("multipart/form-data; boundary=X2", &body("X2")),
        ));
    }
}
