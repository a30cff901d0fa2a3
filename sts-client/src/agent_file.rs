//! The file of an agent: who may call it, and what it sends.

use std::path::Path;

use serde::Deserialize;
use sts_jose::MAX_FILE_BYTES;

use crate::build_error::{BuildError, TomlError};
use crate::inbound::config::InboundTable;
use crate::propagate::config::{HttpTable, ServiceAccountTable, StsTable};
use crate::route::Route;

/// The file of an agent. Each half reads its own part; an unknown key is refused by both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentFile {
    pub(crate) inbound: Option<InboundTable>,
    pub(crate) sts: Option<StsTable>,
    pub(crate) http: Option<HttpTable>,
    pub(crate) service_account: Option<ServiceAccountTable>,
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
}

impl AgentFile {
    pub(crate) fn parse(text: &str) -> Result<Self, BuildError> {
        toml::from_str(text).map_err(|error| BuildError::Toml(TomlError::new(&error, text)))
    }
}

/// Reads a file that an agent's file names.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, BuildError> {
    sts_jose::read_file(path, MAX_FILE_BYTES).map_err(|source| BuildError::File { path: path.to_owned(), source })
}
