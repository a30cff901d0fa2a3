//! The row names of the delegations of a file.
//!
//! A delegation has no name in a file. Its row is called `actor->target`. Further rows of the same
//! pair are called `actor->target#2` and so on. Reordering the entries of a file must change
//! nothing. So a delegation keeps the row with the same content. If there is none, it takes a row
//! that covers some of the same subjects, then any other row of its pair.

use std::collections::{HashMap, HashSet};

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

/// The stored and the wanted delegations of one pair of agents. No other pair bears on their names.
#[derive(Default)]
struct Pair<'a, 'b> {
    stored: Vec<&'b Stored<'a>>,
    /// The indices of the file's delegations.
    wanted: Vec<usize>,
}

/// Assigns names to the delegations, in file order.
pub(super) fn assign<'a>(rows: &[EntryRow], delegations: &'a [Located<Delegation>]) -> Vec<NamedDelegation<'a>> {
    let stored = stored(rows);
    let pairs = pairs(&stored, delegations);
    let mut ids: Vec<Option<String>> = vec![None; delegations.len()];
    for pair in pairs.values() {
        assign_pair(pair, delegations, &mut ids);
    }
    let mut taken: HashSet<String> =
        rows.iter().filter(|row| row.kind == EntryKind::Delegation).map(|row| row.id.clone()).collect();
    let named = delegations.iter().zip(ids).map(|(delegation, id)| NamedDelegation {
        delegation,
        id: id.unwrap_or_else(|| fresh_id(&delegation.entry, &mut taken)),
        disabled_by_admin: pairs.get(&pair_of(&delegation.entry)).is_some_and(|pair| {
            pair.stored
                .iter()
                .any(|stored| stored.row.disabled_by_admin && covers_the_same(&stored.delegation, &delegation.entry))
        }),
    });
    named.collect()
}

/// Groups stored and wanted delegations by their two agents, so that a delegation is compared with
/// those of its own pair alone.
fn pairs<'a, 'b>(
    stored: &'b [Stored<'a>],
    delegations: &'b [Located<Delegation>],
) -> HashMap<(&'b str, &'b str), Pair<'a, 'b>> {
    let mut pairs: HashMap<_, Pair<'_, '_>> = HashMap::new();
    for stored in stored {
        pairs.entry(pair_of(&stored.delegation)).or_default().stored.push(stored);
    }
    for (index, located) in delegations.iter().enumerate() {
        pairs.entry(pair_of(&located.entry)).or_default().wanted.push(index);
    }
    pairs
}

fn pair_of(delegation: &Delegation) -> (&str, &str) {
    (&delegation.actor, &delegation.target)
}

fn assign_pair(pair: &Pair<'_, '_>, delegations: &[Located<Delegation>], ids: &mut [Option<String>]) {
    let mut free = pair.stored.clone();
    for fits in [says_the_same, says_the_same_but_disabled, covers_the_same, is_of_the_same_pair] {
        for index in &pair.wanted {
            let (Some(located), Some(id)) = (delegations.get(*index), ids.get_mut(*index)) else { continue };
            if id.is_none()
                && let Some(found) = free.iter().position(|stored| fits(&stored.delegation, &located.entry))
            {
                *id = Some(free.remove(found).row.id.clone());
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::located::Place;

    fn delegation(number: usize) -> Delegation {
        let json = format!(r#"{{"actor":"a{number}","target":"t","scopes":["s"]}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_delegation_is_compared_with_those_of_its_own_pair_alone() {
        let row = |number| EntryRow {
            kind: EntryKind::Delegation,
            id: format!("a{number}->t"),
            origin: Origin::File,
            disabled_by_admin: false,
            body: serde_json::to_string(&delegation(number)).unwrap(),
        };
        let rows: Vec<EntryRow> = (0..100).map(row).collect();
        let wanted: Vec<_> =
            (0..100).rev().map(|number| Located { entry: delegation(number), place: Place::in_database() }).collect();
        let stored = stored(&rows);
        let pairs = pairs(&stored, &wanted);
        assert_eq!(pairs.len(), 100);
        assert!(pairs.values().all(|pair| (pair.stored.len(), pair.wanted.len()) == (1, 1)));
        let named = assign(&rows, &wanted);
        assert!(named.iter().all(|named| named.id == format!("{}->t", named.delegation.entry.actor)));
    }
}
