//! The backend of a command: the database of a configuration, or a running server (`--via`).
//!
//! What lives here: each operation that a command asks for, once for both backends (`audit` has the
//! audit log), and the client of the admin API (`client`). What must never: the output of a command.
//! Another operation is a method of [`Backend`].

mod audit;
mod client;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

pub(super) use audit::{ListedRow, RowContent};
pub use client::ViaError;

use client::AdminClient;

use super::CliError;
use super::arguments::Options;
use super::output::{Output, configuration};
use crate::admin::{
    Administration, By, ExplainRequest, ListedKey, Named, Records, RevocationDone, RotateRequest, StandingRevocation,
    Unused,
};
use crate::approval::{ApprovalAct, SeenApproval};
use crate::config::Config;
use crate::exchange::Explanation;
use crate::keys::MasterKey;
use crate::server::{self, Foundation, StartError, Surroundings};
use crate::service::Sts;
use crate::storage::{self, RowCodes};

/// The system that a command changes.
pub(super) enum Backend {
    /// The database of a configuration, opened with its master key.
    Database(Box<OpenDatabase>),
    /// A running server, asked through its admin API.
    Server(AdminClient),
}

/// The system that a command only reads.
pub(super) enum ReadBackend {
    /// The database of a configuration, opened without its master key.
    Database(Box<Records>),
    /// A running server, asked through its admin API.
    Server(AdminClient),
}

/// The open database of a configuration.
pub(super) struct OpenDatabase {
    pub(super) config: Config,
    pub(super) foundation: Foundation,
    pub(super) administration: Administration,
}

impl OpenDatabase {
    /// Opens the database and reads the master key.
    pub(super) async fn of(options: &Options, surroundings: Surroundings, out: &mut Output) -> Result<Self, CliError> {
        let config = configuration(options, out)?;
        let foundation = Foundation::lay(&config, surroundings).await?;
        let administration = foundation.administration(&config);
        Ok(Self { config, foundation, administration })
    }
}

impl Backend {
    /// Returns the server of `--via`, or opens the database of the configuration.
    pub(super) async fn of(options: &Options, surroundings: Surroundings, out: &mut Output) -> Result<Self, CliError> {
        match AdminClient::of(options)? {
            Some(server) => Ok(Self::Server(server)),
            None => Ok(Self::Database(Box::new(OpenDatabase::of(options, surroundings, out).await?))),
        }
    }

    pub(super) async fn explain(&self, request: &ExplainRequest) -> Result<Explanation, CliError> {
        match self {
            Self::Database(database) => {
                let sts = Sts::start(&database.config, database.foundation.parts()).await?;
                Ok(request.explain(&sts).await?)
            }
            Self::Server(server) => Ok(server.post(&["explain"], request).await?),
        }
    }

    pub(super) async fn revoke(&self, named: &Named) -> Result<RevocationDone, CliError> {
        match self {
            Self::Database(database) => Ok(database.administration.revoke_named(named, &By::this_user()).await?),
            Self::Server(server) => Ok(server.post(&["revocations"], named).await?),
        }
    }

    /// Lifts a revocation. Returns false if it did not exist.
    pub(super) async fn lift(&self, named: &Named) -> Result<bool, CliError> {
        match self {
            Self::Database(database) => Ok(database.administration.lift_named(named, &By::this_user()).await?),
            Self::Server(server) => {
                let names = [
                    ("jti", &named.jti),
                    ("txn", &named.txn),
                    ("sub", &named.sub),
                    ("agent", &named.agent),
                    ("tenant", &named.tenant),
                    ("owner", &named.owner),
                    ("issuer", &named.issuer),
                ];
                let query: Vec<(&str, &str)> =
                    names.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
                match server.delete(&["revocations"], &query).await {
                    Err(error) if error.is_not_found() => Ok(false),
                    lifted => Ok(lifted.map(|()| true)?),
                }
            }
        }
    }

    /// Returns the same system, to be read.
    pub(super) fn reading(&self) -> ReadBackend {
        match self {
            Self::Database(database) => ReadBackend::Database(Box::new((*database.administration).clone())),
            Self::Server(server) => ReadBackend::Server(server.clone()),
        }
    }

    pub(super) async fn decide_approval(&self, id: &str, act: ApprovalAct) -> Result<SeenApproval, CliError> {
        match self {
            Self::Database(database) => Ok(database.administration.decide_approval(id, act, &By::this_user()).await?),
            Self::Server(server) => Ok(server.post(&["approvals", id], &json!({ "decision": act })).await?),
        }
    }

    pub(super) async fn rotate_keys(&self, request: RotateRequest) -> Result<(), CliError> {
        match self {
            Self::Database(database) => Ok(database.administration.rotate_keys(request, &By::this_user()).await?),
            Self::Server(server) => {
                server.post::<IgnoredAny>(&["keys", "rotate"], &request).await?;
                Ok(())
            }
        }
    }

    pub(super) async fn revoke_key(&self, kid: &str) -> Result<(), CliError> {
        match self {
            Self::Database(database) => Ok(database.administration.revoke_key(kid, &By::this_user()).await?),
            Self::Server(server) => Ok(server.delete(&["keys", kid], &[]).await?),
        }
    }
}

impl ReadBackend {
    /// Returns the registry in the form of a registry file.
    pub(super) async fn export(&self) -> Result<Map<String, Value>, CliError> {
        match self {
            Self::Database(records) => Ok(records.export().await?),
            Self::Server(server) => {
                let mut exported = server.whole(&["registry"]).await?;
                exported.retain(|_, value| value.as_array().is_none_or(|entries| !entries.is_empty()));
                Ok(exported)
            }
        }
    }

    /// Returns the server of `--via`, or opens the database of the configuration.
    pub(super) async fn of(options: &Options, surroundings: Surroundings, out: &mut Output) -> Result<Self, CliError> {
        match AdminClient::of(options)? {
            Some(server) => Ok(Self::Server(server)),
            None => Ok(Self::Database(Box::new(records(options, surroundings, out).await?))),
        }
    }

    pub(super) async fn revocations(&self) -> Result<Vec<StandingRevocation>, CliError> {
        match self {
            Self::Database(records) => Ok(records.revocations().await?),
            Self::Server(server) => Ok(server.list(&["revocations"], "revocations").await?),
        }
    }

    /// Returns the entries that were not used in this number of days.
    pub(super) async fn unused(&self, days: u16) -> Result<Unused, CliError> {
        match self {
            Self::Database(records) => Ok(records.unused(days).await?),
            Self::Server(server) => Ok(server.get(&["unused"], &[("days", &days.to_string())]).await?),
        }
    }

    pub(super) async fn approvals(&self) -> Result<Vec<SeenApproval>, CliError> {
        match self {
            Self::Database(records) => Ok(records.approvals().await?),
            Self::Server(server) => Ok(server.list(&["approvals"], "approvals").await?),
        }
    }

    pub(super) async fn approval(&self, id: &str) -> Result<SeenApproval, CliError> {
        match self {
            Self::Database(records) => Ok(records.approval(id).await?),
            Self::Server(server) => Ok(server.get(&["approvals", id], &[]).await?),
        }
    }

    pub(super) async fn keys(&self) -> Result<Vec<ListedKey>, CliError> {
        match self {
            Self::Database(records) => Ok(records.keys().await?),
            Self::Server(server) => Ok(server.list(&["keys"], "keys").await?),
        }
    }
}

/// Opens the database of the configuration for a command that only reads. Rows are compared with their
/// codes if the master key can be read: an altered row is disabled, as a server takes it.
pub(super) async fn records(
    options: &Options,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<Records, CliError> {
    let config = configuration(options, out)?;
    let location = server::location(&config.database).map_err(StartError::from)?;
    let codes = match MasterKey::read(&config.keys.master_key_file) {
        Ok(master) => master.row_codes(&surroundings.entropy),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "without the master key, altered rows are shown as they are stored");
            RowCodes::unchecked(surroundings.entropy)
        }
    };
    let store = storage::open_at(&location, codes).await?;
    let store = store.for_operators().unwrap_or(store);
    Ok(Records::new(store, surroundings.clock, &config))
}
