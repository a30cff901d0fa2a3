//! An option of the configuration: its name, its purpose, its default, and its parser.

use std::path::Path;

use super::Config;

/// One option of the configuration, as [`OPTIONS`](super::OPTIONS) lists it.
#[derive(Debug)]
pub struct ConfigOption {
    /// The TOML table, such as `limits` or `admin.oidc`; `None` for the top level.
    pub table: Option<&'static str>,
    /// The key within the table.
    pub key: &'static str,
    /// The TOML type of the value.
    pub kind: OptionKind,
    /// The default in the notation of the file, where a text has no quotes.
    pub default: Option<&'static str>,
    /// The form of the value: its unit and its bounds.
    pub form: &'static str,
    /// The purpose of the option, for the reference and `docs/configuration.md`.
    pub doc: &'static str,
    pub(super) set: fn(&mut Config, &Given<'_>) -> Result<(), String>,
}

/// The TOML type of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// A string.
    Text,
    /// A string that may hold a secret. No fault quotes it.
    SecretText,
    /// An array of strings. In the environment, and in [`ConfigOption::default`], one text with
    /// commas between them.
    List,
    /// An integer.
    Integer,
    /// True or false.
    Boolean,
    /// An array of tables. In the environment, a JSON array of objects.
    Tables,
}

/// A value for an option, from one of the sources.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) text: &'a str,
    /// The folder against which a relative path is resolved.
    pub(super) directory: &'a Path,
}

impl ConfigOption {
    /// Returns the dotted name, such as `limits.max_ttl`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.table {
            Some(table) => format!("{table}.{}", self.key),
            None => self.key.to_owned(),
        }
    }

    /// Returns the environment variable, such as `STS__LIMITS__MAX_TTL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", super::VARIABLE_PREFIX, self.path().replace('.', "__").to_ascii_uppercase())
    }
}
