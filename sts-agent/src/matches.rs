//! The verified inbound requests, to be found again by a header that the agent propagates.
//!
//! A proxy sees an outbound call without the request that it is made for. The agent says it by the
//! correlation id or the trace id of that request. A caller chooses both, so two callers may have
//! the same: then neither is found by it.

use std::sync::{Arc, Mutex, PoisonError};

use ::http::{HeaderMap, HeaderName};
use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sts_client::jiff::Timestamp;
use sts_client::{X_CORRELATION_ID, X_TENANT_ID};
use thiserror::Error;

use crate::header_pairs::HeaderPairs;

/// The header of the trace that a request belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The headers that say on whose behalf a request is made.
const OF_THE_CALLER: [HeaderName; 2] = [::http::header::AUTHORIZATION, X_TENANT_ID];

/// The maximum weight of all requests, in bytes.
const CAPACITY_BYTES: u64 = 64 * 1024 * 1024;

/// The weight of a request without its headers, in bytes.
const BASE_BYTES: usize = 512;

/// The expected number of ids, which need not be exact.
const EXPECTED: usize = 16 * 1024;

/// The maximum length of an id, in bytes.
const MAX_ID_BYTES: usize = 128;

/// A call belongs to no verified request, or to no single one.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum MatchError {
    #[error("the call has neither x-correlation-id nor traceparent of the request that it is made for")]
    Unnamed,
    #[error("no verified request, whose token is still valid, has the x-correlation-id or traceparent of the call")]
    Unknown,
    #[error("requests of several callers have the x-correlation-id or traceparent of the call")]
    Shared,
}

/// The requests that were verified last, until their tokens expire.
#[derive(Debug)]
pub(crate) struct Matches {
    requests: Cache<MatchId, KnownRequest, HeaderBytes>,
    /// Held while an id is given to a request, so that none of two callers goes unseen.
    turn: Mutex<()>,
}

/// An id that a request shares with the calls that are made for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum MatchId {
    Correlation(String),
    Trace(String),
}

#[derive(Debug, Clone)]
struct KnownRequest {
    /// The headers that the verification returned, and the digest of their caller. `None` for the
    /// requests of several callers.
    single: Option<(Arc<HeaderPairs>, [u8; 32])>,
    expires_at: Timestamp,
}

#[derive(Debug, Clone)]
struct HeaderBytes;

impl Weighter<MatchId, KnownRequest> for HeaderBytes {
    fn weight(&self, _id: &MatchId, known: &KnownRequest) -> u64 {
        let headers = known.single.iter().flat_map(|(inbound, _)| inbound.iter().flatten());
        let bytes = headers.map(String::len).sum::<usize>().saturating_add(BASE_BYTES);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

impl Matches {
    pub(crate) fn new() -> Self {
        Self { requests: Cache::with_weighter(EXPECTED, CAPACITY_BYTES, HeaderBytes), turn: Mutex::default() }
    }

    /// Keeps the headers that a verification returned until their token expires. Of several requests
    /// of one caller with one id, the last is found.
    pub(crate) fn keep(&self, inbound: HeaderPairs, headers: &HeaderMap, expires_at: Timestamp, now: Timestamp) {
        let (caller, inbound) = (caller_of(&inbound), Arc::new(inbound));
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for id in [correlation_of(headers), trace_of(headers)].into_iter().flatten() {
            let earlier = self.requests.peek(&id).filter(|earlier| earlier.expires_at > now);
            let known = match earlier {
                Some(earlier) if earlier.caller() != Some(&caller) => {
                    KnownRequest { single: None, expires_at: expires_at.max(earlier.expires_at) }
                }
                Some(_) | None => KnownRequest { single: Some((Arc::clone(&inbound), caller)), expires_at },
            };
            self.requests.insert(id, known);
        }
    }

    /// Returns the headers of the request that a call with these headers is made for. The correlation
    /// id decides; without one that is known, the trace id does. They must not name two callers.
    pub(crate) fn find(&self, headers: &HeaderMap, now: Timestamp) -> Result<Arc<HeaderPairs>, MatchError> {
        let ids = [correlation_of(headers), trace_of(headers)];
        if ids.iter().all(Option::is_none) {
            return Err(MatchError::Unnamed);
        }
        let live = |id: Option<MatchId>| self.requests.get(&id?).filter(|known| known.expires_at > now);
        let [of_correlation, of_trace] = ids.map(live);
        let (found, other) = match (of_correlation, of_trace) {
            (Some(found), other) => (found, other),
            (None, Some(found)) => (found, None),
            (None, None) => return Err(MatchError::Unknown),
        };
        let (inbound, caller) = found.single.ok_or(MatchError::Shared)?;
        match other.and_then(|other| other.single) {
            Some((_, of_other)) if of_other != caller => Err(MatchError::Shared),
            Some(_) | None => Ok(inbound),
        }
    }
}

impl KnownRequest {
    fn caller(&self) -> Option<&[u8; 32]> {
        self.single.as_ref().map(|(_, caller)| caller)
    }
}

fn correlation_of(headers: &HeaderMap) -> Option<MatchId> {
    let text = single(headers, &X_CORRELATION_ID)?;
    (1..=MAX_ID_BYTES).contains(&text.len()).then(|| MatchId::Correlation(text.to_owned()))
}

/// Reads `version "-" trace-id "-" parent-id "-" flags`. Later versions may have more at the end.
fn trace_of(headers: &HeaderMap) -> Option<MatchId> {
    let text = single(headers, &TRACEPARENT)?;
    let mut parts = text.split('-');
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    let is_whole = is_known && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    (is_whole && trace.bytes().any(|byte| byte != b'0')).then(|| MatchId::Trace(trace.to_owned()))
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok().map(str::trim)
}

/// The digest of the headers that say on whose behalf a request is made.
fn caller_of(inbound: &HeaderPairs) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    for name in OF_THE_CALLER {
        for [_, value] in inbound.iter().filter(|[header, _]| header.eq_ignore_ascii_case(name.as_str())) {
            digest.update(name.as_str().as_bytes());
            digest.update(&value.len().to_be_bytes());
            digest.update(value.as_bytes());
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const SOON: Timestamp = Timestamp::constant(60, 0);
    const LATER: Timestamp = Timestamp::constant(120, 0);
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const CHILD: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";
    const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn of(user: &str, mark: &str) -> HeaderPairs {
        vec![["authorization".to_owned(), format!("Bearer {user}")], ["x-mark".to_owned(), mark.to_owned()]]
    }

    fn found(matches: &Matches, pairs: &[(&'static str, &'static str)], now: Timestamp) -> Result<String, MatchError> {
        matches.find(&headers(pairs), now).map(|inbound| format!("{} {}", inbound[0][1], inbound[1][1]))
    }

    #[test]
    fn a_call_is_found_by_either_id_until_the_token_expires() {
        let matches = Matches::new();
        matches.keep(of("alice", "1"), &headers(&[("x-correlation-id", "a"), ("traceparent", TRACE)]), SOON, NOW);
        let alice = || Ok("Bearer alice 1".to_owned());
        for (pairs, expected) in [
            (&[("x-correlation-id", "a")][..], alice()),
            (&[("traceparent", CHILD)], alice()),
            (&[("x-correlation-id", "a"), ("traceparent", OTHER)], alice()),
            (&[("x-correlation-id", "b"), ("traceparent", CHILD)], alice()),
            (&[("x-correlation-id", "b")], Err(MatchError::Unknown)),
            (&[("traceparent", OTHER)], Err(MatchError::Unknown)),
            // An id is one value of one header.
            (&[("x-correlation-id", "a"), ("x-correlation-id", "a")], Err(MatchError::Unnamed)),
            (&[("x-correlation-id", "0af7651916cd43dd8448eb211c80319c")], Err(MatchError::Unknown)),
            (&[("x-correlation-id", "")], Err(MatchError::Unnamed)),
            (&[("traceparent", "a")], Err(MatchError::Unnamed)),
            (&[], Err(MatchError::Unnamed)),
        ] {
            assert_eq!(found(&matches, pairs, NOW), expected, "{pairs:?}");
        }
        assert_eq!(found(&matches, &[("x-correlation-id", "a")], SOON), Err(MatchError::Unknown));
    }

    #[test]
    fn an_id_of_two_callers_finds_neither_until_one_has_expired() {
        let matches = Matches::new();
        let shared = [("x-correlation-id", "a")];
        matches.keep(of("alice", "1"), &headers(&shared), LATER, NOW);
        matches.keep(of("alice", "2"), &headers(&shared), LATER, NOW);
        assert_eq!(found(&matches, &shared, NOW), Ok("Bearer alice 2".to_owned()), "the last of one caller");
        matches.keep(of("mallory", "3"), &headers(&shared), SOON, NOW);
        assert_eq!(found(&matches, &shared, NOW), Err(MatchError::Shared));
        // A further request does not make it that of one caller.
        matches.keep(of("mallory", "4"), &headers(&shared), SOON, NOW);
        matches.keep(of("alice", "5"), &headers(&shared), SOON, NOW);
        assert_eq!(found(&matches, &shared, SOON), Err(MatchError::Shared));
        matches.keep(of("alice", "6"), &headers(&shared), Timestamp::constant(180, 0), LATER);
        assert_eq!(found(&matches, &shared, LATER), Ok("Bearer alice 6".to_owned()));
        // The same token for another tenant is another caller.
        let mut elsewhere = of("alice", "7");
        elsewhere.push(["X-Tenant-ID".to_owned(), "other".to_owned()]);
        matches.keep(elsewhere, &headers(&shared), Timestamp::constant(180, 0), LATER);
        assert_eq!(found(&matches, &shared, LATER), Err(MatchError::Shared));
    }

    #[test]
    fn two_ids_of_two_callers_find_neither_and_an_own_correlation_id_outranks_a_shared_trace() {
        let matches = Matches::new();
        for (user, id) in [("alice", "a"), ("bob", "b")] {
            matches.keep(of(user, id), &headers(&[("x-correlation-id", id), ("traceparent", TRACE)]), SOON, NOW);
        }
        matches.keep(of("carol", "c"), &headers(&[("traceparent", OTHER)]), SOON, NOW);
        let both = [("x-correlation-id", "a"), ("traceparent", TRACE)];
        assert_eq!(found(&matches, &both, NOW), Ok("Bearer alice a".to_owned()));
        assert_eq!(found(&matches, &[("traceparent", TRACE)], NOW), Err(MatchError::Shared));
        let crossed = [("x-correlation-id", "a"), ("traceparent", OTHER)];
        assert_eq!(found(&matches, &crossed, NOW), Err(MatchError::Shared));
    }

    #[test]
    fn a_malformed_traceparent_is_no_id() {
        for (text, is_id) in [
            (TRACE, true),
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", true),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c", false),
        ] {
            assert_eq!(trace_of(&headers(&[("traceparent", text)])).is_some(), is_id, "{text}");
        }
    }

    #[test]
    fn the_bytes_are_bounded() {
        let matches = Matches::new();
        for number in 0..6000 {
            let mut request = HeaderMap::new();
            request.insert(X_CORRELATION_ID, number.to_string().parse().unwrap());
            matches.keep(of("alice", &"0".repeat(16 * 1024)), &request, SOON, NOW);
        }
        assert!(matches.requests.weight() <= CAPACITY_BYTES);
    }
}
