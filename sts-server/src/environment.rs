//! The environment of this process; no other module reads it.

/// The variables. Text that is not UTF-8 shows as U+FFFD.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}
