//! Approvals: list, show, decide, expire.

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Administration, By, Denied, FieldFault, Records};
use crate::approval::{Approval, ApprovalAct, ApprovalList, Approvals, DecidedBy, SeenApproval, UndecidableError};
use crate::record::EventKind;
use crate::storage::{ApprovalChange, StorageError};

/// The name of a party that decides by a command.
const COMMAND: &str = "a command";

/// A decision on an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalDecision {
    /// The act: `grant`, `deny` or `withdraw`.
    pub decision: ApprovalAct,
}

impl Records {
    /// Returns all approvals, the oldest first. Closed ones are kept for a day.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn approvals(&self) -> Result<Vec<SeenApproval>, StorageError> {
        Ok(self.read_approvals().await?.page(ApprovalList::All, None, usize::MAX, self.now()).approvals)
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

    /// Returns the stored approvals.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn read_approvals(&self) -> Result<Approvals, StorageError> {
        Ok(Approvals::of(&self.store.approvals().await?).0)
    }
}

impl Administration {
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
    pub async fn expire_approvals(&self) -> Result<u64, StorageError> {
        let now = self.now();
        let mut closed = 0;
        loop {
            let due = self.store.expired_approvals(now).await?;
            let due = due.iter().filter_map(Approval::read);
            let changes: Vec<ApprovalChange> = due.filter_map(|approval| self.closing(&approval, now)).collect();
            if changes.is_empty() {
                return Ok(closed);
            }
            // None is closed if another server was faster.
            let of_these = self.store.close_approvals(&changes).await?;
            closed += of_these;
            if of_these == 0 {
                return Ok(closed);
            }
        }
    }

    fn closing(&self, approval: &Approval, now: Timestamp) -> Option<ApprovalChange> {
        let after = approval.expired(now)?;
        let audit = self.audit_row(EventKind::ApprovalExpired, &By::default(), |event| {
            approval.content().describe(&after.id, event, self.issuer());
            event.detail = Some(approval.history(&after, now));
        });
        Some(ApprovalChange { before: approval.row().clone(), after, audit })
    }
}

impl From<UndecidableError> for Denied {
    fn from(error: UndecidableError) -> Self {
        Self::Undecidable(FieldFault { pointer: None, ..FieldFault::at("", error.to_string()) })
    }
}
