//! The measures. Each prints nothing; [`crate::report`] shows them.

pub mod assertion;
pub mod bound;
pub mod client;
pub mod endpoints;
pub mod exchange;
pub mod flatness;
pub mod floor;
pub mod latency;
pub mod local;
pub mod registry;
pub mod stored;

use client::Calls;
use endpoints::Requests;
use exchange::Exchanges;
use flatness::Level;
use latency::Latencies;
use local::LocalCalls;
use registry::LargeRegistry;
use stored::Stored;

use crate::peers::Measured;

/// All that one run has measured; what was not asked for is empty.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Exchanges by database, algorithm and use of subject tokens; the first is that of the targets.
    pub exchanges: Vec<Named>,
    /// The server's memory in RAM before its first request, in MiB.
    pub idle_mib: f64,
    /// Latencies on PostgreSQL.
    pub latencies: Option<Latencies>,
    /// Exchanges on PostgreSQL with live tokens recorded.
    pub levels: Vec<Level>,
    /// The cost of an exchange in PostgreSQL.
    pub stored: Option<Stored>,
    /// Other endpoints on PostgreSQL.
    pub endpoints: Vec<Requests>,
    /// A large registry.
    pub registry: Option<LargeRegistry>,
    /// Calls of an agent.
    pub calls: Option<Calls>,
    /// Calls of an agent in another language.
    pub local: Option<LocalCalls>,
    /// The peers.
    pub peers: Vec<Measured>,
}

/// One kind of exchange, with its name.
#[derive(Debug, Clone)]
pub struct Named {
    /// What is exchanged, and where it is recorded.
    pub name: String,
    /// The figures.
    pub exchanges: Exchanges,
}
