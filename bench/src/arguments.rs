//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Measures agent-sts against its physical limits, and prints one table.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Arguments {
    /// Fewer and shorter rounds: less than five minutes, peers not counted.
    #[arg(long)]
    pub quick: bool,
    /// Prints one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Measures only these, by name; all unless given.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// The server's program; built as it is shipped unless given.
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
}

/// A part of the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Exchanges on PostgreSQL and SQLite, every subject token used once.
    Exchange,
}

/// How long and how often is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many rounds of a measure count.
    pub rounds: usize,
    /// How many requests a round has.
    pub requests: usize,
    /// How many operations a round of the floor has.
    pub operations: usize,
    /// How many connections the load has.
    pub connections: usize,
}

impl Arguments {
    /// Whether a part is to be measured.
    #[must_use]
    pub fn measures(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// How long and how often is measured.
    #[must_use]
    pub fn plan(&self) -> Plan {
        if self.quick {
            return Plan { rounds: 3, requests: 6_000, operations: 2_000, connections: 32 };
        }
        Plan { rounds: 7, requests: 20_000, operations: 5_000, connections: 32 }
    }
}
