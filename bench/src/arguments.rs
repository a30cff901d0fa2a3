//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Measures agent-sts against its physical limits, and prints one table.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Arguments {
    /// Fewer and shorter rounds: less than five minutes, with the peers' own time on top.
    #[arg(long)]
    pub quick: bool,
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Measures only these; all unless given.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Which peers run: all, none, or names, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    pub peers: Vec<String>,
    /// Where peers are installed.
    #[arg(long, value_name = "FOLDER", default_value = "target/peers")]
    pub peers_folder: PathBuf,
    /// Where the plot goes.
    #[arg(long, value_name = "FILE", default_value = "target/bench.svg")]
    pub plot: PathBuf,
    /// The server's program; built as it is shipped unless given.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
}

/// A part of the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Exchanges on PostgreSQL and SQLite: by algorithm, and with tokens used once or fanned out.
    Exchange,
    /// Latencies on an idle server and at half load.
    Latency,
    /// The same with many live tokens recorded.
    Flatness,
    /// Introspection, `client_credentials`, the key set.
    Endpoints,
    /// Calls of an agent.
    Client,
    /// A registry of 10,000 agents and 50,000 delegations.
    Registry,
    /// Calls of an agent in another language.
    Local,
}

/// How long and how often is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many rounds of a measure count.
    pub rounds: usize,
    /// How many requests a round has.
    pub requests: usize,
    /// How many requests a round of a peer has: they take longer.
    pub peer_requests: usize,
    /// How many operations a round of the floor has.
    pub operations: usize,
    /// How many connections the load has.
    pub connections: usize,
    /// How many live tokens are recorded where that is measured.
    pub levels: [usize; 3],
}

impl Arguments {
    /// Whether a part is to be measured.
    #[must_use]
    pub fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether a peer is to be measured.
    #[must_use]
    pub fn runs_peer(&self, name: &str) -> bool {
        self.peers.iter().any(|wanted| wanted == "all" || wanted == name)
    }

    /// How long and how often is measured.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let levels = [0, 10_000, 1_000_000];
        if self.quick {
            return Plan {
                rounds: 3,
                requests: 6_000,
                peer_requests: 2_000,
                operations: 2_000,
                connections: 32,
                levels,
            };
        }
        Plan { rounds: 7, requests: 20_000, peer_requests: 5_000, operations: 5_000, connections: 32, levels }
    }
}
