//! The scenarios.

mod clock;
mod crash;
mod database;
mod disk;
mod failover;
mod filled;
mod hostile;
mod hostile_memory;
mod listeners;
mod network;
mod one_time;
mod patroni;
mod readers;
mod registry;
mod rotation;
mod standby;
mod suspect;
mod tampered;
mod together;
mod upgrade;

use std::pin::Pin;

use crate::{Outcome, Run};

/// How many clients ask, where a scenario does not say otherwise.
const CLIENTS: usize = 16;

/// A scenario under way.
pub type Running = Pin<Box<dyn Future<Output = anyhow::Result<Outcome>> + Send>>;

/// A fault, and how it is tried.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What is tried.
    pub about: &'static str,
    /// Whether its short form is part of every run of the tests.
    pub in_ci: bool,
    /// Tries it. An error says what did not hold.
    pub run: fn(Run) -> Running,
}

/// Every scenario, in the order of the page.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kill-9-sqlite",
        about: "`kill -9` of the server, fifty times, on SQLite",
        in_ci: true,
        run: |run| Box::pin(crash::on_sqlite(run)),
    },
    Scenario {
        name: "kill-9-postgres",
        about: "`kill -9` of the server, fifty times, on PostgreSQL",
        in_ci: true,
        run: |run| Box::pin(crash::on_postgres(run)),
    },
    Scenario {
        name: "kill-9-replicas",
        about: "`kill -9` of each of three servers in turn; clients ask another: no request fails",
        in_ci: true,
        run: |run| Box::pin(crash::of_replicas(run)),
    },
    Scenario {
        name: "start-together",
        about: "three servers start together on an empty database: one schema, one key, no failed request",
        in_ci: true,
        run: |run| Box::pin(together::start_together(run)),
    },
    Scenario {
        name: "connections-cut",
        about: "the connections to the database are cut every 200 ms",
        in_ci: true,
        run: |run| Box::pin(network::connections_cut(run)),
    },
    Scenario {
        name: "database-slow",
        about: "the database is slow: 50 ms for each piece, in each direction",
        in_ci: false,
        run: |run| Box::pin(network::slow(run)),
    },
    Scenario {
        name: "database-black-hole",
        about: "the network to the database swallows everything",
        in_ci: false,
        run: |run| Box::pin(network::black_hole(run)),
    },
    Scenario {
        name: "database-half-open",
        about: "the connections to the database are half open: the other end has forgotten them",
        in_ci: false,
        run: |run| Box::pin(network::half_open(run)),
    },
    Scenario {
        name: "database-unreachable",
        about: "nobody listens where the database was",
        in_ci: false,
        run: |run| Box::pin(network::unreachable(run)),
    },
    Scenario {
        name: "database-stopped",
        about: "the database is stopped as in a crash, and comes again",
        in_ci: false,
        run: |run| Box::pin(database::stopped(run)),
    },
    Scenario {
        name: "database-killed",
        about: "`kill -9` of every process of the database, twenty times",
        in_ci: true,
        run: |run| Box::pin(database::killed(run)),
    },
    Scenario {
        name: "database-suspended",
        about: "the database stands still: it takes connections and answers nothing",
        in_ci: false,
        run: |run| Box::pin(database::suspended(run)),
    },
    Scenario {
        name: "disk-full-sqlite",
        about: "the disk of SQLite is full",
        in_ci: false,
        run: |run| Box::pin(disk::full_sqlite(run)),
    },
    Scenario {
        name: "disk-full-postgres",
        about: "the disk of PostgreSQL is full",
        in_ci: false,
        run: |run| Box::pin(disk::full_postgres(run)),
    },
    Scenario {
        name: "fsync-fails-sqlite",
        about: "the disk takes what it is given and cannot keep it, on SQLite (`strace`)",
        in_ci: false,
        run: |run| Box::pin(disk::fsync_sqlite(run)),
    },
    Scenario {
        name: "fsync-fails-postgres",
        about: "the same on PostgreSQL, which then ends itself",
        in_ci: false,
        run: |run| Box::pin(disk::fsync_postgres(run)),
    },
    Scenario {
        name: "sqlite-locked",
        about: "another process holds the lock of the file",
        in_ci: true,
        run: |run| Box::pin(database::locked(run)),
    },
    Scenario {
        name: "pool-of-two",
        about: "two connections to the database for sixty-four clients: no request fails",
        in_ci: true,
        run: |run| Box::pin(database::pool_of_two(run)),
    },
    Scenario {
        name: "clock-jumps",
        about: "the clock of a server jumps: it is not ready, and the others do not notice (`libfaketime`)",
        in_ci: false,
        run: |run| Box::pin(clock::jumps(run)),
    },
    Scenario {
        name: "one-time-values",
        about: "an assertion or a proof with a nonce, raced by 48 requests on three servers that are killed, is accepted once",
        in_ci: true,
        run: |run| Box::pin(one_time::raced(run)),
    },
    Scenario {
        name: "drain",
        about: "SIGTERM, in turn: nothing is cut short, no request fails",
        in_ci: true,
        run: |run| Box::pin(listeners::drain(run)),
    },
    Scenario {
        name: "slowloris-sqlite",
        about: "connections that send a byte now and then, on SQLite",
        in_ci: false,
        run: |run| Box::pin(listeners::slowloris_sqlite(run)),
    },
    Scenario {
        name: "slowloris-postgres",
        about: "connections that send a byte now and then, on PostgreSQL",
        in_ci: false,
        run: |run| Box::pin(listeners::slowloris_postgres(run)),
    },
    Scenario {
        name: "descriptors-sqlite",
        about: "300 connections for a server with 128 file descriptors, on SQLite",
        in_ci: true,
        run: |run| Box::pin(listeners::descriptors_sqlite(run)),
    },
    Scenario {
        name: "descriptors-postgres",
        about: "300 connections for a server with 128 file descriptors, on PostgreSQL",
        in_ci: true,
        run: |run| Box::pin(listeners::descriptors_postgres(run)),
    },
    Scenario {
        name: "reader-flood",
        about: "24 readers of the audit log without pause: issuing, readiness, the kill switch and the following of changes go on",
        in_ci: true,
        run: |run| Box::pin(readers::flood(run)),
    },
    Scenario {
        name: "key-rotation",
        about: "keys rotate every 10 s, verifiers keep them for 5 s: no token is not verified",
        in_ci: false,
        run: |run| Box::pin(rotation::every_ten_seconds(run)),
    },
    Scenario {
        name: "registry-rollout",
        about: "a rolling deployment with a newer registry file: no request is refused",
        in_ci: true,
        run: |run| Box::pin(registry::rollout(run)),
    },
    Scenario {
        name: "upgrade",
        about: "the schema is migrated under servers of the former release, which start again on it; servers go forward, back and forward: no \
                request is refused",
        in_ci: false,
        run: |run| Box::pin(upgrade::forward_and_back(run)),
    },
    Scenario {
        name: "unreadable-row",
        about: "rows are altered past running servers: each is disabled alone; a row is deleted: 503 until `registry accept`",
        in_ci: true,
        run: |run| Box::pin(tampered::unreadable_row(run)),
    },
    Scenario {
        name: "standby-promoted",
        about: "a standby without the last changes is promoted, and others take their counters: every server goes by the new primary",
        in_ci: false,
        run: |run| Box::pin(standby::promoted(run)),
    },
    Scenario {
        name: "failover-synchronous",
        about: "`kill -9` of a primary whose synchronous standby is promoted: nothing acknowledged is lost, no server is restarted",
        in_ci: false,
        run: |run| Box::pin(failover::synchronous(run)),
    },
    Scenario {
        name: "failover-asynchronous",
        about: "the same with an asynchronous standby that is behind: what it did not receive is lost, and nothing else",
        in_ci: false,
        run: |run| Box::pin(failover::asynchronous(run)),
    },
    Scenario {
        name: "standby-dead",
        about: "the only synchronous standby is missing: no token, not ready, 503 at once, the kill switch works, connections stay bounded",
        in_ci: false,
        run: |run| Box::pin(failover::dead(run)),
    },
    Scenario {
        name: "patroni",
        about: "Patroni with etcd: the leader is killed under load; nothing acknowledged is lost, served again in 30 s (root)",
        in_ci: false,
        run: |run| Box::pin(patroni::leader_killed(run)),
    },
    Scenario {
        name: "hostile",
        about: "half an hour of malformed forms, bad tokens, unknown keys, wrong secrets, floods and slow clients: the memory of the server stays flat",
        in_ci: false,
        run: |run| Box::pin(hostile::load(run)),
    },
    Scenario {
        name: "hostile-memory",
        about: "4,096 hostile connections of each shape on a server in a memory cgroup of 512 MiB: no kill, honest clients are served (root)",
        in_ci: false,
        run: |run| Box::pin(hostile_memory::of_each_shape(run)),
    },
];
