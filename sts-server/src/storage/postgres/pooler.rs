//! Poolers such as PgBouncer between a server and the database.
//!
//! A pooler that lends a connection of PostgreSQL for a session is not noticed. One that lends it
//! for a single transaction loses what belongs to a session: settings, `LISTEN`, and, before
//! PgBouncer 1.21, prepared statements.

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

use super::error::PostgresError;
use super::hosts::Hosts;
use super::session::Purpose;
use crate::storage::StorageError;

const LISTENS: &str =
    "it lends a connection for a single transaction: set database.listen = false, or its pool_mode = session";
const STATEMENTS: &str = "it loses prepared statements: PgBouncer needs version 1.21 or later and \
     max_prepared_statements above 0, or pool_mode = session";
const ISOLATION: &str = "the role must have default_transaction_isolation = 'read committed': ALTER ROLE … SET default_transaction_isolation";
const DURABILITY: &str = "the role must not have synchronous_commit = off: ALTER ROLE … SET synchronous_commit = on";

/// Refuses a pooler that cannot be used as it is configured.
pub(super) async fn check(hosts: &Hosts) -> Result<(), PostgresError> {
    let mut first = hosts.connect(Purpose::Migrations).await?.connection;
    let mut second = hosts.connect(Purpose::Migrations).await?.connection;
    let is_shared = is_shared(&mut first, &mut second).await?;
    if is_shared && hosts.listens {
        return Err(refused(LISTENS));
    }
    if is_shared {
        statements(&mut first, &mut second).await?;
    }
    if !hosts.listens {
        settings(&mut first).await?;
    }
    // Failed closes lose nothing.
    let _ = first.close().await;
    let _ = second.close().await;
    Ok(())
}

/// Returns true if a transaction of the second session runs on the connection of the first one.
async fn is_shared(first: &mut PgConnection, second: &mut PgConnection) -> Result<bool, PostgresError> {
    let before = process(first, "SELECT pg_backend_pid() AS process").await?;
    let within = process(second, "BEGIN; SELECT pg_backend_pid() AS process").await?;
    let is_shared = within == before || process(first, "SELECT pg_backend_pid() AS process").await? != before;
    sqlx::raw_sql("ROLLBACK").execute(second).await?;
    Ok(is_shared)
}

async fn process(connection: &mut PgConnection, statement: &'static str) -> Result<i32, PostgresError> {
    let rows = sqlx::raw_sql(statement).fetch_all(connection).await?;
    Ok(rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get("process")?)
}

/// Prepares different statements of the same name in both sessions.
async fn statements(first: &mut PgConnection, second: &mut PgConnection) -> Result<(), PostgresError> {
    for _ in 0..2 {
        let found: (Result<i32, _>, Result<i32, _>) = (
            sqlx::query_scalar("SELECT 1").fetch_one(&mut *first).await,
            sqlx::query_scalar("SELECT 2").fetch_one(&mut *second).await,
        );
        match found {
            (Ok(1), Ok(2)) => {}
            (Err(sqlx::Error::Database(_)), _) | (_, Err(sqlx::Error::Database(_))) | (Ok(_), Ok(_)) => {
                return Err(refused(STATEMENTS));
            }
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Checks the settings that a server makes itself where a session keeps them.
async fn settings(connection: &mut PgConnection) -> Result<(), PostgresError> {
    let rows = sqlx::raw_sql(
        "SELECT current_setting('default_transaction_isolation') = 'read committed' AS isolation,
                current_setting('synchronous_commit') <> 'off' AS durability,
                '0' NOT IN (current_setting('statement_timeout'), current_setting('lock_timeout'),
                            current_setting('idle_in_transaction_session_timeout')) AS limits",
    )
    .fetch_all(connection)
    .await?;
    let row = rows.last().ok_or(sqlx::Error::RowNotFound)?;
    if !row.try_get::<bool, _>("isolation")? {
        return Err(refused(ISOLATION));
    }
    if !row.try_get::<bool, _>("durability")? {
        return Err(refused(DURABILITY));
    }
    if !row.try_get::<bool, _>("limits")? {
        tracing::warn!(
            "the role has no time limits, and a server behind a pooler cannot set them: ALTER ROLE … SET statement_timeout = '5s', \
             lock_timeout = '4s', idle_in_transaction_session_timeout = '5s'"
        );
    }
    Ok(())
}

fn refused(reason: &'static str) -> PostgresError {
    PostgresError::Row(StorageError::Pooler(reason))
}
