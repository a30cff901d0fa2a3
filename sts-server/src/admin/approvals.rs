//! Approvals: list, show, decide, expire.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{Administration, By, Denied, FieldFault};
use crate::approval::{Approval, ApprovalAct, Approvals, DecidedBy, SeenApproval, UndecidableError};
use crate::record::EventKind;
use crate::storage::StorageError;

/// The name of a party that decides by a command.
const COMMAND: &str = "a command";

/// A decision on an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalDecision {
    /// The act: `grant`, `deny` or `withdraw`.
    pub decision: ApprovalAct,
}

impl Administration {
    /// Returns all approvals, the oldest first. Closed ones are kept for a day.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn approvals(&self) -> Result<Vec<SeenApproval>, StorageError> {
        let (approvals, now) = (self.read_approvals().await?, self.now());
        let mut seen: Vec<SeenApproval> = approvals.iter().map(|approval| SeenApproval::of(approval, now)).collect();
        seen.sort_by(|left, right| (left.requested_at, &left.id).cmp(&(right.requested_at, &right.id)));
        Ok(seen)
    }

    /// Returns the approval with this id.
    ///
    /// # Errors
    /// [`Denied::NotFound`] or [`Denied::Storage`].
    pub async fn approval(&self, id: &str) -> Result<SeenApproval, Denied> {
        let approvals = self.read_approvals().await?;
        let approval = approvals.get(id).ok_or(Denied::NotFound)?;
        Ok(SeenApproval::of(approval, self.now()))
    }

    /// Decides on an approval as an operator, and returns it as it is then.
    ///
    /// # Errors
    /// [`Denied`]: `NotFound`, `Undecidable`, `PreconditionFailed` or `Storage`; then nothing is
    /// written.
    pub async fn decide_approval(&self, id: &str, act: ApprovalAct, by: &By) -> Result<SeenApproval, Denied> {
        let now = self.now();
        let approvals = self.read_approvals().await?;
        let approval = approvals.get(id).ok_or(Denied::NotFound)?;
        let operator = DecidedBy::Operator(by.admin.as_deref().unwrap_or(COMMAND));
        let after = approval.decided(act, operator, now)?;
        let audit = self.audit_row(act.event(), by, |event| {
            approval.content().describe(id, event, self.issuer());
            event.detail = Some(approval.history(&after, now));
        });
        if !self.store.change_approval(approval.row(), &after, &[audit]).await? {
            return Err(Denied::PreconditionFailed);
        }
        let decided = Approval::read(&after).ok_or(Denied::NotFound)?;
        Ok(SeenApproval::of(&decided, now))
    }

    /// Closes the approvals that have expired, each with its event. Returns the number.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn expire_approvals(&self) -> Result<usize, StorageError> {
        let (approvals, now) = (self.read_approvals().await?, self.now());
        let due = approvals.iter().filter_map(|approval| Some((approval, approval.expired(now)?)));
        let mut expired = 0;
        for (approval, after) in due {
            let audit = self.audit_row(EventKind::ApprovalExpired, &By::default(), |event| {
                approval.content().describe(&after.id, event, self.issuer());
                event.detail = Some(approval.history(&after, now));
            });
            // Another server may have been faster.
            expired += usize::from(self.store.change_approval(approval.row(), &after, &[audit]).await?);
        }
        Ok(expired)
    }

    async fn read_approvals(&self) -> Result<Approvals, StorageError> {
        Ok(Approvals::of(&self.store.approvals().await?).0)
    }
}

impl From<UndecidableError> for Denied {
    fn from(error: UndecidableError) -> Self {
        Self::Undecidable(FieldFault { pointer: None, ..FieldFault::at("", error.to_string()) })
    }
}
