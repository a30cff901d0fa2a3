//! The approvals in pages.

use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Approval, Approvals, SeenApproval};
use crate::storage::ApprovalState;

/// A list of approvals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalList {
    /// All of them, the oldest first.
    All,
    /// Those that wait, the oldest first.
    Pending,
    /// Those that are remembered, the oldest first.
    Granted,
    /// Those that are closed, the latest first.
    Closed,
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct ApprovalPage {
    /// The approvals, in the order of the list.
    pub approvals: Vec<SeenApproval>,
    /// The last approval of this page, after which the next page begins. `None` on the last page.
    pub next: Option<String>,
}

impl ApprovalList {
    fn has(self, state: ApprovalState) -> bool {
        match self {
            Self::All => true,
            Self::Pending => state == ApprovalState::Pending,
            Self::Granted => state == ApprovalState::Granted,
            Self::Closed => !state.is_open(),
        }
    }
}

impl Approvals {
    /// Returns at most `most` approvals of a list, after the one of this name.
    #[must_use]
    pub fn page(&self, list: ApprovalList, after: Option<&str>, most: usize, now: Timestamp) -> ApprovalPage {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = |approval: &&Arc<Approval>| list.has(approval.state_at(now));
        let seen = |approval: &Arc<Approval>| SeenApproval::of(approval, now);
        let more = most.saturating_add(1);
        let mut approvals: Vec<SeenApproval> = match list {
            ApprovalList::Closed => {
                self.between(Bound::Unbounded, from).rev().filter(listed).take(more).map(seen).collect()
            }
            ApprovalList::All | ApprovalList::Pending | ApprovalList::Granted => {
                self.between(from, Bound::Unbounded).filter(listed).take(more).map(seen).collect()
            }
        };
        let is_last = approvals.len() <= most;
        approvals.truncate(most);
        let next = approvals.last().filter(|_| !is_last).map(|approval| approval.id.clone());
        ApprovalPage { approvals, next }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::approval::content::tests::content;
    use crate::storage::ApprovalRow;

    #[test]
    fn a_list_has_its_states_in_its_order_and_ends_on_its_last_page() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let content = content(&json!({}));
        let mut approvals = Approvals::default();
        for (id, state, expires_at) in [
            ("1", ApprovalState::Pending, 300),
            ("2", ApprovalState::Granted, 300),
            ("3", ApprovalState::Denied, 300),
            ("4", ApprovalState::Pending, 200),
            ("5", ApprovalState::Pending, 300),
            ("6", ApprovalState::Ended, 300),
        ] {
            let row = ApprovalRow { state, ..content.pending(id, "https://sts", at(100), at(expires_at)) };
            approvals.add(Approval { row, content: content.clone() });
        }
        let page = |list, after, most| {
            let ApprovalPage { approvals, next } = approvals.page(list, after, most, at(250));
            (approvals.into_iter().map(|seen| seen.id).collect::<Vec<_>>().concat(), next)
        };
        // The fourth has expired, which its row does not say yet.
        for (list, whole) in [
            (ApprovalList::All, "123456"),
            (ApprovalList::Pending, "15"),
            (ApprovalList::Granted, "2"),
            (ApprovalList::Closed, "643"),
        ] {
            assert_eq!(page(list, None, 6), (whole.to_owned(), None), "{list:?}");
        }
        assert_eq!(page(ApprovalList::All, None, 4), ("1234".to_owned(), Some("4".to_owned())));
        assert_eq!(page(ApprovalList::All, Some("4"), 2), ("56".to_owned(), None));
        assert_eq!(page(ApprovalList::Closed, None, 2), ("64".to_owned(), Some("4".to_owned())));
        assert_eq!(page(ApprovalList::Closed, Some("4"), 2), ("3".to_owned(), None));
        assert_eq!(page(ApprovalList::Pending, Some("3"), 0), (String::new(), None));
    }
}
