//! Steps 8 and 9: commit, then answer.

use sts_protocol::TokenResponse;

use super::describe::describe_token;
use super::{Call, Claimed, Issue, Refusal};
use crate::client_auth::AuthenticatedAgent;
use crate::error_kind::ErrorKind;
use crate::rate_limits::{RateLimit, RateLimited};
use crate::record::{Event, Submission, Verdict};
use crate::service::{RefusedParty, View};
use crate::storage::OneTimeValue;

/// Commits a token with its event, and answers only after the commit. Returns `None` if registry or
/// keys have changed since the decision.
pub(super) async fn issue(
    view: &View<'_>,
    call: &Call<'_>,
    issue: Issue,
    mut event: Event,
    mut one_time: Option<OneTimeValue>,
) -> Result<Option<TokenResponse>, Refusal> {
    let client = RefusedParty::agent(&event, &view.snapshot.registry);
    if let Some(one_time) = one_time.take_if(|_| view.sts.refusals.is_past(&client)) {
        // Boxed, because this rare path would double the memory of each request.
        Box::pin(spend_apart(view, call, &event, one_time)).await?;
    }
    describe_token(&mut event, issue.minted.claims());
    let submission = Submission {
        known: view.snapshot.versions(),
        one_time,
        standings: issue.standings,
        token: Some(issue.minted.row()),
        event: Some(event),
    };
    match view.sts.recorder.record(submission).await? {
        Verdict::Committed => {
            let claims = issue.minted.claims();
            Ok(Some(TokenResponse {
                expires_in: claims.exp - claims.iat,
                scope: claims.scope.clone(),
                issued_token_type: issue.issued_token_type,
                token_type: "Bearer".to_owned(),
                access_token: issue.minted.into_token(),
            }))
        }
        Verdict::Replayed => {
            view.sts.refusals.count_stored(&client, view.now);
            Err(Refusal::Replayed)
        }
        Verdict::Revoked(kind) => {
            view.sts.refusals.count_stored(&client, view.now);
            Err(Refusal::RevokedMeanwhile(kind))
        }
        Verdict::Outdated => Ok(None),
    }
}

/// Records a refusal of a known client. The event holds the claims of the refused token.
///
/// A refusal is answered even if it cannot be recorded, or not in time; the log then reports it. It
/// is never answered as an outage. A refusal beyond the agent's limit is counted, not stored, and
/// answered with a rate limit. A refusal whose record waits too long is recorded when the database
/// can.
pub(super) async fn refuse(
    view: &View<'_>,
    call: &Call<'_>,
    refusal: Refusal,
    mut event: Event,
    one_time: Option<OneTimeValue>,
) -> Refusal {
    if let Some(retry_after) =
        view.sts.refusals.count(&RefusedParty::agent(&event, &view.snapshot.registry), refusal.reason(), view.now)
    {
        // An outage is still answered as an outage, although it is counted.
        let is_outage = refusal.kind() == ErrorKind::Unavailable;
        return if is_outage {
            refusal
        } else {
            Refusal::Limited(RateLimited { limit: RateLimit::ClientRefusals, retry_after })
        };
    }
    if let Some(claimed) = Claimed::of(&refusal, call.body) {
        claimed.describe(&mut event);
    }
    let correlation_id = call.correlation_id;
    let submission = Submission {
        known: view.snapshot.versions(),
        one_time,
        standings: Vec::new(),
        token: None,
        event: Some(event.refused(refusal.reason(), refusal.detail())),
    };
    let reason = refusal.reason();
    match tokio::time::timeout(view.sts.limits.patience(), view.sts.recorder.record(submission)).await {
        Ok(Ok(Verdict::Replayed)) => Refusal::Replayed,
        Ok(Ok(Verdict::Committed | Verdict::Revoked(_) | Verdict::Outdated)) => refusal,
        Ok(Err(error)) => {
            if let Some(held_back) = view.sts.metrics().log_limit().pass("refusal_not_recorded") {
                tracing::error!(correlation_id, reason, %error, held_back, "failed to record a refusal");
            }
            refusal
        }
        Err(_elapsed) => {
            if let Some(held_back) = view.sts.metrics().log_limit().pass("refusal_not_recorded") {
                tracing::error!(correlation_id, reason, held_back, "a refusal is not recorded yet");
            }
            refusal
        }
    }
}

/// Spends the single-use value of an authentication if no decision is recorded.
///
/// # Errors
/// [`Refusal::Replayed`], or [`Refusal::Record`] if the database is unreachable.
pub(super) async fn spend(view: &View<'_>, client: &AuthenticatedAgent) -> Result<(), Refusal> {
    let Some(one_time) = client.one_time().cloned() else { return Ok(()) };
    let submission = Submission {
        known: view.snapshot.versions(),
        one_time: Some(one_time),
        standings: client.standings().to_vec(),
        token: None,
        event: None,
    };
    match view.sts.recorder.record(submission).await? {
        Verdict::Replayed => Err(Refusal::Replayed),
        Verdict::Revoked(kind) => Err(Refusal::RevokedMeanwhile(kind)),
        Verdict::Committed | Verdict::Outdated => Ok(()),
    }
}

/// Spends a single-use value separately from the token that it authenticates, for an agent beyond
/// its limit. Otherwise each commit would detect the replay and store another refusal.
///
/// # Errors
/// [`Refusal`] if the value was spent before, or if the database is unreachable.
async fn spend_apart(view: &View<'_>, call: &Call<'_>, event: &Event, one_time: OneTimeValue) -> Result<(), Refusal> {
    let submission = Submission {
        known: view.snapshot.versions(),
        one_time: Some(one_time),
        standings: Vec::new(),
        token: None,
        event: None,
    };
    match view.sts.recorder.record(submission).await? {
        Verdict::Replayed => Err(refuse(view, call, Refusal::Replayed, event.clone(), None).await),
        Verdict::Committed | Verdict::Revoked(_) | Verdict::Outdated => Ok(()),
    }
}
