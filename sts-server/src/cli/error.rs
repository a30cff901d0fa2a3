//! The errors of commands.

use std::path::PathBuf;

use thiserror::Error;

use super::backend::ViaError;
use crate::admin::{Denied, NotRevoked, UnknownName, Wrong};
use crate::fault::Fault;
use crate::keys::{KeyLifeError, SealError};
use crate::record::ArchiveError;
use crate::registry::ApplyError;
use crate::server::StartError;
use crate::service::SnapshotError;
use crate::storage::StorageError;

/// A command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// The configuration or the registry file has faults, which have been printed.
    #[error("the configuration has {} fault{}", .0.len(), if .0.len() == 1 { "" } else { "s" })]
    Faults(Vec<Fault>),
    /// The server does not start, or the database cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The database failed.
    #[error("the database cannot be used")]
    Storage(#[from] StorageError),
    /// The database failed, and its name is known.
    #[error("the database {database} cannot be used")]
    Database {
        /// The file or the address of the database.
        database: String,
        /// The error of the command.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The command needs a configuration, and there is none.
    #[error(
        "no configuration: give --config FILE, set STS_CONFIG, or run the command in the folder of sts.toml \
         (`sts-server config reference` prints one)"
    )]
    NoConfiguration,
    /// The asynchronous runtime does not start.
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
    /// The database's content cannot be read.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
    /// The registry file cannot be applied.
    #[error("the registry file cannot be applied")]
    Apply(#[from] ApplyError),
    /// The registry of the database cannot be written as a file.
    #[error("the registry cannot be written as TOML")]
    Toml(#[from] toml::ser::Error),
    /// The keys were not changed.
    #[error(transparent)]
    Keys(#[from] KeyLifeError),
    /// The master key cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A file cannot be read or written.
    #[error("{path} cannot be used")]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The cause of the failure.
        #[source]
        source: std::io::Error,
    },
    /// An archive of the audit log cannot be written or read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The folder of `dev` cannot be used.
    #[error("the folder {path} cannot be used, delete it to start again")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause of the failure.
        #[source]
        source: Box<CliError>,
    },
    /// Standard output cannot be written.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
    /// Data cannot be written or read as JSON.
    #[error("data is not JSON as expected")]
    Json(#[from] serde_json::Error),
    /// An argument of the command line is invalid.
    #[error("{0}")]
    Argument(String),
    /// A secret cannot be hashed.
    #[error("the token cannot be hashed")]
    Hash(#[from] argon2::password_hash::Error),
    /// A requested value is invalid.
    #[error("{}", in_flags(.0))]
    Wrong(Wrong),
    /// The name to revoke is unknown.
    #[error("{}", with_advice(.0))]
    Unknown(UnknownName),
    /// The operation is denied, or cannot be performed now.
    #[error("{}", .0.detail())]
    Denied(Denied),
    /// The server of `--via` did not do it.
    #[error(transparent)]
    Via(#[from] ViaError),
    /// The command cannot be done by a server.
    #[error("--via (STS_VIA): {0}")]
    NotVia(&'static str),
    /// A listener, or the task that follows the database, exited unexpectedly.
    #[error("a background task of the server failed; its log line says which")]
    PartEnded,
    /// The demonstration failed.
    #[error("the demonstration failed: {0}")]
    Demonstration(String),
}

impl CliError {
    /// Returns true if the database or the server does not answer, and may answer later.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_outage())
            || matches!(self, Self::Via(error) if error.is_outage())
    }
}

/// Returns the message for an invalid parameter, with the name of its flag.
fn in_flags(wrong: &Wrong) -> String {
    match wrong.parameter {
        "" => wrong.message.clone(),
        parameter => format!("--{}: {}", parameter.replace('_', "-"), wrong.message),
    }
}

/// Returns the reason, the suggestion, and the flag that revokes an unknown name.
fn with_advice(UnknownName { parameter, message, meant }: &UnknownName) -> String {
    let meant = meant.as_ref().map_or_else(String::new, |meant| format!("{meant} "));
    format!("--{parameter}: {message}; {meant}add --unknown to revoke it anyway")
}

impl From<Wrong> for CliError {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Denied> for CliError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Storage(error) => Self::Storage(error),
            denied => Self::Denied(denied),
        }
    }
}

impl From<NotRevoked> for CliError {
    fn from(error: NotRevoked) -> Self {
        match error {
            NotRevoked::Wrong(wrong) => Self::Wrong(wrong),
            NotRevoked::Unknown(unknown) => Self::Unknown(unknown),
            NotRevoked::Storage(error) => Self::Storage(error),
        }
    }
}
