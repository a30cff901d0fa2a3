//! An option of the configuration: its name, its purpose, its default, and how a text becomes its value.

use std::path::Path;

use super::Config;

/// An option of the configuration.
#[derive(Debug)]
pub struct ConfigOption {
    /// The table that it stands in, such as `limits` or `admin.oidc`; `None` for the top level.
    pub table: Option<&'static str>,
    /// Its key there.
    pub key: &'static str,
    /// Its TOML type.
    pub kind: OptionKind,
    /// Its default, as the file would say it (a text without its quotes).
    pub default: Option<&'static str>,
    /// The form of its value: a unit, bounds.
    pub form: &'static str,
    /// Its purpose.
    pub doc: &'static str,
    pub(super) set: fn(&mut Config, &Given<'_>) -> Result<(), String>,
}

/// The TOML type of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// A string.
    Text,
    /// A string that may hold a secret, which no fault repeats.
    SecretText,
    /// An array of strings; one text with commas between them in the environment, and in [`ConfigOption::default`].
    List,
    /// An integer.
    Integer,
    /// True or false.
    Boolean,
    /// An array of tables; a JSON array of objects in the environment.
    Tables,
}

/// A value that someone gave to an option.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) text: &'a str,
    /// The folder that a relative path starts from.
    pub(super) directory: &'a Path,
}

impl ConfigOption {
    /// The option as a fault names it: `limits.max_ttl`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.table {
            Some(table) => format!("{table}.{}", self.key),
            None => self.key.to_owned(),
        }
    }

    /// The environment variable that sets it: `STS__LIMITS__MAX_TTL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", super::VARIABLE_PREFIX, self.path().replace('.', "__").to_ascii_uppercase())
    }
}
