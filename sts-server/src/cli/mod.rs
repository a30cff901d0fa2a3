//! The commands.
//!
//! What lives here: the command line, and a file for each command. What must never: work that a
//! server does too; commands call it. A new command is a file here, a variant of [`Command`] and an
//! arm of [`run`].

mod admin;
mod agent;
mod apply;
mod approvals;
mod arguments;
mod audit;
mod audit_arguments;
mod audit_line;
mod backend;
mod check;
mod command_line;
mod configuration;
mod database;
mod dev;
mod error;
mod explain;
mod health;
mod keys;
mod loopback;
mod online;
mod output;
mod registry;
mod revoke;
mod revoke_arguments;
mod serve;
mod story;
mod token;
mod value_parsers;

use std::process::ExitCode;

pub use arguments::{Cli, Command};
pub use backend::ViaError;
pub use error::CliError;
pub use output::{Output, printable};

use crate::server::Surroundings;

/// Runs a command. The exit code is 0 for a good result and 1 for a bad result: faults, a refusal,
/// or an audit log that does not verify.
///
/// # Errors
/// [`CliError`] if the command failed.
pub async fn run(cli: Cli, surroundings: Surroundings, out: &mut Output) -> Result<ExitCode, CliError> {
    if !cli.command.is_stream() {
        out.outlive_reader();
    }
    if let (Some(_), Some(reason)) = (&cli.options.via, cli.command.needs_this_machine()) {
        return Err(CliError::NotVia(reason));
    }
    run_command(&cli, surroundings, out).await.map_err(|error| database::named(error, &cli.options))
}

async fn run_command(cli: &Cli, surroundings: Surroundings, out: &mut Output) -> Result<ExitCode, CliError> {
    match &cli.command {
        Command::Dev(arguments) => dev::run(arguments, surroundings, out).await,
        Command::Serve(arguments) => serve::run(&cli.options, arguments, surroundings, out).await,
        Command::Check(arguments) => check::run(&cli.options, arguments, surroundings, out).await,
        Command::Health => health::run(&cli.options, out).await,
        Command::Config(command) => configuration::run(command, out),
        Command::Migrate => apply::migrate(&cli.options, surroundings, out).await,
        Command::Apply(arguments) => apply::run(&cli.options, arguments, surroundings, out).await,
        Command::Registry(command) => registry::run(&cli.options, command, surroundings, out).await,
        Command::Explain(arguments) => explain::run(&cli.options, arguments, surroundings, out).await,
        Command::Approvals(command) => approvals::run(&cli.options, command, surroundings, out).await,
        Command::Keys(command) => keys::run(&cli.options, command, surroundings, out).await,
        Command::Audit(command) => audit::run(&cli.options, command, surroundings, out).await,
        Command::Revoke(arguments) => revoke::run(&cli.options, arguments, surroundings, out).await,
        Command::Token(command) => token::run(command, &surroundings, out),
        Command::Agent(command) => agent::run(command, &surroundings, out),
        Command::Admin(command) => admin::run(command, &surroundings, out),
        Command::Completions { shell } => command_line::complete(*shell, out),
    }
}
