//! The values of headers, where an empty one counts as absent: gateways send empty headers in place of absent ones.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The values of a header that are neither empty nor white space alone.
pub(crate) fn of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
    headers.get_all(name).iter().filter(|value| !is_blank(value))
}

/// True if a value counts as absent.
pub(crate) fn is_blank(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().is_empty()
}
