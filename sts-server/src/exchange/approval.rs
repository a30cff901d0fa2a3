//! The request for an approval: the third outcome of the rules, committed before it is answered.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::commit::{refuse, spend};
use super::{AwaitedApproval, Call, Refusal, deferral};
use crate::approval::{ApprovalContent, MOST_GRANTED, MOST_OPEN_OF_USER, MOST_PENDING, QUOTA, QUOTA_PERIOD};
use crate::client_auth::AuthenticatedAgent;
use crate::mint;
use crate::policy::RequiredApproval;
use crate::rate_limits::{RateLimit, RateLimited};
use crate::record::{AuditWriter, Event, EventKind, RecordError, SingleUse};
use crate::service::View;
use crate::storage::{ApprovalConditions, ApprovalRequested, ApprovalRow};

/// The path of approvals below our issuer, for the persons who decide.
pub const APPROVALS_PATH: &str = "/approvals";
/// The pause before a user may be asked again.
const QUOTA_RETRY: Duration = Duration::from_mins(1);

/// Commits a pending approval with its event, or finds the one of an equal request. Returns the
/// refusal that names it, or `None` if the request must be decided again.
///
/// # Errors
/// [`Refusal`] of any other kind.
pub(super) async fn request_approval(
    view: &View<'_>,
    call: &Call<'_>,
    required: RequiredApproval,
    mut event: Event,
    (client, single_use): (&AuthenticatedAgent, Vec<SingleUse>),
) -> Result<Option<Refusal>, Refusal> {
    let RequiredApproval { content, pending, wait, .. } = required;
    let by = content.by;
    let parent_exp = event.parent_exp.and_then(|exp| Timestamp::from_second(exp).ok());
    let kept = match deferral::kept(call, client) {
        Ok(kept) => kept,
        Err(refusal) => return Ok(Some(refuse(view, call, refusal, event, single_use).await)),
    };
    let waiting = |row: &ApprovalRow| {
        if let Some(kept) = &kept {
            let expires_at = parent_exp.map_or(row.expires_at, |exp| exp.min(row.expires_at));
            return Ok(Refusal::Deferred(deferral::defer(view, call, client, kept, (&row.id, expires_at))?));
        }
        let (id, uri) = (row.id.clone(), interaction_uri(view, row));
        Ok::<_, Refusal>(Refusal::ApprovalRequired(AwaitedApproval { id, uri, by }))
    };
    if let Some(approval) = pending {
        event.approval = Some(approval.row().id.clone());
        return Ok(Some(refuse(view, call, waiting(approval.row())?, event, single_use).await));
    }
    view.sts.confirm()?;
    if !single_use.is_empty() {
        spend(view, client).await?;
    }
    let content = ApprovalContent { correlation_id: Some(call.correlation_id.to_owned()), ..content };
    let expires_at = view.now.checked_add(SignedDuration::from_secs(wait.as_seconds())).unwrap_or(view.now);
    let row = content.pending(&mint::name(view.now, &*view.sts.entropy), view.sts.issuer(), view.now, expires_at);
    event.event = EventKind::ApprovalRequested;
    event.approval = Some(row.id.clone());
    match add(view, &row, &event).await? {
        ApprovalRequested::Added => {
            view.sts.notices.waiting(&view.snapshot.ring, view.sts.issuer(), &row, &interaction_uri(view, &row));
            view.sts.refresh().await?;
            Ok(Some(waiting(&row)?))
        }
        ApprovalRequested::Outdated => Ok(None),
        ApprovalRequested::TooMany => Ok(Some(limited(view, call, event, RateLimit::ApprovalRequests).await)),
        ApprovalRequested::Full => Ok(Some(limited(view, call, event, RateLimit::PendingApprovals).await)),
        ApprovalRequested::FullOfGranted => Ok(Some(limited(view, call, event, RateLimit::RememberedApprovals).await)),
    }
}

/// Returns the page where a person decides.
fn interaction_uri(view: &View<'_>, row: &ApprovalRow) -> String {
    format!("{}{APPROVALS_PATH}/{}", view.sts.issuer(), row.id)
}

/// Records the refusal of a request that exceeds a limit of approvals.
async fn limited(view: &View<'_>, call: &Call<'_>, event: Event, limit: RateLimit) -> Refusal {
    let event = Event { event: EventKind::TokenRefused, approval: None, ..event };
    refuse(view, call, RateLimited { limit, retry_after: QUOTA_RETRY }.into(), event, Vec::new()).await
}

/// Commits in a task of its own, so that a disconnect or a deadline does not cancel the commit.
async fn add(view: &View<'_>, row: &ApprovalRow, event: &Event) -> Result<ApprovalRequested, Refusal> {
    let sts = view.sts;
    let audit = AuditWriter::seal_alone(sts.master.audit(), &*sts.entropy, event);
    let since = view.now.checked_sub(QUOTA_PERIOD).unwrap_or(view.now);
    let conditions = ApprovalConditions {
        known: view.snapshot.versions().revocations,
        since,
        most_of_user: QUOTA,
        most_open_of_user: MOST_OPEN_OF_USER,
        most_pending: MOST_PENDING,
        most_granted: MOST_GRANTED,
    };
    let (store, row) = (Arc::clone(&sts.store), row.clone());
    let added = tokio::spawn(async move { store.request_approval(&row, conditions, &[audit]).await });
    let added = added.await.or(Err(RecordError::Ended))?;
    Ok(added.map_err(|error| RecordError::Storage(Arc::new(error)))?)
}
