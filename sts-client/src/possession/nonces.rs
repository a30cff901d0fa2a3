//! The newest nonce of each server.

use std::sync::Arc;

use http::HeaderMap;
#[cfg(feature = "a2a")]
use jiff::Timestamp;
use quick_cache::sync::Cache;
use url::Url;

use super::DPOP_NONCE;
use crate::header_values;

/// The number of origins whose nonce is kept. A call to an origin whose nonce was dropped costs one
/// more round trip.
const MAX_ORIGINS: usize = 1_024;

/// The time for which an answer to the question for a nonce is relied on. It is shorter than the time
/// for which servers accept a nonce.
#[cfg(feature = "a2a")]
const ASK_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// The maximum length of a nonce, in characters. A longer one is ignored: it would not fit beside a
/// token.
const MAX_NONCE_CHARS: usize = 256;

/// The newest nonce of each origin (RFC 9449 §8.2). The STS and the targets have one each: they give
/// different nonces, also behind one gateway (RFC 9449 §9).
#[derive(Debug)]
pub(crate) struct Nonces {
    newest: Cache<String, Arc<str>>,
    /// The time at which a server was last asked for a nonce.
    #[cfg(feature = "a2a")]
    asked_at: Cache<String, Timestamp>,
}

impl Nonces {
    pub(crate) fn new() -> Self {
        Self {
            newest: Cache::new(MAX_ORIGINS),
            #[cfg(feature = "a2a")]
            asked_at: Cache::new(MAX_ORIGINS),
        }
    }

    pub(crate) fn newest(&self, url: &Url) -> Option<Arc<str>> {
        if self.newest.is_empty() {
            return None;
        }
        self.newest.get(&origin(url))
    }

    /// Keeps the nonce of an answer of any status, and returns it (RFC 9449 §8.2).
    pub(crate) fn learn(&self, url: &Url, headers: &HeaderMap) -> Option<Arc<str>> {
        let nonce: Arc<str> = nonce(headers)?.into();
        self.newest.insert(origin(url), Arc::clone(&nonce));
        Some(nonce)
    }

    /// Returns true if the server of a URL has not been asked for a nonce in the last seconds, and notes
    /// that it is asked now.
    #[cfg(feature = "a2a")]
    pub(crate) fn is_to_be_asked(&self, url: &Url, now: Timestamp) -> bool {
        let origin = origin(url);
        let is_due = sts_jose::has_passed(self.asked_at.get(&origin), now, ASK_EVERY);
        if is_due {
            self.asked_at.insert(origin, now);
        }
        is_due
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
        assert!(nonces.newest.len() <= MAX_ORIGINS);
    }
}
