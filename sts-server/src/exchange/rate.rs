//! How often somebody has done something within the last minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::telemetry::Stopwatch;

/// How many times are counted between two clean-ups of what is remembered.
const CLEAN_EVERY: usize = 10_000;

/// Counts by key what may happen so often a minute, by the generic cell rate algorithm: each count takes its share of the minute, and a
/// minute of shares may be taken at once. It goes by a clock of its own.
#[derive(Debug)]
pub(super) struct Rate<K> {
    share: Duration,
    all_shares: Duration,
    watch: Stopwatch,
    taken: Mutex<Taken<K>>,
}

/// When each key will have given back all that it has taken.
#[derive(Debug)]
struct Taken<K> {
    until: HashMap<K, Duration>,
    counted: usize,
}

/// A source as it is counted: an IPv4 address, or the /64 of an IPv6 address, for one subnet is the least that a host is given
/// (RFC 4291 §2.5.4) and any address in it may be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
        }
    }
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// So many in a minute, at once or spread.
    pub(super) fn per_minute(count: NonZeroU32) -> Self {
        let share = Duration::from_secs(60) / count.get();
        Self::new(share, share.saturating_mul(count.get()))
    }

    /// One in a second.
    pub(super) fn one_a_second() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(1))
    }

    fn new(share: Duration, all_shares: Duration) -> Self {
        let taken = Mutex::new(Taken { until: HashMap::new(), counted: 0 });
        Self { share, all_shares, watch: Stopwatch::start(), taken }
    }

    /// Counts one more of `key`. How long to wait if that was one too many.
    pub(super) fn count(&self, key: &K) -> Option<Duration> {
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

    /// True if one more of `key` would be one too many. Counts nothing.
    pub(super) fn is_spent(&self, key: &K) -> bool {
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
