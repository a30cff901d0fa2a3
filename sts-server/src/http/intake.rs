//! The steps that all endpoints share: correlation id, source, deadline, body, traces and log
//! lines.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use sts_protocol::parameter::X_CORRELATION_ID;

use super::App;
use super::answer::{self, IntakeFault};
use super::body::{self, BodyFault, HeldBody};
use super::peer::Peer;
use crate::client_auth::ClientCertificate;
use crate::exchange::Claimed;
use crate::telemetry::{Decision, Endpoint, ObservedRequest, REFUSED, RequestOutcome, Trail};

/// The maximum length of a correlation id that a client may choose.
const MAX_CORRELATION_BYTES: usize = 128;

/// A request whose head has been read.
pub(super) struct Intake<'a> {
    pub(super) app: &'a App,
    pub(super) endpoint: Endpoint,
    pub(super) head: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) correlation_id: String,
    pub(super) source: IpAddr,
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    pub(super) trail: Trail,
}

/// The deadline of a request has passed.
pub(super) struct TooSlow;

/// The reason why a request was not served.
pub(super) enum Unserved<R> {
    /// Before its decision.
    Intake(IntakeFault),
    /// By its decision.
    Refused(R),
}

impl<R> From<IntakeFault> for Unserved<R> {
    fn from(fault: IntakeFault) -> Self {
        Self::Intake(fault)
    }
}

impl<R> From<TooSlow> for Unserved<R> {
    fn from(_: TooSlow) -> Self {
        Self::Intake(IntakeFault::TooSlow)
    }
}

/// The content of the log line of a refused request, besides the reason.
#[derive(Default)]
pub(super) struct About {
    /// The causes of the refusal. They never contain a token or a secret.
    pub(super) detail: String,
    /// The agent that the request claims to come from, possibly unverified.
    pub(super) claimed_client_id: Option<String>,
    /// The claims of the refused token.
    pub(super) claimed: Option<Claimed>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(app: &'a App, endpoint: Endpoint, head: &'a Parts, peer: &'a Peer) -> Self {
        let trail = Trail::begin();
        let correlation_id = correlation_id(&head.headers).unwrap_or_else(|| app.sts.new_name());
        let source = app.proxies.source(peer.address.ip(), &head.headers);
        let certificate = app.proxies.certificate(peer.address.ip(), peer.certificate.as_ref(), &head.headers);
        Self { app, endpoint, head, peer, correlation_id, source, certificate, trail }
    }

    /// Runs `work` until the deadline of the request. The work is pinned where it is made: moving a
    /// future of several kilobytes costs as much as a step of an exchange.
    pub(super) async fn in_time<T, E: From<TooSlow>>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, E> {
        tokio::select! {
            biased;
            done = work => done,
            // A commit in progress still completes; only the response is lost.
            () = tokio::time::sleep(self.app.request_timeout) => Err(TooSlow.into()),
        }
    }

    pub(super) async fn read(&self, body: Body) -> Result<HeldBody, BodyFault> {
        body::read(&self.app.memory, &self.head.headers, self.peer, body, self.app.body_timeout).await
    }

    /// Logs a request that ended before its decision.
    pub(super) fn log_fault(&self, fault: IntakeFault) {
        let detail = fault.told().to_owned();
        if fault.outcome() == RequestOutcome::Unavailable {
            self.log_outage(fault.reason(), detail);
        } else {
            self.log_refusal(fault.reason(), || About { detail, ..About::default() });
        }
    }

    /// Logs an outage. The number of lines is limited.
    pub(super) fn log_outage(&self, reason: &'static str, detail: String) {
        let (endpoint, correlation_id) = (self.endpoint.name(), &self.correlation_id);
        if let Some(left_out) = self.app.sts.metrics().log_limit().pass(reason) {
            tracing::warn!(endpoint, correlation_id, reason, detail, left_out, "a request could not be served");
        }
    }

    /// Logs a refusal at `info`. The number of lines is limited, and `about` is called only if the
    /// line is written.
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
            "{REFUSED}"
        );
    }

    /// Adds the headers that all responses have.
    pub(super) fn seal(&self, response: Response) -> Response {
        answer::seal(response, &self.correlation_id)
    }
}

/// The record of a request for metrics and traces. Dropping it writes them, also if the client
/// disconnects.
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

/// Returns the single `X-Correlation-ID` of the request, if it has 1 to 128 visible ASCII
/// characters.
pub(super) fn correlation_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(X_CORRELATION_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let value = value.to_str().ok().filter(|text| (1..=MAX_CORRELATION_BYTES).contains(&text.len()))?;
    value.bytes().all(|byte| byte.is_ascii_graphic()).then(|| value.to_owned())
}
