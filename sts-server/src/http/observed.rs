//! One request as metrics and traces see it.

use http::HeaderMap;
use jiff::Timestamp;

use super::App;
use crate::telemetry::{Decision, Endpoint, Outcome, Request, Trail};

/// A request under way. What became of it is told when this is dropped, which is also what happens when the requester goes away.
pub(super) struct Observed<'a> {
    app: &'a App,
    endpoint: Endpoint,
    trail: &'a Trail,
    headers: &'a HeaderMap,
    correlation_id: &'a str,
    begun_at: Timestamp,
    decision: Decision,
}

impl<'a> Observed<'a> {
    /// A request whose head has been read.
    pub(super) fn begin(
        app: &'a App,
        endpoint: Endpoint,
        trail: &'a Trail,
        (headers, correlation_id): (&'a HeaderMap, &'a str),
    ) -> Self {
        let decision = Decision { outcome: Outcome::Abandoned, reason: None };
        Self { app, endpoint, trail, headers, correlation_id, begun_at: app.sts.now(), decision }
    }

    /// It has been decided.
    pub(super) fn decided(&mut self, outcome: Outcome, reason: Option<&'static str>) {
        self.decision = Decision { outcome, reason };
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let took = self.trail.elapsed();
        self.app.sts.metrics().request(self.endpoint, self.decision, self.trail, took);
        self.app.traces.request(&Request {
            endpoint: self.endpoint,
            begun_at: self.begun_at,
            headers: self.headers,
            correlation_id: self.correlation_id,
            trail: self.trail,
            decision: self.decision,
            took,
        });
    }
}
