//! An option of the configuration: its name, its purpose, its default, and its form.

use crate::document::Shape;

/// One option of the configuration, as [`OPTIONS`](super::OPTIONS) lists it.
#[derive(Debug, Clone)]
pub struct ConfigOption {
    /// The TOML table, such as `limits` or `admin.oidc`; `None` for the top level.
    pub table: Option<&'static str>,
    /// The key within the table.
    pub key: &'static str,
    /// The permitted form of the value in the file. In the environment and in
    /// [`ConfigOption::default`], a list is one text with commas between its elements.
    pub(super) shape: Shape,
    /// The default in the notation of the file, where a text has no quotes.
    pub default: Option<&'static str>,
    /// The form of the value in words: its unit and its bounds.
    pub form: &'static str,
    /// The purpose of the option, for the reference and `docs/configuration.md`.
    pub doc: &'static str,
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

    /// Returns `text`, a value such as [`ConfigOption::default`], in TOML notation.
    #[must_use]
    pub fn literal(&self, text: &str) -> String {
        match self.shape {
            Shape::Integer { .. } | Shape::Boolean | Shape::Tables(_) => text.to_owned(),
            Shape::Texts(_) | Shape::TextsTogether(..) => {
                let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
                format!("[{}]", texts.map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", "))
            }
            _ => format!("{text:?}"),
        }
    }
}
