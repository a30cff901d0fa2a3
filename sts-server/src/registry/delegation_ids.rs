//! The row names of the delegations of a file.
//!
//! A delegation has no name in a file. Its row is called `actor->target`. Further rows of the same
//! pair are called `actor->target#2` and so on. Reordering the entries of a file must change
//! nothing. So a delegation keeps the row with the same content. If there is none, it takes a row
//! that covers some of the same subjects, then any other row of its pair.

use std::collections::HashSet;

use super::Delegation;
use super::located::Located;
use crate::storage::{EntryKind, EntryRow, Origin};

/// A delegation of a file, with the name of its row.
#[derive(Debug)]
pub(super) struct NamedDelegation<'a> {
    pub(super) delegation: &'a Located<Delegation>,
    pub(super) id: String,
    /// True if it covers subjects of a delegation that an administrator has disabled. It is then
    /// disabled too.
    pub(super) disabled_by_admin: bool,
}

struct Stored<'a> {
    row: &'a EntryRow,
    delegation: Delegation,
}

/// Assigns names to the delegations, in file order.
pub(super) fn assign<'a>(rows: &[EntryRow], delegations: &'a [Located<Delegation>]) -> Vec<NamedDelegation<'a>> {
    let stored = stored(rows);
    let mut ids: Vec<Option<String>> = vec![None; delegations.len()];
    let mut free: Vec<&Stored<'_>> = stored.iter().collect();
    for fits in [says_the_same, says_the_same_but_disabled, covers_the_same, is_of_the_same_pair] {
        for (located, id) in delegations.iter().zip(&mut ids).filter(|(_, id)| id.is_none()) {
            if let Some(index) = free.iter().position(|stored| fits(&stored.delegation, &located.entry)) {
                *id = Some(free.remove(index).row.id.clone());
            }
        }
    }
    let mut taken: HashSet<String> =
        rows.iter().filter(|row| row.kind == EntryKind::Delegation).map(|row| row.id.clone()).collect();
    let named = delegations.iter().zip(ids).map(|(delegation, id)| NamedDelegation {
        delegation,
        id: id.unwrap_or_else(|| fresh_id(&delegation.entry, &mut taken)),
        disabled_by_admin: stored
            .iter()
            .any(|stored| stored.row.disabled_by_admin && covers_the_same(&stored.delegation, &delegation.entry)),
    });
    named.collect()
}

/// Returns the readable rows that a file made, in the order in which the names of a pair are
/// assigned.
fn stored(rows: &[EntryRow]) -> Vec<Stored<'_>> {
    let made_by_file = rows.iter().filter(|row| row.kind == EntryKind::Delegation && row.origin == Origin::File);
    let read = |row| Some(Stored { row, delegation: serde_json::from_str(&row.body).ok()? });
    let mut stored: Vec<Stored<'_>> = made_by_file.filter_map(read).collect();
    stored.sort_by_key(|stored| (stored.row.id.len(), &stored.row.id));
    stored
}

fn fresh_id(delegation: &Delegation, taken: &mut HashSet<String>) -> String {
    let first = format!("{}->{}", delegation.actor, delegation.target);
    let mut id = first.clone();
    let mut ordinal: u32 = 1;
    while !taken.insert(id.clone()) {
        ordinal = ordinal.saturating_add(1);
        id = format!("{first}#{ordinal}");
    }
    id
}

fn says_the_same(stored: &Delegation, wanted: &Delegation) -> bool {
    stored == wanted
}

/// Returns true if only `disabled` differs. A row that an administrator disabled and that a file
/// then dropped is disabled in its body too.
fn says_the_same_but_disabled(stored: &Delegation, wanted: &Delegation) -> bool {
    Delegation { disabled: wanted.disabled, ..stored.clone() } == *wanted
}

fn covers_the_same(stored: &Delegation, wanted: &Delegation) -> bool {
    is_of_the_same_pair(stored, wanted) && stored.overlaps(wanted)
}

fn is_of_the_same_pair(stored: &Delegation, wanted: &Delegation) -> bool {
    stored.actor == wanted.actor && stored.target == wanted.target
}
