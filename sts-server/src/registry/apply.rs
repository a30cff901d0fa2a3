//! Applying a registry file to the database.

use thiserror::Error;

use super::RegistryFile;
use super::plan::{Plan, PlanError, plan};
use crate::config::Config;
use crate::fault::Fault;
use crate::storage::{AuditRow, Changed, StorageError, Store, Version};

/// The number of attempts when others change the registry at the same time.
const MAX_ATTEMPTS: usize = 8;

/// The reason a file was not applied. In each case nothing was written.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The file is invalid, alone or together with entries made through the API. Holds all errors.
    #[error("the registry file has faults")]
    Faults(Vec<Fault>),
    /// The database has a newer file than this one.
    #[error(
        "the registry file has generation {file}, and the database has generation {database}: deploy the newer file, or raise `generation` in this one (0 is a file without)"
    )]
    Older {
        /// The generation of the file; 0 if it has none.
        file: i64,
        /// The generation of the last applied file.
        database: i64,
    },
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Others changed the registry during every attempt. The same call may succeed later.
    #[error("the registry changed during each of {MAX_ATTEMPTS} attempts")]
    Contended,
}

impl From<PlanError> for ApplyError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Faults(faults) => Self::Faults(faults),
        }
    }
}

/// Returns the changes that applying `file` makes, and the version of the registry that they are
/// made for.
///
/// # Errors
/// See [`ApplyError`].
pub async fn planned(
    store: &dyn Store,
    file: &RegistryFile,
    config: Option<&Config>,
) -> Result<(Version, Plan), ApplyError> {
    let stored = store.entries().await?;
    // Read after the entries: a change of the generation also changes their version.
    let database = store.registry_generation().await?;
    let is_readable = !file.faults().iter().any(Fault::is_error);
    if is_readable && file.generation() < database {
        return Err(ApplyError::Older { file: file.generation(), database });
    }
    let version = stored.version;
    let mut plan = plan(&stored.entries(), file, config)?;
    if file.generation() > database {
        plan.raise_generation(file.generation());
    }
    Ok((version, plan))
}

/// Makes the database match `file` in one atomic change, and returns what changed. `audit` makes
/// the audit rows of a plan. It is called once per attempt, and not for an empty plan. Each attempt
/// costs one read, and one write if anything differs. It retries if others wrote in between.
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
        let (version, plan) = planned(store, file, config).await?;
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use jiff::Timestamp;

    use super::*;
    use crate::storage::{
        ApprovalChange, ApprovalChanges, ApprovalConditions, ApprovalRequested, ApprovalRow, AuditCheckpoint,
        AuditFilter, AuditHead, AuditKeyRow, AuditPage, CodedRow, DatabaseState, DelegationUses, EntryChange, EntryRow,
        Fresh, HeldApprovals, KeyChanges, KeyRow, OneTimeValue, RecordRows, RevocationKind, RevocationRow, RowCodes,
        Stored, StoredAuditRow, TableFault, TokenReference, TokenRow, Version, Versions,
    };

    /// A store whose rows a rival changes before each of the first `rivals` writes.
    #[derive(Debug, Default)]
    struct Contested(Mutex<State>);

    #[derive(Debug, Default)]
    struct State {
        version: Version,
        rows: Vec<EntryRow>,
        rivals: usize,
        audit_rows: usize,
    }

    impl Contested {
        fn with_rivals(rivals: usize) -> Self {
            Self(Mutex::new(State { rivals, ..State::default() }))
        }
    }

    #[async_trait]
    impl Store for Contested {
        async fn entries(&self) -> Result<Stored<EntryRow>, StorageError> {
            let state = self.0.lock().unwrap();
            let coded = |row: &EntryRow| CodedRow { row: row.clone(), code: [0; 32], is_vouched: true };
            let rows = state.rows.iter().map(coded).collect();
            Ok(Stored { table: "entries", version: state.version, rows, faults: Vec::new(), is_whole: true })
        }

        async fn registry_generation(&self) -> Result<i64, StorageError> {
            Ok(0)
        }

        async fn change_entries(
            &self,
            expected: Version,
            changes: &[EntryChange],
            audit: &[AuditRow],
        ) -> Result<Changed, StorageError> {
            let mut state = self.0.lock().unwrap();
            if state.rivals > 0 {
                state.rivals -= 1;
                state.version.counter += 1;
            }
            if state.version != expected {
                return Ok(Changed::Conflict);
            }
            for change in changes {
                match change {
                    EntryChange::Put(row) => state.rows.push(row.clone()),
                    EntryChange::Delete(..) | EntryChange::Generation(_) => panic!("nothing else is changed here"),
                }
            }
            state.audit_rows += audit.len();
            state.version.counter += 1;
            Ok(Changed::Applied(state.version))
        }

        async fn check_schema(&self) -> Result<(), StorageError> {
            panic!("not called")
        }

        async fn approvals(&self) -> Result<Stored<ApprovalRow>, StorageError> {
            panic!("not called")
        }

        async fn approvals_after(&self, _: &HeldApprovals) -> Result<Option<ApprovalChanges>, StorageError> {
            panic!("not called")
        }

        async fn expired_approvals(&self, _: Timestamp) -> Result<Vec<ApprovalRow>, StorageError> {
            panic!("not called")
        }

        async fn close_approvals(&self, _: &[ApprovalChange]) -> Result<u64, StorageError> {
            panic!("not called")
        }

        async fn request_approval(
            &self,
            _: &ApprovalRow,
            _: ApprovalConditions,
            _: &[AuditRow],
        ) -> Result<ApprovalRequested, StorageError> {
            panic!("not called")
        }

        async fn change_approval(
            &self,
            _: &ApprovalRow,
            _: &ApprovalRow,
            _: &[AuditRow],
        ) -> Result<bool, StorageError> {
            panic!("not called")
        }

        async fn migrate(&self) -> Result<(), StorageError> {
            panic!("not called")
        }
        async fn state(&self) -> Result<DatabaseState, StorageError> {
            panic!("not called")
        }
        async fn changed(&self) {
            panic!("not called")
        }
        async fn keys(&self) -> Result<Stored<KeyRow>, StorageError> {
            panic!("not called")
        }
        async fn change_keys(&self, _: Version, _: &KeyChanges, _: &[AuditRow]) -> Result<Changed, StorageError> {
            panic!("not called")
        }
        async fn check_codes(&self) -> Result<(), StorageError> {
            panic!("not called")
        }
        async fn audit_keys(&self) -> Result<Vec<AuditKeyRow>, StorageError> {
            panic!("not called")
        }
        async fn reseal(
            &self,
            _: Version,
            _: &KeyChanges,
            _: &RowCodes,
            _: &[AuditRow],
        ) -> Result<Changed, StorageError> {
            panic!("not called")
        }
        async fn accept(&self, _: &[AuditRow]) -> Result<(), StorageError> {
            panic!("not called")
        }
        async fn inspect(&self) -> Result<Vec<TableFault>, StorageError> {
            panic!("not called")
        }
        async fn revocations_after(&self, _: Version) -> Result<Option<(Version, Vec<RevocationRow>)>, StorageError> {
            panic!("not called")
        }
        async fn revocations(&self) -> Result<Stored<RevocationRow>, StorageError> {
            panic!("not called")
        }
        async fn revoke(&self, _: &RevocationRow, _: &[AuditRow]) -> Result<(Version, u64), StorageError> {
            panic!("not called")
        }
        async fn lift(
            &self,
            _: RevocationKind,
            _: Option<&str>,
            _: &str,
            _: &[AuditRow],
        ) -> Result<bool, StorageError> {
            panic!("not called")
        }
        async fn record(
            &self,
            _: &[Versions],
            _: &[OneTimeValue],
            _: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
        ) -> Result<(), StorageError> {
            panic!("not called")
        }
        async fn probe(&self) -> Result<(), StorageError> {
            panic!("not called")
        }

        async fn append_audit(&self, _: &[AuditRow]) -> Result<(), StorageError> {
            panic!("not called")
        }
        async fn token(&self, _: &str) -> Result<Option<TokenRow>, StorageError> {
            panic!("not called")
        }
        async fn ancestors(&self, _: &str) -> Result<Option<Vec<TokenReference>>, StorageError> {
            panic!("not called")
        }
        async fn audit(&self, _: &AuditFilter, _: u32) -> Result<AuditPage, StorageError> {
            panic!("not called")
        }
        async fn audit_chain(&self, _: Option<(&str, i64)>, _: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
            panic!("not called")
        }
        async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError> {
            panic!("not called")
        }
        async fn audit_checkpoints(&self, _: Option<&str>, _: u32) -> Result<Vec<AuditCheckpoint>, StorageError> {
            panic!("not called")
        }
        async fn audit_checkpoints_of(&self, _: &[&str]) -> Result<Vec<AuditCheckpoint>, StorageError> {
            panic!("not called")
        }
        async fn cut_audit(&self, _: i64, _: &[AuditCheckpoint]) -> Result<u64, StorageError> {
            panic!("not called")
        }
        async fn summarize_audit(&self) -> Result<u64, StorageError> {
            panic!("not called")
        }

        async fn delegation_uses(&self, _: &[&str]) -> Result<DelegationUses, StorageError> {
            panic!("not called")
        }
        async fn purge(&self) -> Result<u64, StorageError> {
            panic!("not called")
        }
        async fn close(&self) {}
    }

    fn file() -> RegistryFile {
        RegistryFile::parse(Path::new("r.toml"), "[[agents]]\nid = \"a\"\n")
    }

    #[tokio::test]
    async fn a_rival_change_makes_it_begin_anew() {
        let store = Contested::with_rivals(MAX_ATTEMPTS - 1);
        let audited = Mutex::new(0);
        let audit = |plan: &Plan| {
            assert_eq!(plan.lines.len(), 1);
            *audited.lock().unwrap() += 1;
            Vec::new()
        };
        let plan = apply(&store, &file(), None, &audit).await.unwrap();
        assert_eq!(plan.changes.len(), 1);
        assert_eq!(*audited.lock().unwrap(), MAX_ATTEMPTS);
        assert!(apply(&store, &file(), None, &audit).await.unwrap().is_empty());
        assert_eq!(*audited.lock().unwrap(), MAX_ATTEMPTS, "an empty plan is no event");
    }

    #[tokio::test]
    async fn it_gives_up_when_rivals_never_rest() {
        let store = Contested::with_rivals(MAX_ATTEMPTS);
        let error = apply(&store, &file(), None, &|_| Vec::new()).await.unwrap_err();
        assert!(matches!(error, ApplyError::Contended), "{error}");
        assert!(store.0.lock().unwrap().rows.is_empty());
    }

    #[tokio::test]
    async fn a_file_with_faults_writes_nothing() {
        let store = Contested::default();
        let file = RegistryFile::parse(Path::new("r.toml"), "[[agents]]\nid = 1\n");
        let error = apply(&store, &file, None, &|_| Vec::new()).await.unwrap_err();
        assert!(matches!(&error, ApplyError::Faults(faults) if faults.len() == 1), "{error}");
        assert_eq!(store.0.lock().unwrap().version, Version::default());
    }
}
