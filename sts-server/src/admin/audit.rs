//! The audit log, as an operator searches it.

use jiff::SignedDuration;

use super::Administration;
use crate::record::cut;
use crate::storage::{AuditFilter, StorageError, StoredAuditRow};
use crate::ttl::Ttl;

/// Which events are wanted; a field that is absent selects all.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only those of this `X-Correlation-ID`.
    pub correlation_id: Option<String>,
    /// Only those of this transaction.
    pub txn: Option<String>,
    /// Only those of this token.
    pub jti: Option<String>,
    /// Only those of the last while.
    pub since: Option<Ttl>,
}

impl Administration {
    /// The filter of a query that is made now.
    #[must_use]
    pub fn audit_filter(&self, query: &AuditQuery) -> AuditFilter {
        let now = self.now();
        let ago = |span: Ttl| now.checked_sub(SignedDuration::from_secs(span.as_seconds())).unwrap_or(now);
        // As events hold them: a name that is longer is cut there too.
        let name = |name: &Option<String>| name.as_deref().map(|name| cut(name).into_owned());
        AuditFilter {
            after_id: None,
            since: query.since.map(ago),
            correlation_id: name(&query.correlation_id),
            txn: name(&query.txn),
            jti: name(&query.jti),
        }
    }

    /// Up to `limit` events, oldest first, and fewer where they are large.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
        self.store.audit(filter, limit).await
    }
}
