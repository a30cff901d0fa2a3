//! Steps 8 and 9: commit, then answer.

use sts_protocol::{Confirmation, TokenResponse};

use super::describe::describe_token;
use super::{Call, Claimed, Issue, Refusal};
use crate::client_auth::AuthenticatedAgent;
use crate::error_kind::ErrorKind;
use crate::rate_limits::{RateLimit, RateLimited};
use crate::record::{Event, SingleUse, Submission, Verdict};
use crate::service::{RefusedParty, View};

/// Commits a token with its event, and answers only after the commit. Returns `None` if registry or
/// keys have changed since the decision.
pub(super) async fn issue(
    view: &View<'_>,
    call: &Call<'_>,
    issue: Issue,
    mut event: Event,
    mut single_use: Vec<SingleUse>,
) -> Result<Option<TokenResponse>, Refusal> {
    let client = RefusedParty::agent(&event, &view.snapshot.registry);
    if !single_use.is_empty() && view.sts.refusals.is_past(&client) {
        // Boxed, because this rare path would double the memory of each request.
        Box::pin(spend_apart(view, call, &event, std::mem::take(&mut single_use))).await?;
    }
    describe_token(&mut event, issue.minted.claims());
    let submission = Submission {
        known: view.snapshot.versions(),
        single_use,
        standings: issue.standings,
        approval: issue.approval,
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
                token_type: Confirmation::token_type(claims.cnf.as_ref()).to_owned(),
                cnf: claims.cnf.clone(),
                authorization_details: claims.authorization_details.clone(),
                access_token: issue.minted.into_token(),
            }))
        }
        Verdict::Replayed(kind) => {
            view.sts.refusals.count_stored(&client, view.now);
            Err(Refusal::Replayed(kind))
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
    single_use: Vec<SingleUse>,
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
        single_use,
        standings: Vec::new(),
        approval: None,
        token: None,
        event: Some(event.refused(refusal.reason(), refusal.detail())),
    };
    let reason = refusal.reason();
    match tokio::time::timeout(view.sts.limits.patience(), view.sts.recorder.record(submission)).await {
        Ok(Ok(Verdict::Replayed(kind))) => Refusal::Replayed(kind),
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

/// Spends the single-use values of an authentication if no decision is recorded.
///
/// # Errors
/// [`Refusal::Replayed`], or [`Refusal::Record`] if the database is unreachable.
pub(super) async fn spend(view: &View<'_>, client: &AuthenticatedAgent) -> Result<(), Refusal> {
    if client.single_use().is_empty() {
        return Ok(());
    }
    let submission = Submission {
        known: view.snapshot.versions(),
        single_use: client.single_use().to_vec(),
        standings: client.standings().to_vec(),
        approval: None,
        token: None,
        event: None,
    };
    match view.sts.recorder.record(submission).await? {
        Verdict::Replayed(kind) => Err(Refusal::Replayed(kind)),
        Verdict::Revoked(kind) => Err(Refusal::RevokedMeanwhile(kind)),
        Verdict::Committed | Verdict::Outdated => Ok(()),
    }
}

/// Spends single-use values separately from the token that they authenticate, for an agent beyond
/// its limit. Otherwise each commit would detect the replay and store another refusal.
///
/// # Errors
/// [`Refusal`] if a value was spent before, or if the database is unreachable.
async fn spend_apart(
    view: &View<'_>,
    call: &Call<'_>,
    event: &Event,
    single_use: Vec<SingleUse>,
) -> Result<(), Refusal> {
    let submission = Submission {
        known: view.snapshot.versions(),
        single_use,
        standings: Vec::new(),
        approval: None,
        token: None,
        event: None,
    };
    match view.sts.recorder.record(submission).await? {
        Verdict::Replayed(kind) => Err(refuse(view, call, Refusal::Replayed(kind), event.clone(), Vec::new()).await),
        Verdict::Committed | Verdict::Revoked(_) | Verdict::Outdated => Ok(()),
    }
}
