//! The newest nonce of each server.

use std::sync::Arc;

use http::HeaderMap;
#[cfg(any(feature = "a2a", feature = "rmcp"))]
use jiff::Timestamp;
use quick_cache::sync::Cache;
use url::Url;

use super::DPOP_NONCE;
use crate::header_values;

/// The number of origins whose nonce is kept. A call to an origin whose nonce was dropped costs one
/// more round trip.
const MAX_ORIGINS: usize = 1_024;

/// The number of URLs whose answer to a probe is kept.
#[cfg(any(feature = "a2a", feature = "rmcp"))]
const MAX_PROBED_URLS: usize = 1_024;

/// The time for which the answer to a probe is relied on. It is shorter than the time for which servers
/// accept a nonce.
#[cfg(feature = "a2a")]
const PROBE_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// The maximum length of a nonce, in characters. A longer one is ignored: it would not fit beside a
/// token.
const MAX_NONCE_CHARS: usize = 256;

/// The newest nonce of each origin (RFC 9449 §8.2). The STS and the targets have one each: they give
/// different nonces, also behind one gateway (RFC 9449 §9).
///
/// A URL that was probed has a nonce of its own, because two targets behind one gateway give different
/// nonces. A client that does not see the answers could not correct a nonce of the other target.
#[derive(Debug)]
pub(crate) struct Nonces {
    newest: Cache<String, Arc<str>>,
    /// The answers to probes, by URL without query.
    #[cfg(any(feature = "a2a", feature = "rmcp"))]
    probed: Cache<String, Probed>,
}

/// The answer to a probe.
#[cfg(any(feature = "a2a", feature = "rmcp"))]
#[derive(Debug, Clone)]
struct Probed {
    answered_at: Timestamp,
    /// The newest nonce; `None` if the target gave none.
    nonce: Option<Arc<str>>,
}

impl Nonces {
    pub(crate) fn new() -> Self {
        Self {
            newest: Cache::new(MAX_ORIGINS),
            #[cfg(any(feature = "a2a", feature = "rmcp"))]
            probed: Cache::new(MAX_PROBED_URLS),
        }
    }

    /// Returns the newest nonce for a call of a URL.
    pub(crate) fn newest(&self, url: &Url) -> Option<Arc<str>> {
        #[cfg(any(feature = "a2a", feature = "rmcp"))]
        if !self.probed.is_empty()
            && let Some(probed) = self.probed.get(&without_query(url))
        {
            return probed.nonce;
        }
        if self.newest.is_empty() {
            return None;
        }
        self.newest.get(&origin(url))
    }

    /// Keeps the nonce of an answer of any status, and returns it (RFC 9449 §8.2).
    pub(crate) fn learn(&self, url: &Url, headers: &HeaderMap) -> Option<Arc<str>> {
        let nonce: Arc<str> = nonce(headers)?.into();
        self.newest.insert(origin(url), Arc::clone(&nonce));
        #[cfg(any(feature = "a2a", feature = "rmcp"))]
        if !self.probed.is_empty() {
            let url = without_query(url);
            if let Some(Probed { answered_at, .. }) = self.probed.get(&url) {
                self.probed.insert(url, Probed { answered_at, nonce: Some(Arc::clone(&nonce)) });
            }
        }
        Some(nonce)
    }

    /// Keeps the answer to a probe of a URL.
    #[cfg(any(feature = "a2a", feature = "rmcp"))]
    pub(crate) fn probed(&self, url: &Url, nonce: Option<Arc<str>>, now: Timestamp) {
        self.probed.insert(without_query(url), Probed { answered_at: now, nonce });
    }

    /// Returns true if the answer to the last probe of a URL is too old, or there is none.
    #[cfg(feature = "a2a")]
    pub(crate) fn is_probe_due(&self, url: &Url, now: Timestamp) -> bool {
        let answered_at = self.probed.get(&without_query(url)).map(|probed| probed.answered_at);
        sts_jose::has_passed(answered_at, now, PROBE_EVERY)
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

#[cfg(any(feature = "a2a", feature = "rmcp"))]
fn without_query(url: &Url) -> String {
    format!("{}{}", origin(url), url.path())
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

    #[cfg(any(feature = "a2a", feature = "rmcp"))]
    #[test]
    fn a_probed_url_has_a_nonce_of_its_own() {
        let nonces = Nonces::new();
        let url = |path: &str| format!("https://a.example{path}").parse::<Url>().unwrap();
        let of = |path: &str| nonces.newest(&url(path));
        nonces.learn(&url("/one"), &answer(&["first"]));
        nonces.probed(&url("/two?x"), None, Timestamp::UNIX_EPOCH);
        assert_eq!((of("/one").as_deref(), of("/two?y").as_deref()), (Some("first"), None));
        nonces.learn(&url("/two"), &answer(&["second"]));
        nonces.learn(&url("/one"), &answer(&["third"]));
        assert_eq!((of("/one").as_deref(), of("/two").as_deref()), (Some("third"), Some("second")));
    }
}
