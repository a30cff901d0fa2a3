//! Limits on the requests and attempts of a source or a client within a minute.
//!
//! Every rate limit is a field of [`RateLimits`], and exceeding it is a variant of [`RateLimit`].

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::config::Limits;
use crate::telemetry::Stopwatch;

/// The number of counts between two clean-ups of the remembered keys.
const CLEAN_EVERY: usize = 10_000;

/// The time between two polls with a deferral code.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The polls with one code in a minute. They may come at once: a client that retries is not slowed
/// down.
const POLLS_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(11);
/// The bits of the hash of a deferral code that its polls are counted by.
const POLL_BITS: u64 = 0xF_FFFF;

/// The limits on requests and on failed attempts.
#[derive(Debug)]
pub struct RateLimits {
    sources: Option<Rate<SourceNetwork>>,
    /// Keyed by the id of an authenticated agent, so the registry bounds the number of keys.
    clients: Option<Rate<String>>,
    failed_sources: Rate<SourceNetwork>,
    /// The checks that sources get after they have used up their failed attempts.
    turns: Rate<SourceNetwork>,
    /// Keyed by a few bits of the hash of the claimed id. Made-up ids are counted like real ones
    /// and cost no memory.
    failed_ids: Rate<u16>,
    /// Keyed by a few bits of the hash of the deferral code, so that polls cost bounded memory.
    polls: Rate<u64>,
}

/// A limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RateLimit {
    /// The failed attempts to authenticate, of a source or of the claimed agent.
    #[error("too many attempts have failed")]
    FailedAttempts,
    /// The requests of one source.
    #[error("rate limit exceeded for this source")]
    SourceRequests,
    /// The requests of one authenticated client.
    #[error("rate limit exceeded for this client")]
    ClientRequests,
    /// The refused requests of one authenticated client.
    #[error("too many requests of the client were refused")]
    ClientRefusals,
    /// The approvals that were requested for one user.
    #[error("too many approvals were requested for the user")]
    ApprovalRequests,
    /// The approvals of all users that wait for a decision.
    #[error("too many approvals wait for a decision")]
    PendingApprovals,
    /// The granted approvals of all users that are remembered.
    #[error("too many approvals are remembered")]
    RememberedApprovals,
}

/// A request exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{limit}")]
pub struct RateLimited {
    /// The exceeded limit.
    pub limit: RateLimit,
    /// The time until the next request may pass.
    pub retry_after: Duration,
}

impl RateLimits {
    /// Returns the limits that the configuration sets.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let failed = NonZeroU32::new(limits.failed_attempts_per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            sources: limits.requests_per_minute_per_source.map(Rate::per_minute),
            clients: limits.requests_per_minute_per_client.map(Rate::per_minute),
            failed_sources: Rate::per_minute(failed),
            turns: Rate::one_a_second(),
            failed_ids: Rate::per_minute(failed),
            polls: Rate::per_minute(POLLS_PER_MINUTE),
        }
    }

    /// Counts a request of `source`.
    ///
    /// # Errors
    /// [`RateLimit::SourceRequests`].
    pub fn admit_source(&self, source: IpAddr) -> Result<(), RateLimited> {
        let wait = self.sources.as_ref().and_then(|rate| rate.count(&source.into()));
        RateLimit::SourceRequests.unless_none(wait)
    }

    /// Counts a request of an agent that has authenticated.
    ///
    /// # Errors
    /// [`RateLimit::ClientRequests`].
    pub fn admit_client(&self, client_id: &str) -> Result<(), RateLimited> {
        let wait = self.clients.as_ref().and_then(|rate| rate.count(&client_id.to_owned()));
        RateLimit::ClientRequests.unless_none(wait)
    }

    /// Counts a poll with a deferral code. Returns the time to wait if the code is polled faster than
    /// [`POLL_INTERVAL`] allows.
    pub fn counts_poll(&self, code: &str) -> Option<Duration> {
        self.polls.count(&(hashed(code) & POLL_BITS))
    }

    /// Checks that the credentials of `source` may be verified now.
    ///
    /// A source that has used up its failed attempts gets one check a second, whether it succeeds
    /// or not. It can then neither guess on nor make the server compute.
    ///
    /// # Errors
    /// [`RateLimit::FailedAttempts`].
    pub fn admit_attempt(&self, source: IpAddr) -> Result<(), RateLimited> {
        let source = source.into();
        let wait = if self.failed_sources.is_spent(&source) { self.turns.count(&source) } else { None };
        RateLimit::FailedAttempts.unless_none(wait)
    }

    /// Counts a failure of `source`, and of the claimed agent, as this number of attempts.
    ///
    /// # Errors
    /// [`RateLimit::FailedAttempts`] if the first of them exceeds the limit.
    pub fn failed_attempts(&self, source: IpAddr, claimed: Option<&str>, attempts: usize) -> Result<(), RateLimited> {
        let (source, claimed) = (source.into(), claimed.map(bucket));
        let count = || {
            let of_source = self.failed_sources.count(&source);
            let of_claimed = claimed.and_then(|id| self.failed_ids.count(&id));
            of_source.or(of_claimed)
        };
        let first = count();
        for _ in 1..attempts {
            count();
        }
        RateLimit::FailedAttempts.unless_none(first)
    }
}

fn bucket(id: &str) -> u16 {
    let [low, high, ..] = hashed(id).to_le_bytes();
    u16::from_le_bytes([low, high])
}

fn hashed(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl RateLimit {
    fn unless_none(self, wait: Option<Duration>) -> Result<(), RateLimited> {
        wait.map_or(Ok(()), |retry_after| Err(RateLimited { limit: self, retry_after }))
    }

    /// Returns the stable name of the limit, for audit and metrics.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::FailedAttempts => "too_many_attempts",
            Self::SourceRequests => "source_rate",
            Self::ClientRequests => "client_rate",
            Self::ClientRefusals => "too_many_refusals",
            Self::ApprovalRequests => "too_many_approvals",
            Self::PendingApprovals => "too_many_pending_approvals",
            Self::RememberedApprovals => "too_many_remembered_approvals",
        }
    }
}

/// A counter for each key, by the generic cell rate algorithm with its own clock. Each count takes
/// its share of the minute; the shares of one minute may be taken at once.
#[derive(Debug)]
pub struct Rate<K> {
    share: Duration,
    all_shares: Duration,
    watch: Stopwatch,
    taken: Mutex<Taken<K>>,
}

/// The time at which all shares of each key are free again.
#[derive(Debug)]
struct Taken<K> {
    until: HashMap<K, Duration>,
    counted: usize,
}

/// The unit in which sources are counted: an IPv4 address, or the /64 of an IPv6 address. A host
/// gets at least one subnet (RFC 4291 §2.5.4) and may use any address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceNetwork(IpAddr);

impl From<IpAddr> for SourceNetwork {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
        }
    }
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// Returns a rate of `count` a minute, at once or spread.
    pub fn per_minute(count: NonZeroU32) -> Self {
        let share = Duration::from_secs(60) / count.get();
        Self::new(share, share.saturating_mul(count.get()))
    }

    /// Returns a rate of one a second.
    pub fn one_a_second() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(1))
    }

    fn new(share: Duration, all_shares: Duration) -> Self {
        let taken = Mutex::new(Taken { until: HashMap::new(), counted: 0 });
        Self { share, all_shares, watch: Stopwatch::start(), taken }
    }

    /// Adds one to the count of `key`. Returns the time to wait if that exceeds the limit.
    pub fn count(&self, key: &K) -> Option<Duration> {
        let now = self.watch.elapsed();
        let mut taken = self.lock();
        taken.counted += 1;
        if taken.counted.is_multiple_of(CLEAN_EVERY) {
            taken.until.retain(|_, until| *until > now);
        }
        let until = taken.until.get(key).map_or(now, |until| (*until).max(now)) + self.share;
        let wait = until.saturating_sub(now + self.all_shares);
        if !wait.is_zero() {
            return Some(wait);
        }
        taken.until.insert(key.clone(), until);
        None
    }

    /// Returns true if one more count of `key` would exceed the limit. Counts nothing.
    pub fn is_spent(&self, key: &K) -> bool {
        let now = self.watch.elapsed();
        let taken = self.lock();
        taken.until.get(key).is_some_and(|until| *until + self.share > now + self.all_shares)
    }

    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_may_be_pass_at_once_and_the_next_is_told_when() {
        let rate = Rate::per_minute(NonZeroU32::new(3).unwrap());
        for count in 0..3 {
            assert!(!rate.is_spent(&"a"), "{count}");
            assert_eq!(rate.count(&"a"), None, "{count}");
        }
        assert!(rate.is_spent(&"a") && !rate.is_spent(&"b"));
        let wait = rate.count(&"a").unwrap();
        assert!(wait <= Duration::from_secs(20), "{wait:?}");
        assert_eq!(rate.count(&"b"), None);
    }

    #[test]
    fn what_is_given_back_is_forgotten() {
        let rate = Rate::new(Duration::from_nanos(1), Duration::from_nanos(1));
        for key in 0..CLEAN_EVERY {
            rate.count(&key);
        }
        assert!(rate.lock().until.len() <= 1);
    }
}
