//! Decisions of users on their own approvals.

use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::approval::{Approval, ApprovalAct, DecidedBy, SeenApproval, UndecidableError};
use crate::rate_limits::RateLimited;
use crate::record::{AuditWriter, Event};
use crate::registry::Decider;
use crate::service::{SnapshotError, Sts, Unconfirmed};
use crate::storage::StorageError;
use crate::verify::{self, ApproverError, VerifiedApprover};

/// A request of a person about an approval.
#[derive(Clone, Copy)]
pub struct ApproverCall<'a> {
    /// The access token of the person.
    pub token: &'a str,
    /// The name of the approval.
    pub id: &'a str,
    /// The correlation id of the request.
    pub correlation_id: &'a str,
    /// The address that sent the request.
    pub source: IpAddr,
}

/// A request of a person about an approval was not served.
#[derive(Debug, Error)]
pub enum ApproverRefusal {
    /// The token is not accepted.
    #[error("the token is not accepted")]
    Token(#[source] ApproverError),
    /// A rate limit is exceeded.
    #[error(transparent)]
    Limited(#[from] RateLimited),
    /// There is no such approval of this user.
    #[error("there is no such approval of this user")]
    NotFound,
    /// The decision is not possible.
    #[error("the decision is not possible")]
    Undecidable(#[from] UndecidableError),
    /// Another decision was made at the same time.
    #[error("the approval has changed")]
    Changed,
    /// The database cannot be read.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
    /// The snapshot is too old.
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    /// The decision was not committed, or it is not known whether it was.
    #[error("the decision was not committed")]
    Storage(#[from] StorageError),
    /// The task of the commit ended early.
    #[error("the task that commits the decision ended early")]
    Ended,
}

impl ApproverRefusal {
    /// Returns the stable name of the reason, for the answer, the log and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) if error.is_outage() => "keys_unavailable",
            Self::Token(_) => "invalid_token",
            Self::Limited(error) => error.limit.reason(),
            Self::NotFound => "not_found",
            Self::Undecidable(_) | Self::Changed => "approval_undecidable",
            Self::Unconfirmed(_) => "view_unconfirmed",
            Self::Snapshot(_) | Self::Storage(_) | Self::Ended => "database_unavailable",
        }
    }
}

/// Returns an approval to its user.
///
/// # Errors
/// [`ApproverRefusal`].
pub async fn show_approval(sts: &Sts, call: &ApproverCall<'_>) -> Result<SeenApproval, ApproverRefusal> {
    Ok(SeenApproval::of(&*find(sts, call).await?, sts.now()))
}

/// Decides on an approval as its user. Answers after the commit, which holds here then.
///
/// # Errors
/// [`ApproverRefusal`].
pub async fn decide_approval(
    sts: &Sts,
    call: &ApproverCall<'_>,
    act: ApprovalAct,
) -> Result<SeenApproval, ApproverRefusal> {
    let (approval, now) = (find(sts, call).await?, sts.now());
    let after = approval.decided(act, DecidedBy::User, now)?;
    let mut event = Event::new(act.event(), now);
    event.correlation_id = Some(call.correlation_id.to_owned());
    event.source = Some(call.source.to_string());
    approval.content().describe(call.id, &mut event, sts.issuer());
    event.detail = Some(approval.history(&after, now));
    let audit = AuditWriter::seal_alone(sts.master.audit(), &*sts.entropy, &event);
    let (store, before, changed) = (Arc::clone(&sts.store), Arc::clone(&approval), after.clone());
    // Runs in a task of its own, so that a disconnect or a deadline does not cancel the commit.
    let committed = tokio::spawn(async move { store.change_approval(before.row(), &changed, &[audit]).await });
    if !committed.await.or(Err(ApproverRefusal::Ended))?? {
        return Err(ApproverRefusal::Changed);
    }
    sts.refresh().await?;
    let decided = Approval::read(&after).ok_or(ApproverRefusal::Changed)?;
    Ok(SeenApproval::of(&decided, now))
}

/// Returns the approval, if the token is of its user. To others there is none.
async fn find(sts: &Sts, call: &ApproverCall<'_>) -> Result<Arc<Approval>, ApproverRefusal> {
    sts.rates().admit_attempt(call.source)?;
    sts.refresh_if_stale().await?;
    sts.confirm()?;
    let view = sts.view();
    let approver = match verify::approver(&view.verify_context(), call.token).await {
        Ok(approver) => approver,
        Err(error) if error.is_outage() => return Err(ApproverRefusal::Token(error)),
        Err(error) => {
            sts.rates().failed_attempts(call.source, None, 1)?;
            return Err(ApproverRefusal::Token(error));
        }
    };
    if let Some(approval) = of_user(sts, call.id, &approver) {
        return Ok(approval);
    }
    // Another server may have added it a moment ago.
    sts.refresh().await?;
    of_user(sts, call.id, &approver).ok_or(ApproverRefusal::NotFound)
}

fn of_user(sts: &Sts, id: &str, approver: &VerifiedApprover) -> Option<Arc<Approval>> {
    let snapshot = sts.snapshot();
    let approval = snapshot.approvals.get(id)?;
    let content = approval.content();
    let is_theirs =
        content.by == Decider::User && content.sub_id == approver.principal && content.tenant_id == approver.tenant;
    is_theirs.then(|| Arc::clone(approval))
}
