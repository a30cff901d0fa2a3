//! A registry file applied.

use super::{Administration, By};
use crate::record::EventKind;
use crate::registry::{self, ApplyError, Plan, RegistryFile};
use crate::storage::AuditRow;

impl Administration {
    /// Makes the database match a registry file.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub async fn apply(&self, file: &RegistryFile, by: &By) -> Result<Plan, ApplyError> {
        registry::apply(&*self.store, file, Some(&*self.config), &|plan| self.audit_plan(plan, by)).await
    }

    /// What applying a registry file would change; nothing is.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub async fn plan(&self, file: &RegistryFile) -> Result<Plan, ApplyError> {
        let (_, rows) = self.store.entries().await?;
        Ok(registry::plan(&rows, file, Some(&*self.config))?)
    }

    fn audit_plan(&self, plan: &Plan, by: &By) -> Vec<AuditRow> {
        self.audit_lines(EventKind::RegistryChanged, by, plan.lines.iter().map(ToString::to_string))
    }
}
