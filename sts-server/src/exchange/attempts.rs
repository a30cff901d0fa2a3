//! Failed attempts, counted per source and per agent.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::rate::{Rate, Source};

/// The failed attempts of the last minute, and the turns of those sources that have had all of theirs.
#[derive(Debug)]
pub(super) struct Attempts {
    sources: Rate<Source>,
    turns: Rate<Source>,
    /// By a few bits of the claimed id's hash, so that made-up ids are counted like real ones and cost no memory.
    agents: Rate<u16>,
}

impl Attempts {
    pub(super) fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            sources: Rate::per_minute(per_minute),
            turns: Rate::one_a_second(),
            agents: Rate::per_minute(per_minute),
        }
    }

    /// Asked before credentials are checked: how long `source` has to wait. A source that has had all of its failed attempts gets one
    /// check a second, right or wrong, so that it can neither go on guessing nor make the server compute.
    pub(super) fn wait(&self, source: IpAddr) -> Option<Duration> {
        let source = source.into();
        if self.sources.is_spent(&source) { self.turns.count(&source) } else { None }
    }

    /// Counts a failure of `source`, and of the agent that it claims to be, as so many attempts. How long to wait if the first of them was
    /// one too many.
    pub(super) fn failed(&self, source: IpAddr, agent: Option<&str>, attempts: usize) -> Option<Duration> {
        let source = source.into();
        let agent = agent.map(bucket);
        let count = || {
            let of_source = self.sources.count(&source);
            let of_agent = agent.and_then(|agent| self.agents.count(&agent));
            of_source.or(of_agent)
        };
        let first = count();
        for _ in 1..attempts {
            count();
        }
        first
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
