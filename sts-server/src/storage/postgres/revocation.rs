//! Revocations and what they reach.

use sqlx::PgPool;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::{announce, audit, registry, transaction};
use crate::storage::columns::{self, RevocationColumns};
use crate::storage::{AuditRow, RevocationKind, RevocationRow};

/// Reads all revocations that have not expired.
pub(super) async fn revocations(pool: &PgPool) -> Result<(i64, Vec<RevocationRow>), PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
    let counter = registry::counter(&mut transaction, "revocations").await?;
    let now = registry::now(&mut transaction).await?;
    let revocations: Vec<RevocationColumns> = sqlx::query_as(
        "SELECT kind, issuer, value, at, expires_at, version FROM revocations
         WHERE expires_at > $1 ORDER BY version, kind, issuer, value",
    )
    .bind(now)
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((counter, columns::rows(revocations)?))
}

/// Reads the revocations after a version.
pub(super) async fn after(connection: &mut PgConnection, version: i64) -> Result<Vec<RevocationRow>, PostgresError> {
    let revocations: Vec<RevocationColumns> = sqlx::query_as(
        "SELECT kind, issuer, value, at, expires_at, version FROM revocations
         WHERE version > $1 ORDER BY version, kind, issuer, value",
    )
    .bind(version)
    .fetch_all(connection)
    .await?;
    Ok(columns::rows(revocations)?)
}

/// Adds a revocation and the rows that follow from it.
pub(super) async fn revoke(
    pool: &PgPool,
    revocation: &RevocationRow,
    audit: &[AuditRow],
) -> Result<(i64, u64), PostgresError> {
    let mut transaction = transaction::without_writers(pool).await?;
    let version = raise_counter(&mut transaction).await?;
    let added = add(&mut transaction, revocation, version).await?;
    let followed = match revocation.kind {
        RevocationKind::Token => add_descendants(&mut transaction, revocation, version).await?,
        RevocationKind::Transaction => add_beginnings(&mut transaction, revocation, version).await?,
        RevocationKind::Subject | RevocationKind::Agent | RevocationKind::Tenant => 0,
    };
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok((version, added.saturating_add(followed)))
}

/// Removes one revocation, named by (kind, issuer, value).
pub(super) async fn lift(
    pool: &PgPool,
    (kind, issuer, value): (RevocationKind, Option<&str>, &str),
    audit: &[AuditRow],
) -> Result<bool, PostgresError> {
    let mut transaction = transaction::without_writers(pool).await?;
    let lifted = sqlx::query("DELETE FROM revocations WHERE kind = $1 AND issuer = $2 AND value = $3")
        .bind(kind.word())
        .bind(issuer.unwrap_or_default())
        .bind(value)
        .execute(&mut *transaction)
        .await?;
    if lifted.rows_affected() == 0 {
        return Ok(false);
    }
    raise_counter(&mut transaction).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn raise_counter(connection: &mut PgConnection) -> Result<i64, PostgresError> {
    let raised = sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'revocations' RETURNING value")
        .fetch_one(&mut *connection)
        .await?;
    announce::announce(connection).await?;
    Ok(raised)
}

async fn add(connection: &mut PgConnection, revocation: &RevocationRow, version: i64) -> Result<u64, PostgresError> {
    let added = sqlx::query(
        "INSERT INTO revocations (kind, issuer, value, at, expires_at, version)
         VALUES ($1, $2, $3, GREATEST($4, (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT), $5, $6)
         ON CONFLICT (kind, issuer, value) DO UPDATE
         SET at = GREATEST(revocations.at, excluded.at),
             expires_at = GREATEST(revocations.expires_at, excluded.expires_at),
             version = excluded.version
         WHERE excluded.at > revocations.at OR excluded.expires_at > revocations.expires_at",
    )
    .bind(revocation.kind.word())
    .bind(revocation.issuer.as_deref().unwrap_or_default())
    .bind(&revocation.value)
    .bind(revocation.at.as_millisecond())
    .bind(revocation.expires_at.as_millisecond())
    .bind(version)
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}

/// Adds a row for every living token that was exchanged, over any number of hops, for the one revoked.
async fn add_descendants(
    connection: &mut PgConnection,
    revocation: &RevocationRow,
    version: i64,
) -> Result<u64, PostgresError> {
    let now = registry::now(connection).await?;
    let added = sqlx::query(
        "WITH RECURSIVE descendants (iss, jti, expires_at) AS (
             SELECT iss, jti, expires_at FROM tokens WHERE parent_iss = $1 AND parent_jti = $2
             UNION
             SELECT child.iss, child.jti, child.expires_at
             FROM tokens AS child
             JOIN descendants ON child.parent_iss = descendants.iss AND child.parent_jti = descendants.jti
         )
         INSERT INTO revocations (kind, issuer, value, at, expires_at, version)
         SELECT $3, iss, jti, $4, expires_at, $5 FROM descendants
         WHERE expires_at > $6
         ON CONFLICT (kind, issuer, value) DO UPDATE
         SET at = GREATEST(revocations.at, excluded.at),
             expires_at = GREATEST(revocations.expires_at, excluded.expires_at),
             version = excluded.version
         WHERE excluded.at > revocations.at OR excluded.expires_at > revocations.expires_at",
    )
    .bind(revocation.issuer.as_deref().unwrap_or_default())
    .bind(&revocation.value)
    .bind(RevocationKind::Token.word())
    .bind(revocation.at.as_millisecond())
    .bind(version)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}

/// Adds a row for every outside token that began the transaction. What descends from them within the transaction is covered by the
/// transaction's own row; other transactions that they began stand.
async fn add_beginnings(
    connection: &mut PgConnection,
    revocation: &RevocationRow,
    version: i64,
) -> Result<u64, PostgresError> {
    let added = sqlx::query(
        "INSERT INTO revocations (kind, issuer, value, at, expires_at, version)
         SELECT DISTINCT $2, first.parent_iss, first.parent_jti, $3::BIGINT, $4::BIGINT, $5::BIGINT
         FROM tokens AS first
         WHERE first.txn = $1 AND first.parent_jti IS NOT NULL
           AND NOT EXISTS (
               SELECT FROM tokens AS parent WHERE parent.jti = first.parent_jti AND parent.iss = first.parent_iss)
         ON CONFLICT (kind, issuer, value) DO UPDATE
         SET at = GREATEST(revocations.at, excluded.at),
             expires_at = GREATEST(revocations.expires_at, excluded.expires_at),
             version = excluded.version
         WHERE excluded.at > revocations.at OR excluded.expires_at > revocations.expires_at",
    )
    .bind(&revocation.value)
    .bind(RevocationKind::Token.word())
    .bind(revocation.at.as_millisecond())
    .bind(revocation.expires_at.as_millisecond())
    .bind(version)
    .execute(connection)
    .await?;
    Ok(added.rows_affected())
}
