//! The age of the schema of a database, compared with the migrations that this program has.

use sqlx::migrate::{MigrateError, Migrator};

use super::StorageError;

/// The name under which an older schema does not state its oldest reader.
const UNKNOWN_READER: i64 = i64::MAX;

/// A schema that this program can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaAge {
    /// Some migrations of this program were not applied.
    Older,
    /// Exactly the migrations of this program were applied.
    Same,
    /// A newer program has migrated the schema, which this program can still read and write.
    Newer,
}

/// Compares the applied migrations with those of this program. `oldest_reader` is the latest
/// migration that a program must have for this schema, if the schema states it.
pub(super) fn age(migrator: &Migrator, applied: &[i64], oldest_reader: Option<i64>) -> Result<SchemaAge, StorageError> {
    let known: Vec<i64> = migrator.iter().map(|migration| migration.version).collect();
    let latest = known.iter().copied().max().unwrap_or(0);
    if let Some(foreign) = applied.iter().find(|version| **version <= latest && !known.contains(version)) {
        return Err(StorageError::Migration(MigrateError::VersionMissing(*foreign)));
    }
    let schema = applied.iter().copied().max().unwrap_or(0);
    if schema > latest {
        if oldest_reader.unwrap_or(UNKNOWN_READER) > latest {
            return Err(StorageError::SchemaTooNew { schema, known: latest });
        }
        return Ok(SchemaAge::Newer);
    }
    let is_whole = known.iter().all(|version| applied.contains(version));
    Ok(if is_whole { SchemaAge::Same } else { SchemaAge::Older })
}

/// Refuses a schema that some migrations of this program were not applied to.
pub(super) fn require_whole(migrator: &Migrator, age: SchemaAge) -> Result<(), StorageError> {
    match age {
        SchemaAge::Same | SchemaAge::Newer => Ok(()),
        SchemaAge::Older => Err(StorageError::SchemaTooOld {
            known: migrator.iter().map(|migration| migration.version).max().unwrap_or(0),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_approvals_refuses_the_schema_that_has_them() {
        for (current, approvals) in [
            (sqlx::migrate!("migrations/postgres"), include_str!("../../migrations/postgres/0015_approvals.sql")),
            (sqlx::migrate!("migrations/sqlite"), include_str!("../../migrations/sqlite/0015_approvals.sql")),
        ] {
            assert!(approvals.contains("UPDATE schema_readers SET oldest_reader = 15;"), "{approvals}");
            let applied: Vec<i64> = current.iter().map(|migration| migration.version).collect();
            let former = current.iter().filter(|migration| migration.version < 15).cloned().collect();
            let former = Migrator::with_migrations(former);
            let refused = age(&former, &applied, Some(15));
            assert!(matches!(refused, Err(StorageError::SchemaTooNew { known: 13, .. })), "{refused:?}");
            assert_eq!(age(&former, &applied, Some(11)).unwrap(), SchemaAge::Newer, "what it could read before");
            assert_eq!(age(&current, &applied, Some(15)).unwrap(), SchemaAge::Same);
        }
    }
}
