//! Header values. An empty value counts as absent, because gateways send empty headers in place of
//! absent ones.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Returns the values of a header that are not blank.
pub(crate) fn of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
    headers.get_all(name).iter().filter(|value| !is_blank(value))
}

/// True if a value counts as absent.
pub(crate) fn is_blank(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().is_empty()
}
