//! Reads and changes of revocations.

use jiff::Timestamp;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::Pool;
use super::{approval, audit, counter, registry, standbys, transaction};
use crate::storage::coded::{self, Coded as _, Further, RevocationColumns};
use crate::storage::codes::{Counter, RowCodes};
use crate::storage::{AuditRow, RevocationKind, RevocationRow, Stored, Version, Versions};

/// All revocations with their codes, and the transactions of tokens.
pub(super) const REVOCATIONS: &str = "SELECT kind, issuer, value, at, expires_at, version, code,
            (SELECT txn FROM tokens WHERE kind = 'token' AND tokens.jti = value AND tokens.iss = issuer) AS txn
     FROM revocations ORDER BY version, kind, issuer, value";

/// Reads all revocations. Drops expired rows after the set has been compared.
pub(super) async fn revocations(pool: &Pool, codes: &RowCodes) -> Result<Stored<RevocationRow>, PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
    let counter = counter::read(&mut transaction, RevocationColumns::COUNTER).await?;
    let now = registry::now(&mut transaction).await?;
    let revocations: Vec<RevocationColumns> = sqlx::query_as(REVOCATIONS).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(coded::stored(&counter, revocations, codes).alive(now))
}

/// Reads the revocations after a version, if the present version follows from it.
pub(super) async fn revocations_after(
    pool: &Pool,
    known: Version,
) -> Result<Option<(Version, Vec<RevocationRow>)>, PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
    let counter = counter::read(&mut transaction, RevocationColumns::COUNTER).await?;
    let added = if counter.follows(known) { Some(beyond(&mut transaction, Some(known)).await?) } else { None };
    transaction.commit().await?;
    Ok(added.map(|added| (counter.version(), added)))
}

/// Reads the revocations after all of these versions. Reads every revocation if the present version
/// does not follow from all of them.
pub(super) async fn unknown(
    connection: &mut PgConnection,
    known: &[Versions],
) -> Result<Vec<RevocationRow>, PostgresError> {
    let counter = counter::read(connection, RevocationColumns::COUNTER).await?;
    let follows = known.iter().all(|known| counter.follows(known.revocations));
    let oldest = known.iter().map(|known| known.revocations).min_by_key(|version| version.counter);
    beyond(connection, oldest.filter(|_| follows)).await
}

async fn beyond(connection: &mut PgConnection, known: Option<Version>) -> Result<Vec<RevocationRow>, PostgresError> {
    let revocations: Vec<RevocationColumns> = sqlx::query_as(
        "SELECT kind, issuer, value, at, expires_at, version, code,
                (SELECT txn FROM tokens WHERE kind = 'token' AND tokens.jti = value AND tokens.iss = issuer) AS txn
         FROM revocations WHERE version > $1 ORDER BY version, kind, issuer, value",
    )
    .bind(known.map_or(-1, |version| version.counter))
    .fetch_all(connection)
    .await?;
    Ok(revocations.into_iter().map(RevocationColumns::read).collect::<Result<_, _>>()?)
}

/// Adds a revocation and the rows that follow from it.
pub(super) async fn revoke(
    pool: &Pool,
    codes: &RowCodes,
    revocation: &RevocationRow,
    audit: &[AuditRow],
) -> Result<(Version, u64), PostgresError> {
    let mut transaction = transaction::without_writers(pool).await?;
    let mut counter = Counter::open(counter::lock(&mut transaction, RevocationColumns::COUNTER).await?, codes)?;
    let mut rows = vec![revocation.clone()];
    if revocation.kind == RevocationKind::Transaction {
        rows.extend(beginnings(&mut transaction, revocation).await?);
    }
    let now = Timestamp::from_millisecond(registry::now(&mut transaction).await?).unwrap_or(revocation.at);
    let mut added = 0;
    for row in rows {
        let row = RevocationRow { at: row.at.max(now), version: counter.next(), ..row };
        added += u64::from(add(&mut transaction, codes, &mut counter, row).await?);
    }
    let version = counter::raise(&mut transaction, &counter.raised(codes)).await?;
    approval::end(&mut transaction, codes, revocation).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    standbys::confirm(pool).await;
    Ok((version, added))
}

/// Removes the revocation named by (kind, issuer, value).
pub(super) async fn lift(
    pool: &Pool,
    codes: &RowCodes,
    (kind, issuer, value): (RevocationKind, Option<&str>, &str),
    audit: &[AuditRow],
) -> Result<bool, PostgresError> {
    let mut transaction = transaction::without_writers(pool).await?;
    let mut counter = Counter::open(counter::lock(&mut transaction, RevocationColumns::COUNTER).await?, codes)?;
    let lifted: Option<Vec<u8>> =
        sqlx::query_scalar("DELETE FROM revocations WHERE kind = $1 AND issuer = $2 AND value = $3 RETURNING code")
            .bind(kind.as_str())
            .bind(issuer.unwrap_or_default())
            .bind(value)
            .fetch_optional(&mut *transaction)
            .await?;
    let Some(code) = lifted else { return Ok(false) };
    counter.set.toggle(codes, &code);
    counter::raise(&mut transaction, &counter.begun_anew(codes)).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    standbys::confirm(pool).await;
    Ok(true)
}

/// Puts a row, unless an existing row already reaches as far. Returns true if it wrote the row.
async fn add(
    connection: &mut PgConnection,
    codes: &RowCodes,
    counter: &mut Counter,
    row: RevocationRow,
) -> Result<bool, PostgresError> {
    let standing: Option<RevocationColumns> = sqlx::query_as(
        "SELECT kind, issuer, value, at, expires_at, version, code FROM revocations
         WHERE kind = $1 AND issuer = $2 AND value = $3",
    )
    .bind(row.kind.as_str())
    .bind(row.issuer.as_deref().unwrap_or_default())
    .bind(&row.value)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(Further { row, replaced }) = coded::further(row, standing)? else { return Ok(false) };
    let code = coded::revocation_code(codes, &row);
    replaced.iter().for_each(|code| counter.set.toggle(codes, code));
    counter.set.toggle(codes, &code);
    sqlx::query(
        "INSERT INTO revocations (kind, issuer, value, at, expires_at, version, code)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (kind, issuer, value) DO UPDATE
         SET at = excluded.at, expires_at = excluded.expires_at, version = excluded.version, code = excluded.code",
    )
    .bind(row.kind.as_str())
    .bind(row.issuer.as_deref().unwrap_or_default())
    .bind(&row.value)
    .bind(row.at.as_millisecond())
    .bind(row.expires_at.as_millisecond())
    .bind(row.version)
    .bind(code.as_slice())
    .execute(connection)
    .await?;
    Ok(true)
}

/// Returns a revocation for each outside token that started the transaction. The transaction's own
/// row covers their descendants within it. Other transactions that they started stay valid.
async fn beginnings(
    connection: &mut PgConnection,
    revocation: &RevocationRow,
) -> Result<Vec<RevocationRow>, PostgresError> {
    let tokens: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT first.parent_iss, first.parent_jti
         FROM tokens AS first
         WHERE first.txn = $1 AND first.parent_jti IS NOT NULL
           AND NOT EXISTS (
               SELECT FROM tokens AS parent WHERE parent.jti = first.parent_jti AND parent.iss = first.parent_iss)",
    )
    .bind(&revocation.value)
    .fetch_all(connection)
    .await?;
    Ok(tokens.into_iter().map(|token| revocation.of_token(token)).collect())
}
