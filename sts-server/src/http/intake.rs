//! What all endpoints do with a request: its correlation id, its source, its deadline, its body, its traces and its log lines.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use sts_protocol::parameter::X_CORRELATION_ID;

use super::body::{self, BodyFault, HeldBody};
use super::peer::Peer;
use super::{App, answer};
use crate::exchange::Claimed;
use crate::telemetry::{Decision, Endpoint, ObservedRequest, RequestOutcome, Trail};

/// The longest correlation id that is taken over.
const MAX_CORRELATION_BYTES: usize = 128;

/// A request whose head has been read.
pub(super) struct Intake<'a> {
    pub(super) app: &'a App,
    pub(super) endpoint: Endpoint,
    pub(super) head: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) correlation_id: String,
    pub(super) source: IpAddr,
    pub(super) trail: Trail,
}

/// The deadline of a request has passed.
pub(super) struct TooSlow;

/// What the log line of a refused request says besides its reason.
#[derive(Default)]
pub(super) struct About {
    /// The cause in words. No cause quotes a token or a secret.
    pub(super) detail: String,
    /// The agent that the request claims to be of, which nothing may have proved.
    pub(super) claimed_client_id: Option<String>,
    /// The claims of the token that was refused.
    pub(super) claimed: Option<Claimed>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(app: &'a App, endpoint: Endpoint, head: &'a Parts, peer: &'a Peer) -> Self {
        let trail = Trail::begin();
        let correlation_id = correlation_id(&head.headers).unwrap_or_else(|| app.sts.new_name());
        let source = app.proxies.source(peer.address.ip(), &head.headers);
        Self { app, endpoint, head, peer, correlation_id, source, trail }
    }

    /// Lets `work` go on until the deadline of the request.
    pub(super) async fn in_time<T, E: From<TooSlow>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::select! {
            biased;
            done = work => done,
            // What is being committed is committed nevertheless; the requester loses the answer.
            () = tokio::time::sleep(self.app.request_timeout) => Err(TooSlow.into()),
        }
    }

    /// Reads the body.
    pub(super) async fn read(&self, body: Body) -> Result<HeldBody, BodyFault> {
        body::read(&self.app.memory, &self.head.headers, self.peer, body, self.app.body_timeout).await
    }

    /// Logs an outage, up to a bound.
    pub(super) fn log_outage(&self, reason: &'static str, detail: String) {
        let (endpoint, correlation_id) = (self.endpoint.name(), &self.correlation_id);
        if let Some(left_out) = self.app.sts.metrics().log_limit().pass(reason) {
            tracing::warn!(endpoint, correlation_id, reason, detail, left_out, "a request could not be served");
        }
    }

    /// Logs a refusal at `info`, up to a bound. `about` is called only if the line is written.
    pub(super) fn log_refusal(&self, reason: &'static str, about: impl FnOnce() -> About) {
        let Some(left_out) = self.app.sts.logs_refusal_of(self.source) else { return };
        let About { detail, claimed_client_id, claimed } = about();
        tracing::info!(
            endpoint = self.endpoint.name(),
            correlation_id = self.correlation_id,
            source = %self.source,
            claimed_client_id,
            reason,
            detail,
            claimed = claimed.map(|claimed| claimed.to_string()),
            left_out,
            "a request was refused"
        );
    }

    /// Gives an answer the headers that all answers have.
    pub(super) fn seal(&self, response: Response) -> Response {
        answer::seal(response, &self.correlation_id)
    }
}

/// A request as metrics and traces see it. They are written when this is dropped, which also happens when the requester goes away.
pub(super) struct Observed<'a> {
    intake: &'a Intake<'a>,
    begun_at: Timestamp,
    decision: Decision,
}

impl<'a> Observed<'a> {
    pub(super) fn begin(intake: &'a Intake<'a>) -> Self {
        let decision = Decision { outcome: RequestOutcome::Abandoned, reason: None };
        Self { intake, begun_at: intake.app.sts.now(), decision }
    }

    pub(super) fn decided(&mut self, outcome: RequestOutcome, reason: Option<&'static str>) {
        self.decision = Decision { outcome, reason };
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let Intake { app, endpoint, head, correlation_id, trail, .. } = self.intake;
        let took = trail.elapsed();
        app.sts.metrics().request(*endpoint, self.decision, trail, took);
        app.traces.request(&ObservedRequest {
            endpoint: *endpoint,
            begun_at: self.begun_at,
            headers: &head.headers,
            correlation_id,
            trail,
            decision: self.decision,
            took,
        });
    }
}

/// The one `X-Correlation-ID` of the request, if it is 1 to 128 visible ASCII characters.
pub(super) fn correlation_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(X_CORRELATION_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let value = value.to_str().ok().filter(|text| (1..=MAX_CORRELATION_BYTES).contains(&text.len()))?;
    value.bytes().all(|byte| byte.is_ascii_graphic()).then(|| value.to_owned())
}
