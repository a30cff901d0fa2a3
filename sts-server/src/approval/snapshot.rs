//! The approvals as requests read them: immutable, replaced as a whole.

use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use super::ApprovalContent;
use crate::storage::{ApprovalChanges, ApprovalRow, ApprovalState, HeldApprovals, Stored, TableFault, Version};

/// An approval with its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    pub(super) row: ApprovalRow,
    pub(super) content: ApprovalContent,
}

/// The approvals that the database holds. A change costs what has changed: a former state and a later one
/// share all other approvals.
#[derive(Debug, Clone, Default)]
pub struct Approvals {
    version: Version,
    /// The start of the next read, if it can read the changes alone.
    held: Option<HeldApprovals>,
    /// By name, which orders them by the time of the request.
    by_id: RedBlackTreeMapSync<String, Arc<Approval>>,
    by_key: HashTrieMapSync<String, Vec<Arc<Approval>>>,
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
    /// Returns false if no approvals were read, because their table cannot be.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.version != Version::default()
    }

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
        let Some(removed) = self.by_id.get(id).map(Arc::clone) else { return };
        self.by_id.remove_mut(id);
        let key = &removed.row.digest;
        let of_key = self.by_key.get(key).into_iter().flatten();
        let others: Vec<Arc<Approval>> = of_key.filter(|approval| approval.row.id != id).map(Arc::clone).collect();
        if others.is_empty() {
            self.by_key.remove_mut(key);
        } else {
            self.by_key.insert_mut(key.clone(), others);
        }
    }

    pub(super) fn add(&mut self, approval: Approval) {
        let approval = Arc::new(approval);
        let mut of_key = self.by_key.get(&approval.row.digest).cloned().unwrap_or_default();
        of_key.push(Arc::clone(&approval));
        self.by_key.insert_mut(approval.row.digest.clone(), of_key);
        self.by_id.insert_mut(approval.row.id.clone(), approval);
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

    /// Returns all approvals, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Approval>> {
        self.by_id.values()
    }

    /// Returns the approvals whose names are within these bounds, the oldest first.
    pub(super) fn between<'a>(
        &'a self,
        from: Bound<&'a str>,
        to: Bound<&'a str>,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Approval>> {
        self.by_id.range::<str, _>((from, to)).map(|(_id, approval)| approval)
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
