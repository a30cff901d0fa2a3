//! Approvals: list, show, decide, expire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_protocol::AuthorizationDetail;
use utoipa::ToSchema;

use super::{Administration, By, Denied, FieldFault};
use crate::approval::{Approval, ApprovalAct, Approvals, DecidedBy, UndecidableError};
use crate::record::EventKind;
use crate::storage::StorageError;

/// The name of a party that decides by a command.
const COMMAND: &str = "a command";

/// An approval as persons see it: everything that is bound, and what became of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SeenApproval {
    /// The name of the approval.
    pub id: String,
    /// The state: `pending`, `granted`, `denied`, `withdrawn`, `expired` or `ended`.
    pub state: &'static str,
    /// The person who decides: `user` or `operator`.
    pub by: &'static str,
    /// The user, as minted tokens name it.
    pub sub: String,
    /// The issuer that first named the user.
    pub subject_issuer: String,
    /// The tenant of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The agent that asked.
    pub client_id: String,
    /// The actors of the chain, the agent that asked first.
    pub actors: Vec<String>,
    /// The agent that the token is for.
    pub target: String,
    /// The scope of the token.
    pub scope: String,
    /// The authorization details of the token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The delegation whose rule asks for the approval.
    pub delegation: String,
    /// The time for which the approval is remembered once granted.
    pub remember: String,
    /// The time of the request.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// The end of the approval, pending or remembered.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The party that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The time of the last decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub decided_at: Option<Timestamp>,
}

/// A decision on an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalDecision {
    /// The act: `grant`, `deny` or `withdraw`.
    pub decision: ApprovalAct,
}

impl SeenApproval {
    /// Returns the approval as it is at `now`.
    #[must_use]
    pub fn of(approval: &Approval, now: Timestamp) -> Self {
        let (row, content) = (approval.row(), approval.content());
        Self {
            id: row.id.clone(),
            state: approval.state_at(now).as_str(),
            by: content.by.as_str(),
            sub: content.sub.clone(),
            subject_issuer: content.sub_id.iss.clone(),
            tenant_id: content.tenant_id.as_ref().map(ToString::to_string),
            client_id: content.client_id.clone(),
            actors: content.act.actors().map(|actor| actor.sub.to_owned()).collect(),
            target: content.target.clone(),
            scope: content.scope.to_string(),
            authorization_details: content.authorization_details.clone(),
            delegation: content.delegation.clone(),
            remember: content.remember.to_string(),
            requested_at: row.requested_at,
            expires_at: row.expires_at,
            decided_by: content.decided_by.clone(),
            decided_at: content.decided_at,
        }
    }
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
