//! The faults of the audit log, and the check of a row alone.

use serde::Serialize;

use super::Event;
use crate::storage::{MAC_BYTES, UncheckedAuditRow};

/// A fault of the audit log. Only the first fault of every chain that no operator has acknowledged is
/// reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum AuditFault {
    /// A row is missing at this place of a chain, because it was removed or moved.
    Missing {
        /// The name of the chain.
        writer: String,
        /// The first empty place.
        sequence: i64,
    },
    /// The row at this place was edited, moved or not written by this service.
    Altered {
        /// The name of the chain.
        writer: String,
        /// The place of the row.
        sequence: i64,
    },
    /// The row at this place was moved among the rows of other chains: its id does not follow the
    /// preceding row's.
    Reordered {
        /// The name of the chain.
        writer: String,
        /// The place of the row.
        sequence: i64,
    },
    /// The chain ends before the place of an exported head.
    Cut {
        /// The name of the chain.
        writer: String,
        /// The last existing place; 0 if the whole chain is gone.
        last: i64,
        /// The place of the exported head.
        head: i64,
    },
    /// The row at the place of an exported head is a different row.
    Replaced {
        /// The name of the chain.
        writer: String,
        /// The place of the row.
        sequence: i64,
    },
}

impl AuditFault {
    /// Returns the name of the fault.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Altered { .. } => "altered",
            Self::Reordered { .. } => "reordered",
            Self::Cut { .. } => "cut",
            Self::Replaced { .. } => "replaced",
        }
    }

    /// Returns the chain of the fault and its place in that chain.
    #[must_use]
    pub fn row(&self) -> (&str, i64) {
        match self {
            Self::Missing { writer, sequence }
            | Self::Altered { writer, sequence }
            | Self::Reordered { writer, sequence }
            | Self::Replaced { writer, sequence }
            | Self::Cut { writer, head: sequence, .. } => (writer, *sequence),
        }
    }
}

/// Returns the event of a row, or `None` if no version of this service writes such a row.
///
/// Such a row has no event or no code, or its columns contradict its event; the code does not cover
/// these columns. Only the time is always in a column. This function does not check the code itself.
#[must_use]
pub fn event_of(row: &UncheckedAuditRow) -> Option<Event> {
    let event: Event = serde_json::from_str(&row.body).ok()?;
    let agrees = |column: &Option<String>, member: &Option<String>| column.is_none() || column == member;
    let agree = event.at.as_millisecond() == row.at
        && agrees(&row.correlation_id, &event.correlation_id)
        && agrees(&row.txn, &event.txn)
        && agrees(&row.jti, &event.jti);
    (agree && row.mac.len() == MAC_BYTES).then_some(event)
}
