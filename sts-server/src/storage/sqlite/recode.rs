//! New codes for rows: of an older schema, under another master key, or after a review.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, SqlitePool};

use super::error::SqliteError;
use super::{approval, audit, begin_immediate, counter, registry, revocation};
use crate::storage::approval_rows::ApprovalColumns;
use crate::storage::coded::{self, Coded, EntryColumns, KeyColumns, RevocationColumns};
use crate::storage::codes::{Counter, CounterColumns, RowCodes, RowSet};
use crate::storage::{AuditRow, TableFault};

/// The statement that reads a whole table, and the statement that writes codes by primary key.
struct Statements {
    read: &'static str,
    write: &'static str,
}

/// All keys with their codes.
pub(super) const READ_KEYS: &str =
    "SELECT kid, algorithm, state, created_at, state_since, longest_life, sealed, code FROM signing_keys
     ORDER BY created_at, kid";

const ENTRIES: Statements = Statements {
    read: registry::ENTRIES,
    write: "UPDATE entries SET code = ?4 WHERE kind = ?1 AND id = ?2 AND ?3 = ''",
};
const KEYS: Statements =
    Statements { read: READ_KEYS, write: "UPDATE signing_keys SET code = ?4 WHERE kid = ?1 AND ?2 = ?3" };
const REVOCATIONS: Statements = Statements {
    read: revocation::REVOCATIONS,
    write: "UPDATE revocations SET code = ?4 WHERE kind = ?1 AND issuer = ?2 AND value = ?3",
};

const APPROVALS: Statements =
    Statements { read: approval::APPROVALS, write: "UPDATE approvals SET code = ?4 WHERE id = ?1 AND ?2 = ?3" };

/// Gives every row, or every row with a valid code under `vouched_by`, its code under `next`.
/// Raises no version.
pub(super) async fn recode(
    connection: &mut SqliteConnection,
    vouched_by: Option<&RowCodes>,
    next: &RowCodes,
) -> Result<(), SqliteError> {
    for counter in each(connection, vouched_by, next).await? {
        counter::write(connection, &counter.sealed(next)).await?;
    }
    Ok(())
}

/// Seals the counter of a table that this run has added to a sealed database, over no rows.
pub(super) async fn begin_approvals(connection: &mut SqliteConnection, codes: &RowCodes) -> Result<(), SqliteError> {
    let counter = counter::read(connection, ApprovalColumns::COUNTER).await?;
    counter::write(connection, &Counter::of(counter, RowSet::default()).sealed(codes)).await?;
    Ok(())
}

/// Gives every row its code, and raises all versions.
pub(super) async fn accept(writer: &SqlitePool, codes: &RowCodes, audit: &[AuditRow]) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    for counter in each(&mut transaction, None, codes).await? {
        counter::write(&mut transaction, &counter.begun_anew(codes)).await?;
    }
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(())
}

async fn each(
    connection: &mut SqliteConnection,
    vouched_by: Option<&RowCodes>,
    next: &RowCodes,
) -> Result<[Counter; 4], SqliteError> {
    Ok([
        table::<EntryColumns>(connection, &ENTRIES, vouched_by, next).await?,
        table::<KeyColumns>(connection, &KEYS, vouched_by, next).await?,
        table::<RevocationColumns>(connection, &REVOCATIONS, vouched_by, next).await?,
        table::<ApprovalColumns>(connection, &APPROVALS, vouched_by, next).await?,
    ])
}

async fn table<Columns>(
    connection: &mut SqliteConnection,
    statements: &Statements,
    vouched_by: Option<&RowCodes>,
    next: &RowCodes,
) -> Result<Counter, SqliteError>
where
    Columns: Coded + Send + Unpin + for<'row> FromRow<'row, SqliteRow>,
{
    let counter = counter::read(connection, Columns::COUNTER).await?;
    let rows: Vec<Columns> = sqlx::query_as(statements.read).fetch_all(&mut *connection).await?;
    let (recoded, set) = coded::recoded(&rows, vouched_by, next);
    for ([first, second, third], code) in recoded {
        sqlx::query(statements.write)
            .bind(first)
            .bind(second)
            .bind(third)
            .bind(code.as_slice())
            .execute(&mut *connection)
            .await?;
    }
    Ok(Counter::of(counter, set))
}

/// Returns the faults of all tables. Reads whole rows only if the codes do not fit.
pub(super) async fn inspect(readers: &SqlitePool, codes: &RowCodes) -> Result<Vec<TableFault>, SqliteError> {
    let mut transaction = readers.begin().await?;
    let faults = [
        faults::<EntryColumns>(&mut transaction, &ENTRIES, codes).await?,
        faults::<KeyColumns>(&mut transaction, &KEYS, codes).await?,
        faults::<RevocationColumns>(&mut transaction, &REVOCATIONS, codes).await?,
        faults::<ApprovalColumns>(&mut transaction, &APPROVALS, codes).await?,
    ];
    transaction.commit().await?;
    Ok(faults.concat())
}

async fn faults<Columns>(
    connection: &mut SqliteConnection,
    statements: &Statements,
    codes: &RowCodes,
) -> Result<Vec<TableFault>, SqliteError>
where
    Columns: Coded + Send + Unpin + for<'row> FromRow<'row, SqliteRow>,
{
    let counter: CounterColumns = counter::read(connection, Columns::COUNTER).await?;
    let stored: Vec<Vec<u8>> = sqlx::query_scalar(Columns::CODES).fetch_all(&mut *connection).await?;
    if coded::fits(&counter, &stored, codes) {
        return Ok(Vec::new());
    }
    let rows: Vec<Columns> = sqlx::query_as(statements.read).fetch_all(connection).await?;
    Ok(coded::stored(&counter, rows, codes).faults)
}
