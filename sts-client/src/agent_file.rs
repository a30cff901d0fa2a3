//! The file of an agent: who may call it, and what it sends.

use serde::Deserialize;

use crate::build_error::{BuildError, TomlError};
use crate::inbound::config::InboundTable;
use crate::propagate::config::{ServiceAccountTable, StsTable};
use crate::route::Route;

/// The file of an agent. Each half reads its own part; an unknown key is refused by both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentFile {
    pub(crate) inbound: Option<InboundTable>,
    pub(crate) sts: Option<StsTable>,
    pub(crate) service_account: Option<ServiceAccountTable>,
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
}

impl AgentFile {
    pub(crate) fn parse(text: &str) -> Result<Self, BuildError> {
        toml::from_str(text).map_err(|error| BuildError::Toml(TomlError::new(&error, text)))
    }
}
