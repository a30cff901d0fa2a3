//! Requests, counted per source and per client, whatever comes of them.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::Limits;

/// How many requests go by between two clean-ups of what is remembered.
const CLEAN_EVERY: usize = 10_000;

/// Who has asked how often within the last minute, as far as that is limited.
#[derive(Debug)]
pub(super) struct Rates {
    sources: Option<Rate<IpAddr>>,
    /// By the id of an agent that has authenticated: there are no more than the registry holds.
    clients: Option<Rate<String>>,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            sources: limits.requests_per_minute_per_source.map(Rate::new),
            clients: limits.requests_per_minute_per_client.map(Rate::new),
        }
    }

    /// Counts a request of `source`. How long to wait if that was one too many.
    pub(super) fn asked_from(&self, source: IpAddr) -> Option<Duration> {
        self.sources.as_ref()?.asked(&source)
    }

    /// Counts a request of an agent that has authenticated. How long to wait if that was one too many.
    pub(super) fn asked_by(&self, client_id: &str) -> Option<Duration> {
        self.clients.as_ref()?.asked(&client_id.to_owned())
    }
}

struct Rate<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    clock: DefaultClock,
    requests: AtomicUsize,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            clock: DefaultClock::default(),
            requests: AtomicUsize::new(1),
        }
    }

    fn asked(&self, key: &K) -> Option<Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(CLEAN_EVERY) {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).err().map(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Rate<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rate").finish_non_exhaustive()
    }
}
