//! Notices to a receiver of the operator about approvals that wait for a decision.
//!
//! A notice is a Security Event Token (RFC 8417), pushed as RFC 8935 says. Receivers verify it with
//! the published keys of this service: there is no secret to hand out, to rotate or to leak. A
//! notice never holds up the exchange: the queue is bounded, and what it cannot take is dropped and
//! counted. The approval itself is in the database, and listed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;
use sts_jose::{Algorithm, Egress, FetchError, HttpClientError, Sender, SignError, SigningKey, Typ};
use sts_protocol::SubjectId;
use thiserror::Error;
use tokio::sync::mpsc;
use url::Url;

use crate::approval::{Approval, SeenApproval};
use crate::keys::KeyRing;
use crate::storage::ApprovalRow;
use crate::telemetry::{Metrics, NoticeOutcome};

/// The event of an approval that waits.
const WAITING: &str = "urn:agent-sts:event:approval-waiting";
/// The media type of a pushed Security Event Token (RFC 8935 §2.1).
const MEDIA_TYPE: &str = "application/secevent+jwt";
/// The algorithms that receivers are most likely to support, the first one first.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa];
/// The most notices that wait to be sent.
const QUEUE: usize = 256;
/// The pauses before a notice is sent again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The notices of a server. Clones share the queue. Without a receiver nothing is sent.
#[derive(Debug, Clone, Default)]
pub struct Notices(Option<Receiver>);

#[derive(Debug, Clone)]
struct Receiver {
    url: Url,
    queue: mpsc::Sender<Bytes>,
    metrics: Metrics,
}

/// Notices cannot be sent as configured.
#[derive(Debug, Error)]
#[error("failed to create the HTTP client of approvals.notify_url")]
pub struct NoticesError(#[from] HttpClientError);

/// A notice was not made.
#[derive(Debug, Error)]
enum NoticeError {
    /// No key is active.
    #[error("no signing key is active")]
    NoKey,
    /// The approval cannot be read.
    #[error("the approval cannot be read")]
    Unread,
    /// The claims cannot be written.
    #[error("the claims cannot be written")]
    Claims(#[source] serde_json::Error),
    /// The signing operation failed.
    #[error("the signature failed")]
    Sign(#[source] SignError),
}

/// The receiver did not take a notice.
#[derive(Debug, Error)]
enum PushError {
    /// The request failed.
    #[error("the request failed")]
    Request(#[source] http::Error),
    /// The receiver did not answer.
    #[error("the receiver did not answer")]
    Fetch(#[from] FetchError),
    /// The receiver answered with another status than a success.
    #[error("status {0}")]
    Status(u16),
}

/// The claims of a notice.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    /// The name of the approval: a receiver that has seen it has seen the notice.
    jti: &'a str,
    sub_id: &'a SubjectId,
    events: serde_json::Value,
}

impl Notices {
    /// Starts the task that sends notices to `url`. Without a URL nothing is sent. Must be called
    /// within a tokio runtime. The task ends with the last clone.
    ///
    /// # Errors
    /// [`NoticesError`]. An unreachable receiver is not an error.
    pub fn start(url: Option<&Url>, egress: &Egress, metrics: &Metrics) -> Result<Self, NoticesError> {
        let Some(url) = url else { return Ok(Self::default()) };
        let sender = Sender::via(egress)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(send_all(waiting, sender, url.clone(), metrics.clone()));
        Ok(Self(Some(Receiver { url: url.clone(), queue, metrics: metrics.clone() })))
    }

    /// Queues the notice of an approval that waits, and returns at once. `uri` is the page where the
    /// person decides.
    pub fn waiting(&self, ring: &KeyRing, issuer: &str, row: &ApprovalRow, uri: &str) {
        let Some(Receiver { url, queue, metrics }) = &self.0 else { return };
        // A notice that has no place is not signed.
        let Ok(place) = queue.try_reserve() else { return metrics.notice(NoticeOutcome::Dropped) };
        match notice(ring, [issuer, url.as_str(), uri], row) {
            Ok(notice) => place.send(notice),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "failed to make the notice of an approval");
                metrics.notice(NoticeOutcome::Failed);
            }
        }
    }
}

/// Returns the signed notice of an approval.
fn notice(ring: &KeyRing, [issuer, audience, uri]: [&str; 3], row: &ApprovalRow) -> Result<Bytes, NoticeError> {
    let key: &Arc<SigningKey> =
        ALGORITHMS.iter().find_map(|algorithm| ring.active(*algorithm)).ok_or(NoticeError::NoKey)?;
    let approval = Approval::read(row).ok_or(NoticeError::Unread)?;
    let now = row.requested_at;
    let event = json!({ "approval": SeenApproval::of(&approval, now), "interaction_uri": uri });
    let claims = Claims {
        iss: issuer,
        aud: audience,
        iat: now.as_second(),
        jti: &row.id,
        sub_id: &approval.content().sub_id,
        events: json!({ WAITING: event }),
    };
    let claims = serde_json::to_vec(&claims).map_err(NoticeError::Claims)?;
    Ok(key.sign(Some(Typ::SecurityEvent.as_str()), &claims).map_err(NoticeError::Sign)?.into())
}

async fn send_all(mut waiting: mpsc::Receiver<Bytes>, sender: Sender, url: Url, metrics: Metrics) {
    while let Some(notice) = waiting.recv().await {
        let mut pauses = PAUSES.iter();
        let outcome = loop {
            let error = match push(&sender, &url, notice.clone()).await {
                Ok(()) => break NoticeOutcome::Sent,
                Err(error) => error,
            };
            match pauses.next().filter(|_| error.may_pass_later()) {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => {
                    if let Some(left_out) = metrics.log_limit().pass("notice") {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, left_out, "approvals.notify_url did not take the notice of an approval");
                    }
                    break NoticeOutcome::Failed;
                }
            }
        };
        metrics.notice(outcome);
    }
}

async fn push(sender: &Sender, url: &Url, notice: Bytes) -> Result<(), PushError> {
    let request = http::Request::post(url.as_str())
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(ACCEPT, "application/json")
        .body(notice)
        .map_err(PushError::Request)?;
    let status = sender.send(request).await?.status();
    if status.is_success() { Ok(()) } else { Err(PushError::Status(status.as_u16())) }
}

impl PushError {
    /// Returns true if the receiver may take the same notice later: it did not answer, or with a
    /// fault of its own.
    fn may_pass_later(&self) -> bool {
        match self {
            // A receiver whose answer is too long has taken the notice.
            Self::Request(_) | Self::Fetch(FetchError::TooLarge(_)) => false,
            Self::Fetch(_) => true,
            Self::Status(status) => *status == 429 || *status >= 500,
        }
    }
}
