//! The cost of an exchange in PostgreSQL: processor time, write-ahead log, and bytes at rest.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use sts_jose::Algorithm;

use super::exchange::{Subjects, forms};
use crate::arguments::Plan;
use crate::load::Load;
use crate::process;
use crate::server::Server;
use crate::statistics::Rounds;

/// The cost of an exchange in PostgreSQL.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// CPU time of the processes of PostgreSQL that are there before and after, without the postmaster, in microseconds.
    pub cpu_us: Rounds,
    /// Bytes of write-ahead log of the whole cluster.
    pub wal_bytes: Rounds,
    /// Bytes of the token and of its audit event in tables and indexes.
    pub bytes_at_rest: f64,
}

/// The counters before or after a round.
struct Account {
    cpu: HashMap<i32, Duration>,
    wal_bytes: i64,
    bytes: i64,
}

/// Measures exchanges with the plain subject tokens of the first row.
///
/// # Errors
/// An answer that is no token, or a PostgreSQL on another machine.
pub async fn measure(plan: &Plan, server: &Server) -> anyhow::Result<Stored> {
    let mut connection = PgConnection::connect(server.database_url()).await?;
    let mut load = Load::connect(&server.post("/oauth2/token"), plan.connections).await?;
    let requests = || forms(server, Algorithm::Es256, Subjects::Once, plan.requests);
    load.run(requests()).await?;
    let first = Account::read(&mut connection).await?;
    let mut measured = Stored::default();
    for _ in 0..plan.rounds {
        let requests = requests();
        let before = Account::read(&mut connection).await?;
        load.run(requests).await?;
        let after = Account::read(&mut connection).await?;
        let count = plan.requests as f64;
        measured.cpu_us.push(after.cpu_since(&before).as_secs_f64() * 1e6 / count);
        measured.wal_bytes.push((after.wal_bytes - before.wal_bytes) as f64 / count);
    }
    let grown = Account::read(&mut connection).await?.bytes - first.bytes;
    measured.bytes_at_rest = grown as f64 / (plan.rounds * plan.requests) as f64;
    connection.close().await?;
    Ok(measured)
}

impl Account {
    async fn read(connection: &mut PgConnection) -> anyhow::Result<Self> {
        let pids: Vec<i32> = sqlx::query_scalar("SELECT pid FROM pg_stat_activity").fetch_all(&mut *connection).await?;
        let cpu = |pid: i32| Some((pid, process::cpu_time(u32::try_from(pid).ok()?).ok()?));
        let cpu: HashMap<i32, Duration> = pids.into_iter().filter_map(cpu).collect();
        anyhow::ensure!(!cpu.is_empty(), "PostgreSQL runs on another machine");
        let (wal_bytes, bytes) = sqlx::query_as(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::BIGINT,
                    pg_total_relation_size('tokens') + pg_total_relation_size('audit_events')",
        )
        .fetch_one(connection)
        .await
        .context("the sizes of PostgreSQL")?;
        Ok(Self { cpu, wal_bytes, bytes })
    }

    /// The CPU time of the processes that were there at both times.
    fn cpu_since(&self, before: &Self) -> Duration {
        let spent = |(pid, now): (&i32, &Duration)| Some(now.saturating_sub(*before.cpu.get(pid)?));
        self.cpu.iter().filter_map(spent).sum()
    }
}
