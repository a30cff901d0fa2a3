//! The environment of this process and its program; no other module reads them.

/// The path of this program.
pub fn program() -> Option<std::path::PathBuf> {
    std::env::current_exe().ok()
}

/// The variables. Text that is not UTF-8 shows as U+FFFD.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}
