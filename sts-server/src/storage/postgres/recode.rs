//! New codes for rows: of an older schema, under another master key, or after a review.

use sqlx::FromRow;
use sqlx::postgres::{PgConnection, PgRow};

use super::error::PostgresError;
use super::pool::Pool;
use super::{approval, audit, counter, registry, revocation, transaction};
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
    write: "UPDATE entries SET code = recoded.code
            FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BYTEA[]) AS recoded (kind, id, none, code)
            WHERE entries.kind = recoded.kind AND entries.id = recoded.id",
};
const KEYS: Statements = Statements {
    read: READ_KEYS,
    write: "UPDATE signing_keys SET code = recoded.code
            FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BYTEA[]) AS recoded (kid, none, neither, code)
            WHERE signing_keys.kid = recoded.kid",
};
const REVOCATIONS: Statements = Statements {
    read: revocation::REVOCATIONS,
    write: "UPDATE revocations SET code = recoded.code
            FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BYTEA[]) AS recoded (kind, issuer, value, code)
            WHERE revocations.kind = recoded.kind AND revocations.issuer = recoded.issuer
              AND revocations.value = recoded.value",
};

const APPROVALS: Statements = Statements {
    read: approval::APPROVALS,
    write: "UPDATE approvals SET code = recoded.code
            FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BYTEA[]) AS recoded (id, none, neither, code)
            WHERE approvals.id = recoded.id",
};

/// Gives every row, or every row with a valid code under `vouched_by`, its code under `next`.
/// Raises no version.
pub(super) async fn recode(
    connection: &mut PgConnection,
    vouched_by: Option<&RowCodes>,
    next: &RowCodes,
) -> Result<(), PostgresError> {
    for counter in each(connection, vouched_by, next).await? {
        counter::write(connection, &counter.sealed(next)).await?;
    }
    Ok(())
}

/// Seals the counter of a table that this run has added to a sealed database, over no rows.
pub(super) async fn begin_approvals(connection: &mut PgConnection, codes: &RowCodes) -> Result<(), PostgresError> {
    let counter = counter::lock(connection, ApprovalColumns::COUNTER).await?;
    counter::write(connection, &Counter::of(counter, RowSet::default()).sealed(codes)).await
}

/// Gives every row its code, and raises all versions.
pub(super) async fn accept(pool: &Pool, codes: &RowCodes, audit: &[AuditRow]) -> Result<(), PostgresError> {
    let mut transaction = transaction::changing_everything(pool).await?;
    for counter in each(&mut transaction, None, codes).await? {
        counter::raise(&mut transaction, &counter.begun_anew(codes)).await?;
    }
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(())
}

async fn each(
    connection: &mut PgConnection,
    vouched_by: Option<&RowCodes>,
    next: &RowCodes,
) -> Result<[Counter; 4], PostgresError> {
    Ok([
        table::<EntryColumns>(connection, &ENTRIES, vouched_by, next).await?,
        table::<KeyColumns>(connection, &KEYS, vouched_by, next).await?,
        table::<RevocationColumns>(connection, &REVOCATIONS, vouched_by, next).await?,
        table::<ApprovalColumns>(connection, &APPROVALS, vouched_by, next).await?,
    ])
}

async fn table<Columns>(
    connection: &mut PgConnection,
    statements: &Statements,
    vouched_by: Option<&RowCodes>,
    next: &RowCodes,
) -> Result<Counter, PostgresError>
where
    Columns: Coded + Send + Unpin + for<'row> FromRow<'row, PgRow>,
{
    let counter = counter::lock(connection, Columns::COUNTER).await?;
    let rows: Vec<Columns> = sqlx::query_as(statements.read).fetch_all(&mut *connection).await?;
    let (recoded, set) = coded::recoded(&rows, vouched_by, next);
    let part = |index: usize| -> Vec<&str> { recoded.iter().filter_map(|(key, _)| key.get(index).copied()).collect() };
    sqlx::query(statements.write)
        .bind(part(0))
        .bind(part(1))
        .bind(part(2))
        .bind(recoded.iter().map(|(_, code)| code.as_slice()).collect::<Vec<&[u8]>>())
        .execute(connection)
        .await?;
    Ok(Counter::of(counter, set))
}

/// Returns the faults of all tables. Reads whole rows only if the codes do not fit.
pub(super) async fn inspect(pool: &Pool, codes: &RowCodes) -> Result<Vec<TableFault>, PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
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
    connection: &mut PgConnection,
    statements: &Statements,
    codes: &RowCodes,
) -> Result<Vec<TableFault>, PostgresError>
where
    Columns: Coded + Send + Unpin + for<'row> FromRow<'row, PgRow>,
{
    let counter: CounterColumns = counter::read(connection, Columns::COUNTER).await?;
    let stored: Vec<Vec<u8>> = sqlx::query_scalar(Columns::CODES).fetch_all(&mut *connection).await?;
    if coded::fits(&counter, &stored, codes) {
        return Ok(Vec::new());
    }
    let rows: Vec<Columns> = sqlx::query_as(statements.read).fetch_all(connection).await?;
    Ok(coded::stored(&counter, rows, codes).faults)
}
