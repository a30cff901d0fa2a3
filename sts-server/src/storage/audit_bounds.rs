//! Bounds of audit reads, the same in every database.

use super::{AUDIT_PAGE_BYTES, AuditFilter, AuditOrder, AuditPage, StoredAuditRow};

/// The most, in milliseconds, by which an event can be later than an event with a greater id. The
/// clocks of two ready servers differ by at most two minutes. A decision waits less than one minute
/// for its commit.
pub(super) const DISORDER_MILLISECONDS: i64 = 3 * 60 * 1000;

/// The maximum number of events read to cover that disorder. It bounds the cost of a search by
/// time.
pub(super) const DISORDER_ROWS: i64 = 100_000;

/// The maximum number of ids that a page of a search without an index covers.
const SCANNED_IDS: i64 = 100_000;

/// The ids that a page covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageIds {
    /// The least id.
    pub(super) low: i64,
    /// The greatest id.
    pub(super) high: i64,
    /// The `after_id` that continues behind these ids. `None` if they reach the end of the search.
    beyond: Option<i64>,
}

impl PageIds {
    /// Returns the ids of a page of a search from the id `low` to `high`, or `None` if no id is
    /// left. The search is limited to [`SCANNED_IDS`] if no index leads to its rows.
    pub(super) fn of(filter: &AuditFilter, mut low: i64, mut high: i64) -> Option<Self> {
        match (filter.order, filter.after_id) {
            (AuditOrder::OldestFirst, Some(after)) => low = low.max(after.checked_add(1)?),
            (AuditOrder::NewestFirst, Some(after)) => high = high.min(after.checked_sub(1)?),
            (AuditOrder::OldestFirst | AuditOrder::NewestFirst, None) => {}
        }
        if low > high {
            return None;
        }
        let is_scanned = !filter.fragments.is_empty()
            && filter.correlation_id.is_none()
            && filter.txn.is_none()
            && filter.jti.is_none();
        if !is_scanned || high.saturating_sub(low) < SCANNED_IDS {
            return Some(Self { low, high, beyond: None });
        }
        Some(match filter.order {
            AuditOrder::OldestFirst => {
                let high = low.saturating_add(SCANNED_IDS - 1);
                Self { low, high, beyond: Some(high) }
            }
            AuditOrder::NewestFirst => {
                let low = high.saturating_sub(SCANNED_IDS - 1);
                Self { low, high, beyond: Some(low) }
            }
        })
    }

    /// Returns the page with these rows, of at most `limit`.
    pub(super) fn page(self, rows: Vec<StoredAuditRow>, limit: u32) -> AuditPage {
        let bytes = rows.iter().map(|row| row.row.body.len()).fold(0, usize::saturating_add);
        // A row whose body is too long to be read also ends a page.
        let may_be_cut = bytes >= AUDIT_PAGE_BYTES || rows.iter().any(|row| row.row.body.is_empty());
        let is_full = may_be_cut || u32::try_from(rows.len()).is_ok_and(|count| count >= limit);
        let next = if is_full { rows.last().map(|row| row.id).or(self.beyond) } else { self.beyond };
        AuditPage { rows, next }
    }
}

/// Returns the word that orders rows in SQL.
pub(super) fn direction(order: AuditOrder) -> &'static str {
    match order {
        AuditOrder::OldestFirst => "ASC",
        AuditOrder::NewestFirst => "DESC",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(order: AuditOrder, after_id: Option<i64>) -> AuditFilter {
        AuditFilter { order, after_id, fragments: vec![vec!["x".to_owned()]], ..AuditFilter::default() }
    }

    fn pages(order: AuditOrder, low: i64, high: i64) -> Vec<(i64, i64)> {
        let (mut pages, mut after) = (Vec::new(), None);
        while let Some(ids) = PageIds::of(&scanned(order, after), low, high) {
            pages.push((ids.low, ids.high));
            after = ids.page(Vec::new(), 10).next;
            if after.is_none() {
                break;
            }
        }
        pages
    }

    #[test]
    fn a_search_without_an_index_covers_every_id_in_bounded_pages() {
        let last = 2 * SCANNED_IDS + 5;
        assert_eq!(
            pages(AuditOrder::OldestFirst, 1, last),
            [(1, SCANNED_IDS), (SCANNED_IDS + 1, 2 * SCANNED_IDS), (2 * SCANNED_IDS + 1, last)]
        );
        assert_eq!(pages(AuditOrder::NewestFirst, 1, last), [(SCANNED_IDS + 6, last), (6, SCANNED_IDS + 5), (1, 5)]);
        assert_eq!(pages(AuditOrder::NewestFirst, 1, SCANNED_IDS), [(1, SCANNED_IDS)]);
        assert_eq!(pages(AuditOrder::OldestFirst, 2, 1), []);
    }

    #[test]
    fn a_search_by_an_index_is_not_cut() {
        let filter = AuditFilter { txn: Some("t".to_owned()), ..scanned(AuditOrder::NewestFirst, None) };
        let ids = PageIds::of(&filter, 1, i64::MAX).unwrap();
        assert_eq!((ids.low, ids.high, ids.beyond), (1, i64::MAX, None));
    }

    #[test]
    fn the_ends_of_the_numbers_are_no_ids() {
        for (order, after) in [(AuditOrder::OldestFirst, i64::MAX), (AuditOrder::NewestFirst, i64::MIN)] {
            assert_eq!(PageIds::of(&scanned(order, Some(after)), i64::MIN, i64::MAX), None);
        }
    }
}
