//! The output of commands: data on standard output, coloured only on a terminal, or as JSON. Every
//! line is escaped here, so that text from other parties cannot control the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use sts_jose::read_text_file;

use super::CliError;
use super::arguments::Options;
use crate::config::{self, Config, Loaded, Overrides};
use crate::environment;
use crate::fault::Fault;
use crate::misleading::is_misleading;
use crate::registry::ApplyError;
use crate::server::StartError;
use crate::telemetry;

/// The maximum length of a file that is named on the command line, in bytes. Such a file holds a
/// token, or the heads of an audit log.
const MAX_INPUT_BYTES: usize = 16 * 1024 * 1024;

/// The prefix of the variables that are options.
const VARIABLES: &str = "STS__";

/// The output of a command.
pub struct Output {
    writer: Box<dyn Write + Send>,
    colour: Colour,
    format: Format,
    reader: Reader,
}

/// The effect of a reader that closes the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// It ends the command.
    Needed,
    /// The command runs on, so that its exit code is its answer.
    Outlived,
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

/// The style of a piece of text on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Heading,
    Quiet,
    Good,
    Bad,
}

/// A line of escaped text, with the codes of its styles.
#[derive(Debug)]
pub(super) struct Styled(String);

/// A value that prints as one line.
pub(super) trait Line {
    /// Returns the text without terminal control characters, except for our own styles.
    fn printed(&self) -> Cow<'_, str>;
}

impl Line for str {
    fn printed(&self) -> Cow<'_, str> {
        printable(self)
    }
}

impl Line for String {
    fn printed(&self) -> Cow<'_, str> {
        printable(self)
    }
}

impl Line for Styled {
    fn printed(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl Output {
    /// Returns standard output. Colours are used only on a terminal, and not if `NO_COLOR` is set.
    #[must_use]
    pub fn standard(options: &Options) -> Self {
        let refused = environment::variables().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
        let colour = if io::stdout().is_terminal() && !refused { Colour::Ansi } else { Colour::Plain };
        let format = if options.json { Format::Json } else { Format::Text };
        Self { writer: Box::new(io::stdout()), colour, format, reader: Reader::Needed }
    }

    /// Ignores from now on that the output was closed.
    pub(super) fn outlive_reader(&mut self) {
        self.reader = Reader::Outlived;
    }

    /// Returns true if the output is JSON.
    #[must_use]
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints one line of text; see [`printable`].
    pub(super) fn line(&mut self, line: &(impl Line + ?Sized)) -> Result<(), CliError> {
        match writeln!(self.writer, "{}", line.printed()).and_then(|()| self.writer.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.reader == Reader::Outlived => Ok(()),
            written => Ok(written?),
        }
    }

    /// Prints lines of text.
    pub(super) fn block(&mut self, text: &str) -> Result<(), CliError> {
        text.lines().try_for_each(|line| self.line(line))
    }

    /// Prints one value as one line of JSON. Escaping keeps the value, because only strings contain
    /// characters to escape.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Returns `text` in a style, if colours are enabled.
    pub(super) fn styled(&self, style: Style, text: &str) -> Styled {
        self.joined(&[(style, text)])
    }

    /// Returns one line of pieces, each in its style.
    pub(super) fn joined(&self, pieces: &[(Style, &str)]) -> Styled {
        let styled = |(style, text): &(Style, &str)| {
            let (code, text) = (code(*style).filter(|_| self.colour == Colour::Ansi), printable(text));
            code.map_or_else(|| text.to_string(), |code| format!("\u{1b}[{code}m{text}\u{1b}[0m"))
        };
        Styled(pieces.iter().map(styled).collect())
    }

    /// Prints faults, one per line.
    pub(super) fn faults(&mut self, faults: &[Fault]) -> Result<(), CliError> {
        if self.is_json() {
            return self.json(&faults);
        }
        faults.iter().try_for_each(|fault| self.line(&fault.to_string()))
    }
}

/// Returns the code of a style (ECMA-48, SGR).
fn code(style: Style) -> Option<&'static str> {
    match style {
        Style::Plain => None,
        Style::Heading => Some("1"),
        Style::Quiet => Some("2"),
        Style::Good => Some("32"),
        Style::Bad => Some("31"),
    }
}

/// Escapes every character that controls a terminal or is invisible. These are controls, C1
/// controls, line and paragraph separators, and characters that change the text direction or have
/// no width. The escapes are those of JSON (`\u202e`), so that JSON keeps its value.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_misleading) {
        return Cow::Borrowed(text);
    }
    let mut printed = String::with_capacity(text.len());
    for character in text.chars() {
        if is_misleading(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(printed, "\\u{unit:04x}");
            }
        } else {
            printed.push(character);
        }
    }
    Cow::Owned(printed)
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("colour", &self.colour).field("format", &self.format).finish_non_exhaustive()
    }
}

/// Loads the configuration of a command that needs one.
pub(super) fn configuration(options: &Options, out: &mut Output) -> Result<Config, CliError> {
    usable(loaded(options)?, out)
}

/// Loads the configuration from the file, the environment and the flags. Fails if there are none.
pub(super) fn loaded(options: &Options) -> Result<Loaded, CliError> {
    let (file, overrides) = (options.file(), options.overrides());
    let is_set = || environment::variables().any(|(name, _)| name.starts_with(VARIABLES));
    if file.is_none() && overrides == Overrides::default() && !is_set() {
        return Err(CliError::NoConfiguration);
    }
    Ok(config::load(file.as_deref(), environment::variables(), &overrides))
}

/// Returns the loaded configuration. Warnings are logged. Errors are printed and end the command.
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

/// Prints the faults that kept a server from starting.
pub(super) fn explain_start(error: StartError, out: &mut Output) -> CliError {
    if let StartError::Registry { source: ApplyError::Faults(faults), .. } = &error
        && let Err(unprintable) = out.faults(faults)
    {
        return unprintable;
    }
    error.into()
}

/// Returns a text from the command line, or from a file for `@FILE`, without surrounding white
/// space.
pub(super) fn text_or_file(argument: &str) -> Result<String, CliError> {
    if let Some(path) = argument.strip_prefix('@') {
        return read(Path::new(path)).map(|text| text.trim().to_owned());
    }
    if Path::new(argument).is_file() {
        return Err(CliError::Argument(format!("{argument} is a file: write @{argument} to read it")));
    }
    Ok(argument.trim().to_owned())
}

/// Returns a time without fractions of a second.
pub(super) fn to_the_second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns a number with its noun in the singular or the plural.
pub(super) fn counted(count: impl ToString, noun: &str) -> String {
    let count = count.to_string();
    let stem = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (count.as_str(), stem) {
        ("1", _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

/// Reads a text file.
pub(super) fn read(path: &Path) -> Result<String, CliError> {
    read_text_file(path, MAX_INPUT_BYTES).map_err(|source| CliError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        for (text, printed) in [
            ("alice", "alice"),
            ("Zo\u{eb} \u{5d0}\u{5d1} \u{6f22}", "Zo\u{eb} \u{5d0}\u{5d1} \u{6f22}"),
            ("\u{1b}]0;title\u{7}", "\\u001b]0;title\\u0007"),
            ("one\ntwo\r", "one\\u000atwo\\u000d"),
            ("\u{9b}31m\u{7f}", "\\u009b31m\\u007f"),
            ("a\u{202e}b\u{2066}c\u{200b}", "a\\u202eb\\u2066c\\u200b"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(printable(text), printed);
        }
    }

    #[test]
    fn one_thing_is_counted_in_the_singular() {
        assert_eq!(["row", "entry", "key"].map(|noun| counted(1, noun)), ["1 row", "1 entry", "1 key"]);
        assert_eq!(["row", "entry", "key"].map(|noun| counted(0, noun)), ["0 rows", "0 entries", "0 keys"]);
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let value = serde_json::json!({ "a\u{202e}": "\u{1b}[31m\u{85}\u{e0041}\"" });
        let text = value.to_string();
        let printed = printable(&text);
        assert!(printed.is_ascii(), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn a_style_is_not_escaped_and_its_text_is() {
        let output =
            Output { writer: Box::new(io::sink()), colour: Colour::Ansi, format: Format::Text, reader: Reader::Needed };
        let line = output.joined(&[(Style::Plain, "by \u{1b}[32m"), (Style::Bad, "refused\u{1b}[0m")]);
        assert_eq!(line.printed(), "by \\u001b[32m\u{1b}[31mrefused\\u001b[0m\u{1b}[0m");
    }
}
