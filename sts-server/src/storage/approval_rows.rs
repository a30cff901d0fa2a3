//! The rows of approvals, and their columns in every database.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use rpds::HashTrieMapSync;
use sqlx::FromRow;

use super::coded::Coded;
use super::codes::{self, Code, CounterColumns, RowCodes, RowSet};
use super::columns::from_millis;
use super::{AuditRow, RevocationKind, RevocationRow, StorageError, Stored, Version};

/// The time that a closed approval is kept after its `expires_at`, for operators to look at.
pub(super) const KEPT_CLOSED: SignedDuration = SignedDuration::from_hours(24);
/// The most closed approvals that are kept for that. The oldest of more are deleted as soon as their
/// time has passed.
pub(super) const MOST_CLOSED: i64 = 50_000;
/// The expired approvals that are read at once, so that they are closed in one transaction.
pub(super) const CLOSED_AT_ONCE: usize = 500;

/// Writes the statement that reads approvals, with the rest of it. A macro, because a statement is a
/// literal.
macro_rules! select_approvals {
    ($rest:literal) => {
        concat!(
            "SELECT id, digest, state, principal_iss, principal_sub, sub, tenant_id, agents, requested_at, expires_at,
                    version, body, code
             FROM approvals ",
            $rest
        )
    };
}
pub(super) use select_approvals;

/// The place of an approval among those in the order of their end. The next read goes on after it.
#[derive(Debug, Default)]
pub(super) struct ExpiryCursor {
    pub(super) expires_at: i64,
    pub(super) id: String,
}

/// The counts that bound approvals, at a request for another one.
#[derive(Debug, FromRow)]
pub(super) struct ApprovalCounts {
    equal: i64,
    of_user: i64,
    open_of_user: i64,
    pending: i64,
    granted: i64,
}

/// The state of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalState {
    /// It waits for a decision.
    Pending,
    /// It was granted, and is remembered until it expires.
    Granted,
    /// It was denied.
    Denied,
    /// It was taken back before or after it was granted.
    Withdrawn,
    /// Its time passed.
    Expired,
    /// A revocation of its user, of one of its agents or of its tenant ended it.
    Ended,
}

impl ApprovalState {
    /// Returns true if a decision or a revocation may still change it.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Pending | Self::Granted => true,
            Self::Denied | Self::Withdrawn | Self::Expired | Self::Ended => false,
        }
    }
}

/// An approval as stored. `body` is its content as JSON; the other fields are those that the
/// database selects by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// The name of the approval; unique.
    pub id: String,
    /// The digest of what it approves.
    pub digest: String,
    /// The state.
    pub state: ApprovalState,
    /// The issuer that first named the user.
    pub principal_iss: String,
    /// The user, as that issuer names it.
    pub principal_sub: String,
    /// The user, as minted tokens name it.
    pub sub: String,
    /// The tenant of the user.
    pub tenant_id: Option<String>,
    /// The agents of this service in its chain, with their classes, and the target.
    pub agents: Vec<String>,
    /// The time of the request.
    pub requested_at: Timestamp,
    /// The end of a pending or remembered approval.
    pub expires_at: Timestamp,
    /// The counter that the last change raised. The store sets it and ignores the caller's value.
    pub version: i64,
    /// The content, as JSON.
    pub body: String,
}

impl ApprovalRow {
    /// Returns true if a revocation ends this approval.
    #[must_use]
    pub(super) fn is_ended_by(&self, revocation: &RevocationRow) -> bool {
        let value = &revocation.value;
        match revocation.kind {
            RevocationKind::Subject => match &revocation.issuer {
                Some(issuer) => self.principal_iss == *issuer && self.principal_sub == *value,
                None => self.principal_sub == *value || self.sub == *value,
            },
            RevocationKind::Agent => self.agents.contains(value),
            RevocationKind::Tenant => self.tenant_id.as_ref() == Some(value),
            RevocationKind::Token | RevocationKind::TokenAlone | RevocationKind::Transaction => false,
        }
    }
}

/// The conditions under which an approval is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalConditions {
    /// The revocations that the decision was made under.
    pub known: Version,
    /// The start of the period of `most_of_user`.
    pub since: Timestamp,
    /// The most approvals of one user: those of the period in any state, and those that wait.
    pub most_of_user: u32,
    /// The most approvals of one user that wait, or are granted and remembered.
    pub most_open_of_user: u32,
    /// The most approvals that wait for a decision, of all users.
    pub most_pending: u32,
    /// The most approvals that are granted and remembered, of all users.
    pub most_granted: u32,
}

impl ApprovalCounts {
    /// Returns the reason why no further approval is added; `None` if it may be.
    pub(super) fn refuse(&self, conditions: ApprovalConditions, known: Version) -> Option<ApprovalRequested> {
        let is_used_up = |count: i64, most: u32| count >= i64::from(most);
        if known != conditions.known || self.equal > 0 {
            return Some(ApprovalRequested::Outdated);
        }
        if is_used_up(self.of_user, conditions.most_of_user)
            || is_used_up(self.open_of_user, conditions.most_open_of_user)
        {
            return Some(ApprovalRequested::TooMany);
        }
        if is_used_up(self.pending, conditions.most_pending) {
            return Some(ApprovalRequested::Full);
        }
        is_used_up(self.granted, conditions.most_granted).then_some(ApprovalRequested::FullOfGranted)
    }
}

/// The change of an approval, with its event.
#[derive(Debug, Clone)]
pub struct ApprovalChange {
    /// The approval as it must still be stored.
    pub before: ApprovalRow,
    /// The approval afterwards.
    pub after: ApprovalRow,
    /// The event.
    pub audit: AuditRow,
}

/// The version and the codes of the approvals that a server holds, for a read of the changes.
#[derive(Debug, Clone)]
pub struct HeldApprovals {
    version: Version,
    codes: HashTrieMapSync<String, Code>,
    /// The set of the codes. Computed at the first read of changes.
    set: Option<RowSet>,
}

/// The approvals that changed after a version.
#[derive(Debug, Clone)]
pub struct ApprovalChanges {
    /// The state that the changes lead to.
    pub held: HeldApprovals,
    /// The changed and added rows. Servers wrote all of them.
    pub rows: Vec<ApprovalRow>,
    /// The ids of the rows that were purged.
    pub purged: Vec<String>,
}

impl HeldApprovals {
    /// Returns the approvals of a read. Returns `None` if the read has faults: no changes of it can
    /// be followed.
    #[must_use]
    pub fn of(stored: &Stored<ApprovalRow>) -> Option<Self> {
        let is_sound = stored.is_whole && stored.faults.is_empty();
        let codes = || stored.rows.iter().map(|coded| (coded.row.id.clone(), coded.code)).collect();
        is_sound.then(|| Self { version: stored.version, codes: codes(), set: None })
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the state after these rows changed. Returns `None` if a row was written or altered
    /// outside the servers.
    pub(super) fn after(
        &self,
        changed: Vec<ApprovalColumns>,
        version: Version,
        codes: &RowCodes,
    ) -> Option<ApprovalChanges> {
        let mut held = Self { version, ..self.clone() };
        let mut set = held.set.unwrap_or_else(|| {
            let mut set = RowSet::default();
            held.codes.values().for_each(|code| set.toggle(codes, code));
            set
        });
        let mut rows = Vec::with_capacity(changed.len());
        for columns in changed {
            let code = columns.content_code(codes);
            let row = columns.vouched(codes)?;
            set.toggle(codes, &code);
            if let Some(replaced) = held.codes.get(&row.id) {
                set.toggle(codes, replaced);
            }
            held.codes.insert_mut(row.id.clone(), code);
            rows.push(row);
        }
        held.set = Some(set);
        Some(ApprovalChanges { held, rows, purged: Vec::new() })
    }
}

impl ApprovalChanges {
    /// Returns true if the state is exactly the set that servers wrote.
    pub(super) fn fits(&self, counter: &CounterColumns, codes: &RowCodes) -> bool {
        counter.open(codes).is_ok_and(|set| self.held.set == Some(set))
    }

    /// Removes the rows that are not stored any more. A purge raises no version.
    pub(super) fn without_purged(mut self, stored: Vec<String>, codes: &RowCodes) -> Self {
        let stored: HashSet<String> = stored.into_iter().collect();
        let held = &mut self.held;
        self.purged = held.codes.keys().filter(|id| !stored.contains(*id)).cloned().collect();
        for id in &self.purged {
            if let (Some(code), Some(set)) = (held.codes.get(id), held.set.as_mut()) {
                set.toggle(codes, code);
            }
            held.codes.remove_mut(id);
        }
        self
    }
}

/// The outcome of a request for an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalRequested {
    /// The approval was added.
    Added,
    /// Revocations have changed, or an equal approval is known: decide again.
    Outdated,
    /// The quota of the user is used up.
    TooMany,
    /// Too many approvals wait for a decision.
    Full,
    /// Too many granted approvals are remembered.
    FullOfGranted,
}

/// A row of `approvals`.
#[derive(Debug, Clone, FromRow)]
pub(super) struct ApprovalColumns {
    pub(super) id: String,
    pub(super) digest: String,
    pub(super) state: String,
    pub(super) principal_iss: String,
    pub(super) principal_sub: String,
    pub(super) sub: String,
    pub(super) tenant_id: String,
    pub(super) agents: String,
    pub(super) requested_at: i64,
    pub(super) expires_at: i64,
    pub(super) version: i64,
    pub(super) body: String,
    pub(super) code: Vec<u8>,
}

impl ApprovalColumns {
    pub(super) fn of(codes: &RowCodes, row: &ApprovalRow) -> Self {
        let mut columns = Self {
            id: row.id.clone(),
            digest: row.digest.clone(),
            state: row.state.as_str().to_owned(),
            principal_iss: row.principal_iss.clone(),
            principal_sub: row.principal_sub.clone(),
            sub: row.sub.clone(),
            tenant_id: row.tenant_id.clone().unwrap_or_default(),
            agents: row.agents.join(" "),
            requested_at: row.requested_at.as_millisecond(),
            expires_at: row.expires_at.as_millisecond(),
            version: row.version,
            body: row.body.clone(),
            code: Vec::new(),
        };
        columns.code = columns.content_code(codes).to_vec();
        columns
    }

    /// Returns the place of the approval, to read on after it.
    pub(super) fn place(&self) -> ExpiryCursor {
        ExpiryCursor { expires_at: self.expires_at, id: self.id.clone() }
    }

    /// Returns the row, if a server wrote it as it is.
    pub(super) fn vouched(self, codes: &RowCodes) -> Option<ApprovalRow> {
        let is_vouched = codes::matches(&self.code, &self.content_code(codes));
        self.read().ok().filter(|_| is_vouched)
    }

    /// Returns the columns of this approval, ended by a revocation under this version. Returns
    /// `None` if the revocation does not end it.
    pub(super) fn ended_by(&self, revocation: &RevocationRow, version: i64, codes: &RowCodes) -> Option<Self> {
        let row = self.clone().vouched(codes)?;
        let is_ended = row.state.is_open() && row.is_ended_by(revocation);
        is_ended.then(|| Self::of(codes, &ApprovalRow { state: ApprovalState::Ended, version, ..row }))
    }
}

/// Replaces the codes of the replaced rows in the set.
pub(super) fn toggle_replaced(
    changes: &[(ApprovalColumns, ApprovalColumns)],
    replaced: &[String],
    codes: &RowCodes,
    set: &mut RowSet,
) {
    let replaced: HashSet<&String> = replaced.iter().collect();
    for (before, after) in changes.iter().filter(|(_, after)| replaced.contains(&after.id)) {
        set.toggle(codes, before.stored_code());
        set.toggle(codes, after.stored_code());
    }
}

impl Coded for ApprovalColumns {
    const TABLE: &'static str = "approvals";
    const CODES: &'static str = "SELECT code FROM approvals";
    const COUNTER: &'static str = "approvals";
    type Row = ApprovalRow;

    fn key(&self) -> [&str; 3] {
        [&self.id, "", ""]
    }

    fn name(&self) -> String {
        self.id.clone()
    }

    fn content_code(&self, codes: &RowCodes) -> Code {
        let Self { id, digest, state, principal_iss, principal_sub, sub, tenant_id, agents, body, .. } = self;
        let texts = [id, digest, state, principal_iss, principal_sub, sub, tenant_id, agents].map(String::as_bytes);
        let numbers = [self.requested_at, self.expires_at, self.version].map(i64::to_be_bytes);
        let numbers = numbers.iter().map(<[u8; 8]>::as_slice);
        let fields: Vec<&[u8]> = texts.into_iter().chain(numbers).chain([body.as_bytes()]).collect();
        codes.of("approvals", &fields)
    }

    fn stored_code(&self) -> &[u8] {
        &self.code
    }

    fn read(self) -> Result<ApprovalRow, StorageError> {
        Ok(ApprovalRow {
            state: ApprovalState::of_word(&self.state)?,
            tenant_id: (!self.tenant_id.is_empty()).then_some(self.tenant_id),
            agents: self.agents.split(' ').filter(|agent| !agent.is_empty()).map(str::to_owned).collect(),
            requested_at: from_millis("approvals", self.requested_at)?,
            expires_at: from_millis("approvals", self.expires_at)?,
            version: self.version,
            id: self.id,
            digest: self.digest,
            principal_iss: self.principal_iss,
            principal_sub: self.principal_sub,
            sub: self.sub,
            body: self.body,
        })
    }
}
