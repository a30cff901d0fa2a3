//! `config reference`: prints the reference configuration, which is generated from the code.

use std::process::ExitCode;

use serde_json::json;

use super::CliError;
use super::arguments::ConfigCommand;
use super::output::Output;
use crate::config::{self, OPTIONS};

pub(super) fn run(command: &ConfigCommand, out: &mut Output) -> Result<ExitCode, CliError> {
    match command {
        ConfigCommand::Reference if out.is_json() => {
            for option in OPTIONS.iter() {
                out.json(&json!({
                    "option": option.path(), "variable": option.variable(), "default": option.default,
                    "value": option.form, "meaning": option.doc,
                }))?;
            }
        }
        ConfigCommand::Reference => out.block(config::reference().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
