//! The command line of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::admin::{AuditOutcome, AuditTime};
use crate::ttl::Ttl;

/// The commands of `audit`.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Lists events, newest first.
    List(AuditListArguments),
    /// Shows events as they are committed, each with its cursor. Waits out an outage of the
    /// database.
    Follow {
        /// The cursor of the last event that was processed: the next line is the event after it.
        /// Without it, only later events are shown. 0 shows all events.
        #[arg(long, value_name = "CURSOR")]
        after: Option<i64>,
        /// The filter.
        #[command(flatten)]
        filter: AuditFilterArguments,
    },
    /// Checks that no event was edited, removed or moved. Names the first such event.
    Verify {
        /// Heads that `audit export --heads` wrote earlier. With them, a truncated tail and a
        /// missing writer are found too.
        #[arg(long, value_name = "FILE")]
        heads: Option<PathBuf>,
        /// Check this archive instead of the database's audit log.
        #[arg(long, value_name = "FILE", conflicts_with = "heads")]
        archive: Option<PathBuf>,
    },
    /// Writes old events to a new file that `audit verify --archive` checks. Removes nothing:
    /// `audit.retain` does.
    Archive {
        /// The file, which must not exist.
        file: PathBuf,
        /// Only the events that are older than this span; all events without it.
        #[arg(long, value_name = "SPAN")]
        older_than: Option<Ttl>,
    },
    /// Records that a fault that `audit verify` reports has been explained. The fault no longer
    /// counts. A later change of the same row is another fault.
    Acknowledge {
        /// The row, as `audit verify` names it: WRITER:SEQUENCE.
        row: String,
        /// The explanation, for the audit log.
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// The heads that `audit verify` was called with.
        #[arg(long, value_name = "FILE")]
        heads: Option<PathBuf>,
    },
    /// Writes all rows, or only the heads of the chains, as one JSON object per line.
    Export {
        /// Write only the last row of each chain. Keep it where the database's administrator cannot
        /// write.
        #[arg(long)]
        heads: bool,
    },
}

impl AuditCommand {
    /// Returns the reason why a server cannot do the command, or `None` if it can.
    pub(super) fn needs_this_machine(&self) -> Option<&'static str> {
        match self {
            Self::List(_) | Self::Follow { .. } | Self::Export { .. } => None,
            Self::Verify { .. } => {
                Some("`audit verify` needs the master key, which the codes of the rows are made with")
            }
            Self::Archive { .. } => Some("`audit archive` needs the master key, to verify the rows that it writes"),
            Self::Acknowledge { .. } => Some("`audit acknowledge` needs the master key, to verify the row"),
        }
    }

    /// Returns true if the command prints rows without end, or all of them.
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::List(arguments) => arguments.filter.correlation.is_none(),
            Self::Follow { .. } | Self::Export { .. } => true,
            Self::Verify { .. } | Self::Archive { .. } | Self::Acknowledge { .. } => false,
        }
    }
}

/// The arguments of `audit list`.
#[derive(Args)]
pub struct AuditListArguments {
    /// The filter.
    #[command(flatten)]
    pub filter: AuditFilterArguments,
    /// Only the events since a time, or of a recent period: 2026-01-31T12:00:00Z, 15m or 24h.
    #[arg(long, value_name = "TIME")]
    pub since: Option<AuditTime>,
    /// Only the events until a time, or before a recent period.
    #[arg(long, value_name = "TIME")]
    pub until: Option<AuditTime>,
    /// The maximum number of events. Without it, 100 events are listed, all with --json, and a
    /// story has 1000.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// The events that a search selects.
#[derive(Args)]
pub struct AuditFilterArguments {
    /// Only the events about this user, as minted tokens name it.
    #[arg(long)]
    pub sub: Option<String>,
    /// Only the events of this agent: its requests, and its revocations.
    #[arg(long)]
    pub agent: Option<String>,
    /// Only the events of this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only the events about tokens for this agent.
    #[arg(long, value_name = "AGENT")]
    pub target: Option<String>,
    /// Only the events with this outcome: allowed or refused.
    #[arg(long)]
    pub outcome: Option<AuditOutcome>,
    /// Only the events with this X-Correlation-ID, as one story: each hop with its chain, its rule
    /// and its duration.
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Only the events of this transaction.
    #[arg(long)]
    pub txn: Option<String>,
    /// Only the events of this token.
    #[arg(long)]
    pub jti: Option<String>,
}
