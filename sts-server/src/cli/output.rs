//! What commands print: data on standard output, coloured only on a terminal, or as JSON.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use serde::Serialize;
use sts_jose::{MAX_FILE_BYTES, read_text_file};

use super::CliError;
use super::arguments::Options;
use crate::config::{self, Config, Loaded};
use crate::fault::Fault;
use crate::registry::ApplyError;
use crate::server::StartError;
use crate::telemetry;

/// Where a command prints.
pub struct Output {
    writer: Box<dyn Write + Send>,
    colour: Colour,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    Plain,
    Ansi,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// How a piece of text stands out on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Heading,
    Quiet,
    Good,
    Bad,
}

impl Output {
    /// Standard output. Colours only on a terminal, and not where `NO_COLOR` is set.
    #[must_use]
    pub fn standard(options: &Options) -> Self {
        let refused = config::environment().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
        let colour = if io::stdout().is_terminal() && !refused { Colour::Ansi } else { Colour::Plain };
        let format = if options.json { Format::Json } else { Format::Text };
        Self { writer: Box::new(io::stdout()), colour, format }
    }

    /// Whether data is asked for as JSON.
    #[must_use]
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One line of text.
    pub(super) fn line(&mut self, text: &str) -> Result<(), CliError> {
        writeln!(self.writer, "{text}")?;
        Ok(self.writer.flush()?)
    }

    /// One value as JSON on a line of its own.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        self.line(&serde_json::to_string(value)?)
    }

    /// `text`, which stands out where colours may be.
    pub(super) fn styled(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Heading => "1",
            Style::Quiet => "2",
            Style::Good => "32",
            Style::Bad => "31",
        };
        match self.colour {
            Colour::Plain => text.to_owned(),
            Colour::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }

    /// Faults, one a line.
    pub(super) fn faults(&mut self, faults: &[Fault]) -> Result<(), CliError> {
        if self.is_json() {
            return self.json(&faults);
        }
        faults.iter().try_for_each(|fault| self.line(&fault.to_string()))
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("colour", &self.colour).field("format", &self.format).finish_non_exhaustive()
    }
}

/// The configuration of a command that needs one.
pub(super) fn configuration(options: &Options, out: &mut Output) -> Result<Config, CliError> {
    let loaded = config::load(options.config.as_deref(), config::environment(), &options.overrides());
    usable(loaded, out)
}

/// The configuration that was loaded: warnings are logged, and errors are printed and end the command.
pub(super) fn usable(loaded: Loaded, out: &mut Output) -> Result<Config, CliError> {
    let Some(config) = loaded.config else {
        out.faults(&loaded.faults)?;
        return Err(CliError::Faults(loaded.faults));
    };
    telemetry::choose_format(config.log.format);
    for fault in &loaded.faults {
        tracing::warn!("{fault}");
    }
    Ok(config)
}

/// Says which faults kept a server from starting.
pub(super) fn explain_start(error: StartError, out: &mut Output) -> CliError {
    if let StartError::Registry { source: ApplyError::Faults(faults), .. } = &error
        && let Err(unprintable) = out.faults(faults)
    {
        return unprintable;
    }
    error.into()
}

/// Text that is given on the command line, or in a file as `@FILE`; without the white space around it.
pub(super) fn text_or_file(argument: &str) -> Result<String, CliError> {
    let Some(path) = argument.strip_prefix('@') else { return Ok(argument.trim().to_owned()) };
    read(Path::new(path)).map(|text| text.trim().to_owned())
}

/// A file's text.
pub(super) fn read(path: &Path) -> Result<String, CliError> {
    read_text_file(path, MAX_FILE_BYTES).map_err(|source| CliError::File { path: path.to_owned(), source })
}
