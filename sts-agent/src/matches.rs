//! The verified inbound requests, to be found again by a header that the agent propagates.
//!
//! A proxy sees an outbound call without the request that it is made for. The agent says it by the
//! correlation id or the trace id of that request. A caller chooses both, so two callers may have
//! the same: then neither is found by it, as long as the id is remembered. An id is remembered
//! longer than the token of its request is valid, so that no other caller takes it over unseen.

use std::sync::{Arc, Mutex, PoisonError};

use ::http::{HeaderMap, HeaderName};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sts_client::jiff::Timestamp;
use sts_client::{Caller, Tenant, X_CORRELATION_ID};
use thiserror::Error;

use crate::bounded_cache::{bounded, bytes_of, digest};
use crate::header_pairs::HeaderPairs;

/// The header of the trace that a request belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The weight of an id without the headers of its request, in bytes.
const BASE_BYTES: usize = 512;

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

/// The requests that were verified last.
#[derive(Debug)]
pub(crate) struct Matches {
    requests: Cache<MatchId, KnownId, HeaderBytes>,
    /// Held while an id is given to a request, so that none of two callers goes unseen.
    turn: Mutex<()>,
}

/// An id that a request shares with the calls that are made for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum MatchId {
    Correlation(String),
    Trace(String),
}

/// The use of an id so far.
#[derive(Debug, Clone)]
enum KnownId {
    /// One caller has used it. Its last request counts.
    OfOne(Arc<KnownRequest>),
    /// Several callers have.
    OfSeveral,
}

#[derive(Debug)]
struct KnownRequest {
    /// The headers that the verification returned.
    inbound: Arc<HeaderPairs>,
    /// The digest of the principal, its tenant and its actor.
    caller: [u8; 32],
    expires_at: Timestamp,
}

#[derive(Debug, Clone)]
struct HeaderBytes;

impl Weighter<MatchId, KnownId> for HeaderBytes {
    fn weight(&self, _id: &MatchId, known: &KnownId) -> u64 {
        let header_bytes = match known {
            KnownId::OfOne(request) => bytes_of(&request.inbound),
            KnownId::OfSeveral => 0,
        };
        u64::try_from(header_bytes.saturating_add(BASE_BYTES)).unwrap_or(u64::MAX)
    }
}

impl Matches {
    pub(crate) fn new() -> Self {
        Self { requests: bounded(HeaderBytes), turn: Mutex::default() }
    }

    /// Keeps the headers that the verification of that caller returned. Of several requests of one
    /// caller with one id, the last is found.
    pub(crate) fn keep(&self, inbound: HeaderPairs, caller: &Caller, headers: &HeaderMap) {
        let request =
            KnownRequest { inbound: Arc::new(inbound), caller: digest_of(caller), expires_at: caller.expires_at() };
        let request = Arc::new(request);
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        for id in [correlation_of(headers), trace_of(headers)].into_iter().flatten() {
            let known = match self.requests.peek(&id) {
                Some(KnownId::OfOne(earlier)) if earlier.caller != request.caller => KnownId::OfSeveral,
                Some(KnownId::OfSeveral) => KnownId::OfSeveral,
                Some(KnownId::OfOne(_)) | None => KnownId::OfOne(Arc::clone(&request)),
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
        let known = ids.map(|id| self.requests.get(&id?));
        if let [Some(KnownId::OfOne(one)), Some(KnownId::OfOne(other))] = &known
            && one.caller != other.caller
        {
            return Err(MatchError::Shared);
        }
        for id in known.into_iter().flatten() {
            match id {
                KnownId::OfOne(request) if request.expires_at > now => return Ok(Arc::clone(&request.inbound)),
                KnownId::OfOne(_) => {}
                KnownId::OfSeveral => return Err(MatchError::Shared),
            }
        }
        Err(MatchError::Unknown)
    }
}

/// The digest of what makes a caller another one: its tokens may differ.
fn digest_of(caller: &Caller) -> [u8; 32] {
    let subject = caller.subject();
    let actor = caller.actor();
    digest([
        subject.iss.as_str(),
        subject.sub.as_str(),
        caller.tenant().map_or("", Tenant::as_str),
        actor.and_then(|actor| actor.iss).unwrap_or_default(),
        actor.map_or("", |actor| actor.sub),
    ])
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::http::HeaderValue;
    use sts_client::test_util::{ManualClock, TestCaller};

    use super::*;
    use crate::bounded_cache::CAPACITY_BYTES;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    /// The expiry of requests of now.
    const SOON: Timestamp = Timestamp::constant(60, 0);
    const LIFETIME: Duration = Duration::from_secs(60);
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

    /// Keeps a request of a caller, whose token expires 60 seconds after `from`.
    fn keep(
        matches: &Matches,
        caller: &TestCaller,
        mark: &str,
        pairs: &[(&'static str, &'static str)],
        from: Timestamp,
    ) {
        let caller = caller.clone().clock(Arc::new(ManualClock::new(from))).lifetime(LIFETIME).build();
        let inbound = vec![["x-user".to_owned(), caller.subject().sub.clone()], ["x-mark".to_owned(), mark.to_owned()]];
        matches.keep(inbound, &caller, &headers(pairs));
    }

    fn user(sub: &str) -> TestCaller {
        Caller::for_test().subject(sub)
    }

    fn found(matches: &Matches, pairs: &[(&'static str, &'static str)], now: Timestamp) -> Result<String, MatchError> {
        matches.find(&headers(pairs), now).map(|inbound| format!("{} {}", inbound[0][1], inbound[1][1]))
    }

    #[test]
    fn a_call_is_found_by_either_id_until_the_token_expires() {
        let matches = Matches::new();
        keep(&matches, &user("alice"), "1", &[("x-correlation-id", "a"), ("traceparent", TRACE)], NOW);
        let alice = || Ok("alice 1".to_owned());
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
    fn an_id_of_two_callers_finds_neither_even_if_the_token_of_one_has_expired() {
        let matches = Matches::new();
        let shared = [("x-correlation-id", "a")];
        keep(&matches, &user("alice"), "1", &shared, NOW);
        keep(&matches, &user("alice").scope("stock:read"), "2", &shared, NOW);
        assert_eq!(found(&matches, &shared, NOW), Ok("alice 2".to_owned()), "the last of one caller");
        assert_eq!(found(&matches, &shared, SOON), Err(MatchError::Unknown));
        keep(&matches, &user("alice"), "3", &shared, SOON);
        assert_eq!(found(&matches, &shared, SOON), Ok("alice 3".to_owned()), "the same caller comes back");
        let later = Timestamp::constant(120, 0);
        assert_eq!(found(&matches, &shared, later), Err(MatchError::Unknown));
        keep(&matches, &user("mallory"), "4", &shared, later);
        assert_eq!(found(&matches, &shared, later), Err(MatchError::Shared));
        // A further request does not make it that of one caller.
        for sub in ["mallory", "alice"] {
            keep(&matches, &user(sub), "5", &shared, later);
            assert_eq!(found(&matches, &shared, later), Err(MatchError::Shared), "{sub}");
        }
    }

    #[test]
    fn a_caller_is_its_principal_its_tenant_and_its_actor() {
        let alice = || user("alice").tenant("acme").actor("planner");
        for other in [
            user("bob").tenant("acme").actor("planner"),
            user("alice").tenant("other").actor("planner"),
            user("alice").actor("planner"),
            user("alice").tenant("acme").actor("robot"),
            user("alice").tenant("acme"),
        ] {
            let matches = Matches::new();
            let shared = [("x-correlation-id", "a")];
            keep(&matches, &alice(), "1", &shared, NOW);
            keep(&matches, &alice().claim("jti", "another".into()), "2", &shared, NOW);
            assert_eq!(found(&matches, &shared, NOW), Ok("alice 2".to_owned()));
            keep(&matches, &other, "3", &shared, NOW);
            assert_eq!(found(&matches, &shared, NOW), Err(MatchError::Shared), "{other:?}");
        }
    }

    #[test]
    fn two_ids_of_two_callers_find_neither_and_an_own_correlation_id_outranks_a_shared_trace() {
        let matches = Matches::new();
        for (sub, id) in [("alice", "a"), ("bob", "b")] {
            keep(&matches, &user(sub), id, &[("x-correlation-id", id), ("traceparent", TRACE)], NOW);
        }
        keep(&matches, &user("carol"), "c", &[("traceparent", OTHER)], NOW);
        let both = [("x-correlation-id", "a"), ("traceparent", TRACE)];
        assert_eq!(found(&matches, &both, NOW), Ok("alice a".to_owned()));
        assert_eq!(found(&matches, &[("traceparent", TRACE)], NOW), Err(MatchError::Shared));
        let crossed = [("x-correlation-id", "a"), ("traceparent", OTHER)];
        assert_eq!(found(&matches, &crossed, NOW), Err(MatchError::Shared));
        // Nor does the trace of another caller serve a request whose token has expired.
        let matches = Matches::new();
        keep(&matches, &user("alice"), "a", &[("x-correlation-id", "a")], NOW);
        keep(&matches, &user("carol"), "c", &[("traceparent", OTHER)], SOON);
        assert_eq!(found(&matches, &crossed, SOON), Err(MatchError::Shared));
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
    fn a_request_is_found_through_a_thousand_others_and_the_bytes_are_bounded() {
        let matches = Matches::new();
        let caller = user("alice").clock(Arc::new(ManualClock::new(NOW))).build();
        let of_request = |number: u64| HeaderMap::from_iter([(X_CORRELATION_ID, HeaderValue::from(number))]);
        // More than there is room for, so that some have gone.
        let all = CAPACITY_BYTES / (16 * 1024) * 2;
        for number in 0..all {
            matches.keep(vec![["x-long".to_owned(), "0".repeat(16 * 1024)]], &caller, &of_request(number));
        }
        let lost: Vec<u64> = (0..all).filter(|number| matches.find(&of_request(*number), NOW).is_err()).collect();
        assert!(lost.last().is_some_and(|number| *number < all - 1000), "{:?}", lost.last());
        assert!(matches.requests.weight() <= CAPACITY_BYTES);
    }
}
