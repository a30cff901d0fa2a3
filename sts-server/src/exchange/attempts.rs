//! Failed attempts, counted per source and per agent.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use super::rate::{Rate, Source};

/// Who has failed how often within the last minute.
#[derive(Debug)]
pub(super) struct Attempts {
    sources: Rate<Source>,
    /// By a few bits of the claimed id's hash, so that made-up ids are counted like real ones and cost no memory.
    agents: Rate<u16>,
}

impl Attempts {
    pub(super) fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self { sources: Rate::new(per_minute), agents: Rate::new(per_minute) }
    }

    /// Counts a failure of `source`, and of the agent that it claims to be. How long to wait if that was one too many.
    pub(super) fn failed(&self, source: IpAddr, agent: Option<&str>) -> Option<Duration> {
        let of_source = self.sources.count(&source.into());
        let of_agent = agent.and_then(|agent| self.agents.count(&bucket(agent)));
        of_source.or(of_agent)
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
