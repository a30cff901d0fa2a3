//! Making the database match a registry file.

use thiserror::Error;

use super::plan::{Plan, PlanError, plan};
use super::{RegistryError, RegistryFile};
use crate::config::Config;
use crate::fault::Fault;
use crate::storage::{AuditRow, Changed, StorageError, Store};

/// How often it begins anew when others change the registry meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// Why a file was not applied. Nothing was written then.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The file is at fault, alone or with what the API made; all errors.
    #[error("the registry file has faults")]
    Faults(Vec<Fault>),
    /// The database holds what this version does not read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The database did not answer as it should.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Others changed the registry again and again: the same call may succeed later.
    #[error("the registry was changed by others each of {MAX_ATTEMPTS} times")]
    Contended,
}

impl From<PlanError> for ApplyError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Faults(faults) => Self::Faults(faults),
            PlanError::Registry(error) => Self::Registry(error),
        }
    }
}

/// Makes the database match `file`, in one atomic change, and says what changed. `audit` makes the audit rows of a plan; it is
/// called once per attempt and not for an empty plan. One read, and one write if anything differs; again if others wrote meanwhile.
///
/// # Errors
/// See [`ApplyError`].
pub async fn apply(
    store: &dyn Store,
    file: &RegistryFile,
    config: Option<&Config>,
    audit: &(dyn Fn(&Plan) -> Vec<AuditRow> + Send + Sync),
) -> Result<Plan, ApplyError> {
    for _ in 0..MAX_ATTEMPTS {
        let (version, rows) = store.entries().await?;
        let plan = plan(&rows, file, config)?;
        if plan.is_empty() {
            return Ok(plan);
        }
        match store.change_entries(version, &plan.changes, &audit(&plan)).await? {
            Changed::Applied(_) => return Ok(plan),
            Changed::Conflict => {}
        }
    }
    Err(ApplyError::Contended)
}
