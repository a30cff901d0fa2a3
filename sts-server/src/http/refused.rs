//! The line that a refused request leaves in the log.

use std::net::IpAddr;

use crate::exchange::Claimed;
use crate::service::Sts;
use crate::telemetry::Endpoint;

/// A refused request.
pub(super) struct RefusedRequest<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) correlation_id: &'a str,
    pub(super) source: IpAddr,
    pub(super) reason: &'static str,
}

/// What the line says besides.
#[derive(Default)]
pub(super) struct About {
    /// The cause in words. No cause quotes a token or a secret.
    pub(super) detail: String,
    /// The agent that the request claims to be of, which nothing may have proved.
    pub(super) claimed_client_id: Option<String>,
    /// What the token that was refused says of itself.
    pub(super) claimed: Option<Claimed>,
}

impl RefusedRequest<'_> {
    /// Leaves one line at `info`, if the bound on such lines allows it. `about` is asked only then.
    pub(super) fn log(&self, sts: &Sts, about: impl FnOnce() -> About) {
        let Some(left_out) = sts.logs_refusal_of(self.source) else { return };
        let About { detail, claimed_client_id, claimed } = about();
        tracing::info!(
            endpoint = self.endpoint.name(),
            correlation_id = self.correlation_id,
            source = %self.source,
            claimed_client_id,
            reason = self.reason,
            detail,
            claimed = claimed.map(|claimed| claimed.to_string()),
            left_out,
            "a request was refused"
        );
    }
}
