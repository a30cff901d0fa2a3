//! The newest nonce of each server.

use std::sync::Arc;

use http::HeaderMap;
use quick_cache::sync::Cache;
use url::Url;

use super::DPOP_NONCE;
use crate::header_values;

/// The number of origins whose nonce is kept. A call to an origin whose nonce was dropped costs one
/// more round trip.
const MAX_ORIGINS: usize = 1_024;

/// The maximum length of a nonce, in characters. A longer one is ignored: it would not fit beside a
/// token.
const MAX_NONCE_CHARS: usize = 256;

/// The newest nonce of each origin (RFC 9449 §8.2). The STS and the targets have one each: they give
/// different nonces, also behind one gateway (RFC 9449 §9).
#[derive(Debug)]
pub(crate) struct Nonces(Cache<String, Arc<str>>);

impl Nonces {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MAX_ORIGINS))
    }

    pub(crate) fn newest(&self, url: &Url) -> Option<Arc<str>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&origin(url))
    }

    /// Keeps the nonce of an answer of any status, and returns it (RFC 9449 §8.2).
    pub(crate) fn learn(&self, url: &Url, headers: &HeaderMap) -> Option<Arc<str>> {
        let nonce: Arc<str> = nonce(headers)?.into();
        self.0.insert(origin(url), Arc::clone(&nonce));
        Some(nonce)
    }
}

/// Returns the only `DPoP-Nonce` of an answer. Its syntax is that of RFC 9449 §8.1.
fn nonce(headers: &HeaderMap) -> Option<&str> {
    let mut values = header_values::of(headers, &DPOP_NONCE);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let is_nonce = |text: &&str| {
        text.len() <= MAX_NONCE_CHARS
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    value.to_str().ok().filter(is_nonce)
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn answer(nonces: &[&str]) -> HeaderMap {
        nonces.iter().map(|nonce| (DPOP_NONCE, HeaderValue::from_bytes(nonce.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn the_newest_nonce_of_an_origin_is_kept_and_no_malformed_one() {
        let nonces = Nonces::new();
        let (one, same, other) = ("https://a.example/x", "https://a.example:443/y?z", "https://a.example:81/x");
        let of = |url: &str| nonces.newest(&url.parse().unwrap());
        let learn = |url: &str, headers: &HeaderMap| nonces.learn(&url.parse().unwrap(), headers).is_some();
        assert_eq!(of(one), None);
        assert!(learn(one, &answer(&["first"])) && learn(same, &answer(&["second"])));
        for malformed in
            [&["a b"][..], &["a\"b"], &["a\\b"], &[""], &["a", "b"], &[], &["ä"], &["x".repeat(257).as_str()]]
        {
            let headers = answer(malformed);
            assert!(!learn(one, &headers), "{malformed:?}");
        }
        assert_eq!((of(one).as_deref(), of(other)), (Some("second"), None));
    }

    #[test]
    fn a_target_that_names_many_origins_does_not_fill_the_memory() {
        let nonces = Nonces::new();
        for port in 1..=u16::MAX {
            nonces.learn(&format!("http://a.example:{port}/").parse().unwrap(), &answer(&["n"]));
        }
        assert!(nonces.0.len() <= MAX_ORIGINS);
    }
}
