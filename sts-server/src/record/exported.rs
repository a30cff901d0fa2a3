//! Rows of the audit log as they are exported, for a party that verifies them elsewhere.

use serde::{Deserialize, Serialize};
use sts_jose::{hex, unhex};
use utoipa::ToSchema;

use crate::storage::{AuditHead, MAC_BYTES, UncheckedAuditRow};

/// The last row of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedHead {
    /// The chain: the name of its writer.
    pub writer: String,
    /// The position of the row in its chain.
    pub writer_sequence: i64,
    /// The code of the row, in hexadecimal.
    pub mac: String,
}

/// A row of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportedRow {
    /// The chain: the name of its writer.
    pub writer: String,
    /// The position of the row in its chain.
    pub writer_sequence: i64,
    /// The event as JSON.
    pub body: String,
    /// The code of the row, in hexadecimal.
    pub mac: String,
}

impl From<AuditHead> for ExportedHead {
    fn from(AuditHead { writer, writer_sequence, mac }: AuditHead) -> Self {
        Self { writer, writer_sequence, mac: hex(&mac) }
    }
}

impl ExportedHead {
    /// Returns the head, or `None` if its code is none.
    #[must_use]
    pub fn head(self) -> Option<AuditHead> {
        let Self { writer, writer_sequence, mac } = self;
        let mac = unhex(&mac).filter(|mac| mac.len() == MAC_BYTES)?;
        Some(AuditHead { writer, writer_sequence, mac })
    }
}

impl From<UncheckedAuditRow> for ExportedRow {
    fn from(row: UncheckedAuditRow) -> Self {
        Self { writer: row.writer, writer_sequence: row.writer_sequence, body: row.body, mac: hex(&row.mac) }
    }
}
