//! An audit log that has events of its own.

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use sqlx::PgPool;
use sts_jose::{Clock as _, SystemClock, SystemEntropy};
use sts_server::keys::MasterKey;
use sts_server::record::{AuditWriter, Event, EventKind};
use sts_server::storage::AuditRow;

use crate::trial::{Trial, now};

/// The rows that are written at once.
const BATCH: usize = 2_000;

/// Adds events of the last hours to the audit log of a PostgreSQL database, in a chain of their own. Returns the name of the chain. Every
/// version of the schema takes these rows.
pub(super) async fn fill(trial: &Trial, url: &str, events: usize) -> anyhow::Result<String> {
    let master = MasterKey::read(&trial.folder.path("master.key"))?;
    let pool = PgPool::connect(url).await?;
    let mut writer = AuditWriter::new(master.audit().clone(), &SystemEntropy);
    let (begun, present) = (now(), SystemClock.now());
    let mut name = String::new();
    for first in (0..events).step_by(BATCH) {
        let event = |number: usize| event(present, events - number);
        let rows: Vec<_> = (first..events.min(first + BATCH)).map(|number| writer.seal(&event(number))).collect();
        append(&pool, &rows).await?;
        name.clone_from(&rows.first().context("a row")?.writer);
    }
    eprintln!("{events} events in {:.0} s", begun.elapsed().as_secs_f64());
    pool.close().await;
    Ok(name)
}

/// Removes a chain as a whole. Nothing shows that.
pub(super) async fn remove(url: &str, writer: &str) -> anyhow::Result<()> {
    let pool = PgPool::connect(url).await?;
    sqlx::query("DELETE FROM audit_events WHERE writer = $1").bind(writer).execute(&pool).await?;
    pool.close().await;
    Ok(())
}

async fn append(pool: &PgPool, rows: &[AuditRow]) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO audit_events (writer, writer_sequence, at, correlation_id, body, mac)
         SELECT * FROM UNNEST($1::TEXT[], $2::BIGINT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::BYTEA[])",
    )
    .bind(rows.iter().map(|row| row.writer.as_str()).collect::<Vec<&str>>())
    .bind(rows.iter().map(|row| row.writer_sequence).collect::<Vec<i64>>())
    .bind(rows.iter().map(|row| row.at.as_millisecond()).collect::<Vec<i64>>())
    .bind(rows.iter().map(|row| row.correlation_id.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(rows.iter().map(|row| row.body.as_str()).collect::<Vec<&str>>())
    .bind(rows.iter().map(|row| row.mac.as_slice()).collect::<Vec<&[u8]>>())
    .execute(pool)
    .await?;
    Ok(())
}

/// An event of a refusal, so many turns of 2 ms ago.
fn event(present: Timestamp, ago: usize) -> Event {
    let milliseconds = i64::try_from(ago).unwrap_or(i64::MAX / 2).saturating_mul(2);
    let at = present.checked_sub(SignedDuration::from_millis(milliseconds)).unwrap_or(present);
    let mut event = Event::new(EventKind::TokenRefused, at);
    event.correlation_id = Some(format!("filled-{ago}"));
    event.client_id = Some("coordinator".to_owned());
    event.sub = Some("alice".to_owned());
    event.reason = Some("scope_beyond".to_owned());
    event.detail = Some("an event as large as most of them ".repeat(8));
    event
}
