//! The approvals as requests read them: immutable, replaced as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::ApprovalContent;
use crate::storage::{ApprovalChanges, ApprovalRow, ApprovalState, HeldApprovals, Stored, TableFault, Version};

/// An approval with its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    pub(super) row: ApprovalRow,
    pub(super) content: ApprovalContent,
}

/// The approvals that the database holds.
#[derive(Debug, Clone, Default)]
pub struct Approvals {
    version: Version,
    /// The start of the next read, if it can read the changes alone.
    held: Option<HeldApprovals>,
    by_id: HashMap<String, Arc<Approval>>,
    by_key: HashMap<String, Vec<Arc<Approval>>>,
}

/// The approval of a token, as far as it is known.
#[derive(Debug, Clone)]
pub enum KnownApproval {
    /// It was granted and is remembered.
    Granted(Arc<Approval>),
    /// It waits for a decision.
    Pending(Arc<Approval>),
    /// It was denied, and its request has not expired yet.
    Denied,
    /// There is none.
    None,
}

impl Approval {
    /// Reads a row. Returns `None` if its content is not what its digest says.
    #[must_use]
    pub fn read(row: &ApprovalRow) -> Option<Self> {
        let content: ApprovalContent = serde_json::from_str(&row.body).ok()?;
        (content.key() == row.digest).then(|| Self { row: row.clone(), content })
    }

    /// Returns the row.
    #[must_use]
    pub fn row(&self) -> &ApprovalRow {
        &self.row
    }

    /// Returns the content.
    #[must_use]
    pub fn content(&self) -> &ApprovalContent {
        &self.content
    }

    /// Returns true if the approval has expired at `now`.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.row.expires_at <= now
    }
}

impl Approvals {
    /// The name of the table, in faults.
    pub const TABLE: &'static str = "approvals";

    /// Builds the state of the stored rows, and returns the faults of reading. A row that was
    /// written or altered outside the servers is no approval. If rows were removed or restored
    /// outside the servers, no row is.
    #[must_use]
    pub fn of(stored: &Stored<ApprovalRow>) -> (Self, Vec<TableFault>) {
        let mut approvals = Self { version: stored.version, held: HeldApprovals::of(stored), ..Self::default() };
        let mut faults = stored.faults.clone();
        let vouched = stored.rows.iter().filter(|coded| coded.is_vouched && stored.is_whole);
        for coded in vouched {
            match Approval::read(&coded.row) {
                Some(approval) => approvals.add(approval),
                None => faults.push(TableFault::Malformed {
                    table: stored.table,
                    row: coded.row.id.clone(),
                    reason: "its content is not that of its digest".to_owned(),
                }),
            }
        }
        if !faults.is_empty() {
            approvals.held = None;
        }
        (approvals, faults)
    }

    /// Returns the state after these changes. Returns `None` if one of them cannot be read.
    #[must_use]
    pub fn after(&self, changes: ApprovalChanges) -> Option<Self> {
        let ApprovalChanges { held, rows, purged } = changes;
        let mut approvals = Self { version: held.version(), held: Some(held), ..self.clone() };
        purged.iter().for_each(|id| approvals.remove(id));
        for row in rows {
            approvals.remove(&row.id);
            approvals.add(Approval::read(&row)?);
        }
        Some(approvals)
    }

    /// Returns the start of the next read, if it can read the changes alone.
    #[must_use]
    pub fn held(&self) -> Option<&HeldApprovals> {
        self.held.as_ref()
    }

    fn remove(&mut self, id: &str) {
        let Some(removed) = self.by_id.remove(id) else { return };
        if let Some(of_key) = self.by_key.get_mut(&removed.row.digest) {
            of_key.retain(|approval| approval.row.id != id);
            if of_key.is_empty() {
                self.by_key.remove(&removed.row.digest);
            }
        }
    }

    fn add(&mut self, approval: Approval) {
        let approval = Arc::new(approval);
        self.by_key.entry(approval.row.digest.clone()).or_default().push(Arc::clone(&approval));
        self.by_id.insert(approval.row.id.clone(), approval);
    }

    /// Returns the version of the state.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the approval with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Approval>> {
        self.by_id.get(id)
    }

    /// Returns all approvals, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Approval>> {
        self.by_id.values()
    }

    /// Returns the approval with this [`ApprovalContent::key`].
    #[must_use]
    pub fn find(&self, key: &str, now: Timestamp) -> KnownApproval {
        let of_key = self.by_key.get(key).into_iter().flatten();
        let alive: Vec<&Arc<Approval>> = of_key.filter(|approval| !approval.has_expired(now)).collect();
        let in_state = |state| alive.iter().find(|approval| approval.row.state == state).map(|found| Arc::clone(found));
        if let Some(granted) = in_state(ApprovalState::Granted) {
            return KnownApproval::Granted(granted);
        }
        if let Some(pending) = in_state(ApprovalState::Pending) {
            return KnownApproval::Pending(pending);
        }
        if in_state(ApprovalState::Denied).is_some() { KnownApproval::Denied } else { KnownApproval::None }
    }
}
