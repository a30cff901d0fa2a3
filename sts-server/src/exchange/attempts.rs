//! Failed attempts, counted per source and per agent.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// How many failures go by between two clean-ups of what is remembered.
const CLEAN_EVERY: usize = 10_000;

/// Who has failed how often within the last minute.
pub(super) struct Attempts {
    sources: DefaultKeyedRateLimiter<IpAddr>,
    /// By a few bits of the claimed id's hash, so that made-up ids are counted like real ones and cost no memory.
    agents: DefaultKeyedRateLimiter<u16>,
    clock: DefaultClock,
    failures: AtomicUsize,
}

impl Attempts {
    pub(super) fn new(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self {
            sources: RateLimiter::keyed(quota),
            agents: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            failures: AtomicUsize::new(1),
        }
    }

    /// Counts a failure of `source`, and of the agent that it claims to be. How long to wait if that was one too many.
    pub(super) fn failed(&self, source: IpAddr, agent: Option<&str>) -> Option<Duration> {
        if self.failures.fetch_add(1, Ordering::Relaxed).is_multiple_of(CLEAN_EVERY) {
            self.sources.retain_recent();
            self.agents.retain_recent();
        }
        let of_source = self.sources.check_key(&source).err();
        let of_agent = agent.and_then(|agent| self.agents.check_key(&bucket(agent)).err());
        of_source.or(of_agent).map(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

fn bucket(agent: &str) -> u16 {
    let [low, high, ..] = {
        let mut hasher = DefaultHasher::new();
        agent.hash(&mut hasher);
        hasher.finish().to_le_bytes()
    };
    u16::from_le_bytes([low, high])
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}
