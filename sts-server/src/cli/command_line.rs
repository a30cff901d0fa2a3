//! The command line of this process: how it is read, and the scripts that complete it in a shell.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _};
use clap_complete::Shell;

use super::CliError;
use super::arguments::{CONFIGURATION, Cli};
use super::output::Output;

/// The options that select a server in place of a configuration.
const VIA: [&str; 2] = ["via", "via_token_file"];
/// The commands that read a configuration, and that no server can do.
const NOT_VIA: [&str; 4] = ["serve", "check", "health", "migrate"];
/// The commands that read no configuration.
const WITHOUT_CONFIGURATION: [&str; 6] = ["dev", "config", "token", "agent", "admin", "completions"];

impl Cli {
    /// Reads the command line of this process. For `--help`, `--version` and a wrong usage, prints
    /// the text and ends the process.
    #[must_use]
    pub fn read() -> Self {
        let mut command = Self::described();
        let matches = command.get_matches_mut();
        if let Err(error) = refuse_configuration(&mut command, &matches) {
            error.exit();
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Returns the command line. The help of a command that reads no configuration does not list
    /// the options of one.
    fn described() -> clap::Command {
        let command = Self::command();
        let hidden: Vec<Arg> = configuration_options(&command).map(|option| option.clone().hide(true)).collect();
        let of_via = hidden.iter().filter(|option| VIA.contains(&option.get_id().as_str()));
        let of_via: Vec<Arg> = of_via.cloned().collect();
        let hide = |names: &[&'static str], options: Vec<Arg>, command: clap::Command| {
            names.iter().fold(command, |command, name| {
                let options = options.clone();
                command.mut_subcommand(*name, |subcommand| subcommand.args(options))
            })
        };
        hide(&WITHOUT_CONFIGURATION, hidden, hide(&NOT_VIA, of_via, command))
    }
}

fn configuration_options(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|option| option.get_help_heading() == Some(CONFIGURATION))
}

/// Refuses an option of the configuration on the command line of `dev`, which makes its own, and
/// beside `--via`.
fn refuse_configuration(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_given = |option: &&Arg| matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine);
    let is_of_via = |option: &&Arg| VIA.contains(&option.get_id().as_str());
    let given: Vec<&Arg> = configuration_options(command).filter(is_given).collect();
    let flag = |option: &Arg| option.get_long().unwrap_or_default().to_owned();
    let beside_via = given.iter().copied().find(|option| !is_of_via(option)).map(flag);
    let message = match (matches.subcommand_name(), given.first().copied().map(flag), beside_via) {
        (Some("dev"), Some(flag), _) => {
            format!("dev makes its own configuration and does not accept --{flag}: use --directory and --port")
        }
        (_, _, Some(flag)) if matches.contains_id("via") || given.iter().any(is_of_via) => {
            format!("--via (STS_VIA) asks a server, which has its own configuration, and does not accept --{flag}")
        }
        _ => return Ok(()),
    };
    Err(command.error(ErrorKind::ArgumentConflict, message))
}

/// Prints the completion script of a shell.
pub(super) fn complete(shell: Shell, out: &mut Output) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::described(), "sts-server", &mut script);
    out.block(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
