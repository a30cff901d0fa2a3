//! Requests, counted per source and per client, whatever comes of them.

use std::net::IpAddr;
use std::time::Duration;

use super::rate::{Rate, Source};
use crate::config::Limits;

/// Who has asked how often within the last minute, as far as that is limited.
#[derive(Debug)]
pub(super) struct Rates {
    sources: Option<Rate<Source>>,
    /// By the id of an agent that has authenticated: there are no more than the registry holds.
    clients: Option<Rate<String>>,
}

impl Rates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            sources: limits.requests_per_minute_per_source.map(Rate::per_minute),
            clients: limits.requests_per_minute_per_client.map(Rate::per_minute),
        }
    }

    /// Counts a request of `source`. How long to wait if that was one too many.
    pub(super) fn asked_from(&self, source: IpAddr) -> Option<Duration> {
        self.sources.as_ref()?.count(&source.into())
    }

    /// Counts a request of an agent that has authenticated. How long to wait if that was one too many.
    pub(super) fn asked_by(&self, client_id: &str) -> Option<Duration> {
        self.clients.as_ref()?.count(&client_id.to_owned())
    }
}
