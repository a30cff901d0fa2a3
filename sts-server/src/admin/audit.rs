//! Searches of the audit log.

use jiff::SignedDuration;

use super::Administration;
use crate::record::cut;
use crate::storage::{AuditFilter, StorageError, StoredAuditRow};
use crate::ttl::Ttl;

/// The filter of a search. An absent field matches all events.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Selects events with this `X-Correlation-ID`.
    pub correlation_id: Option<String>,
    /// Selects events of this transaction.
    pub txn: Option<String>,
    /// Selects events of this token.
    pub jti: Option<String>,
    /// Selects events of this most recent span of time.
    pub since: Option<Ttl>,
}

impl Administration {
    /// Returns the storage filter of a query made now.
    #[must_use]
    pub fn audit_filter(&self, query: &AuditQuery) -> AuditFilter {
        let now = self.now();
        let ago = |span: Ttl| now.checked_sub(SignedDuration::from_secs(span.as_seconds())).unwrap_or(now);
        // Events store long names cut; the filter cuts them the same way.
        let name = |name: &Option<String>| name.as_deref().map(|name| cut(name).into_owned());
        AuditFilter {
            after_id: None,
            since: query.since.map(ago),
            correlation_id: name(&query.correlation_id),
            txn: name(&query.txn),
            jti: name(&query.jti),
        }
    }

    /// Returns up to `limit` events, oldest first, or fewer if they are large.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
        self.store.audit(filter, limit).await
    }
}
