//! Notices to a receiver of the operator about approvals that wait for a decision.
//!
//! A notice is a Security Event Token (RFC 8417), pushed as RFC 8935 says. Receivers verify it with
//! the published keys of this service: there is no secret to hand out, to rotate or to leak. A
//! notice never holds up the exchange: the queue is bounded, and what it cannot take is dropped and
//! counted. The approval itself is in the database, and listed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;
use sts_jose::{Algorithm, Clock, Egress, FetchError, HttpClientError, Sender, SignError, SigningKey, Typ};
use sts_protocol::SubjectId;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::Url;

use crate::approval::{Approval, Approvals, SeenApproval};
use crate::keys::KeyRing;
use crate::storage::{ApprovalRow, ApprovalState};
use crate::telemetry::{Metrics, NoticeOutcome};

/// The event of an approval that waits.
const WAITING: &str = "urn:agent-sts:event:approval-waiting";
/// The media type of a pushed Security Event Token (RFC 8935 §2.1).
const MEDIA_TYPE: &str = "application/secevent+jwt";
/// The algorithms that receivers are most likely to support, the first one first.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa];
/// The most notices that wait to be sent.
const QUEUE: usize = 256;
/// The most notices that are sent at the same time, so that one without an answer holds up few others.
const AT_ONCE: usize = 8;
/// The pauses before a notice is sent again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The notices of a server. Clones share the queue. Without a receiver nothing is sent.
#[derive(Debug, Clone, Default)]
pub struct Notices(Option<Receiver>);

#[derive(Debug, Clone)]
struct Receiver {
    url: Url,
    queue: mpsc::Sender<Notice>,
    /// The approvals as this server knows them.
    approvals: Arc<ArcSwap<Approvals>>,
    metrics: Metrics,
}

/// A signed notice, and the approval that it is about.
struct Notice {
    approval: String,
    signed: Bytes,
}

/// The task that sends notices.
struct Delivery {
    url: Url,
    sender: Sender,
    approvals: Arc<ArcSwap<Approvals>>,
    clock: Arc<dyn Clock>,
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
    pub fn start(
        url: Option<&Url>,
        egress: &Egress,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Self, NoticesError> {
        let Some(url) = url else { return Ok(Self::default()) };
        let (approvals, (queue, waiting)) = (Arc::default(), mpsc::channel(QUEUE));
        let delivery = Delivery {
            url: url.clone(),
            sender: Sender::via(egress)?,
            approvals: Arc::clone(&approvals),
            clock: Arc::clone(clock),
            metrics: metrics.clone(),
        };
        tokio::spawn(send_all(waiting, Arc::new(delivery)));
        Ok(Self(Some(Receiver { url: url.clone(), queue, approvals, metrics: metrics.clone() })))
    }

    /// Takes over the approvals as the server knows them now. The notice of one that has ended is not sent.
    pub fn follow(&self, approvals: &Arc<Approvals>) {
        if let Some(receiver) = &self.0 {
            receiver.approvals.store(Arc::clone(approvals));
        }
    }

    /// Queues the notice of an approval that waits, and returns at once. `uri` is the page where the
    /// person decides.
    pub fn waiting(&self, ring: &KeyRing, issuer: &str, row: &ApprovalRow, uri: &str) {
        let Some(Receiver { url, queue, metrics, .. }) = &self.0 else { return };
        // A notice that has no place is not signed.
        let Ok(place) = queue.try_reserve() else { return metrics.notice(NoticeOutcome::Dropped) };
        match notice(ring, [issuer, url.as_str(), uri], row) {
            Ok(signed) => place.send(Notice { approval: row.id.clone(), signed }),
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

/// Sends the notices, some at the same time.
async fn send_all(mut waiting: mpsc::Receiver<Notice>, delivery: Arc<Delivery>) {
    let mut sending = JoinSet::new();
    while let Some(notice) = waiting.recv().await {
        while sending.len() >= AT_ONCE {
            sending.join_next().await;
        }
        let delivery = Arc::clone(&delivery);
        sending.spawn(async move {
            let outcome = delivery.send(&notice).await;
            delivery.metrics.notice(outcome);
        });
    }
    while sending.join_next().await.is_some() {}
}

impl Delivery {
    async fn send(&self, notice: &Notice) -> NoticeOutcome {
        match repeated(|| self.attempt(notice)).await {
            Some(Ok(())) => NoticeOutcome::Sent,
            None => NoticeOutcome::Dropped,
            Some(Err(error)) => {
                if let Some(left_out) = self.metrics.log_limit().pass("notice") {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, left_out, "approvals.notify_url did not take the notice of an approval");
                }
                NoticeOutcome::Failed
            }
        }
    }

    /// Sends a notice once. Returns `None` if its approval has ended.
    async fn attempt(&self, Notice { approval, signed }: &Notice) -> Option<Result<(), PushError>> {
        if !self.still_waits(approval) {
            return None;
        }
        Some(push(&self.sender, &self.url, signed.clone()).await)
    }

    /// Returns true unless the approval has ended. One that this server has not read yet waits.
    fn still_waits(&self, approval: &str) -> bool {
        let approvals = self.approvals.load();
        approvals.get(approval).is_none_or(|known| known.state_at(self.clock.now()) == ApprovalState::Pending)
    }
}

/// Makes attempts until the receiver takes the notice, refuses it, or has failed too often. An attempt
/// returns `None` if the notice must not be sent any more.
async fn repeated<F>(attempt: impl Fn() -> F) -> Option<Result<(), PushError>>
where
    F: Future<Output = Option<Result<(), PushError>>>,
{
    for pause in PAUSES {
        match attempt().await {
            Some(Err(error)) if error.may_pass_later() => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
    }
    attempt().await
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
            // A receiver whose answer is too long gets the notice once, also if its status was a failure.
            Self::Request(_) | Self::Fetch(FetchError::TooLarge(_)) => false,
            Self::Fetch(_) => true,
            Self::Status(status) => *status == 429 || *status >= 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::ready;

    use tokio::time::Instant;

    use super::*;

    /// The attempts at a receiver with these answers, in seconds after the first one, and the outcome.
    async fn attempts(answers: &[u16]) -> (Vec<u64>, bool) {
        let (start, seconds) = (Instant::now(), RefCell::new(Vec::new()));
        let attempt = || {
            let mut seconds = seconds.borrow_mut();
            let answer = answers.get(seconds.len()).copied().unwrap_or(202);
            seconds.push(start.elapsed().as_secs());
            ready(Some(if answer < 300 { Ok(()) } else { Err(PushError::Status(answer)) }))
        };
        let is_sent = matches!(repeated(attempt).await, Some(Ok(())));
        (seconds.into_inner(), is_sent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_is_sent_again_one_and_five_seconds_after_a_fault_of_the_receiver() {
        for (answers, seconds, is_sent) in [
            (&[][..], &[0][..], true),
            (&[503], &[0, 1], true),
            (&[429, 500], &[0, 1, 6], true),
            (&[500, 503, 429], &[0, 1, 6], false),
            (&[503, 400], &[0, 1], false),
            (&[400], &[0], false),
            (&[307], &[0], false),
        ] {
            assert_eq!(attempts(answers).await, (seconds.to_vec(), is_sent), "{answers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_of_an_approval_that_ends_is_not_sent_again() {
        let count = RefCell::new(0);
        let attempt = || {
            *count.borrow_mut() += 1;
            ready((*count.borrow() == 1).then_some(Err(PushError::Status(503))))
        };
        assert!(repeated(attempt).await.is_none());
        assert_eq!(count.into_inner(), 2);
    }
}
