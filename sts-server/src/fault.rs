//! The faults of a file, a variable or a flag that an operator wrote.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A fault and its place. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The file, as the operator named it. Without a file: `environment`, `flags`, `defaults`,
    /// `configuration` or `database`.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: Option<usize>,
    /// The effect of the fault: it blocks the start, or it only warns.
    pub severity: Severity,
    /// The description of the fault.
    pub message: String,
    /// The suggested correction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// The effect of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The server does not start, and the file is not applied.
    Error,
    /// The setting is accepted, but probably a mistake.
    Warning,
}

impl Fault {
    /// Returns a fault of the whole file.
    #[must_use]
    pub fn new(file: &Path, severity: Severity, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, severity, message: message.into(), help: None }
    }

    /// Sets the line of the fault.
    #[must_use]
    pub fn at(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    /// Adds a suggested correction to the fault.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns true if the fault blocks the start.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self.severity {
            Severity::Error => true,
            Severity::Warning => false,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Fault {
    /// `file:line: error: message; help`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}: {}", self.severity, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_place_first() {
        let fault = Fault::new(Path::new("a.toml"), Severity::Error, "no").at(Some(3)).with_help("say yes");
        assert_eq!(fault.to_string(), "a.toml:3: error: no; say yes");
        assert_eq!(Fault::new(Path::new("flags"), Severity::Warning, "no").to_string(), "flags: warning: no");
    }

    #[test]
    fn json_has_the_same_fields() {
        let fault = Fault::new(Path::new("a.toml"), Severity::Error, "no").at(Some(3));
        let json = serde_json::to_value(&fault).unwrap();
        assert_eq!(json, serde_json::json!({"file": "a.toml", "line": 3, "severity": "error", "message": "no"}));
    }
}
