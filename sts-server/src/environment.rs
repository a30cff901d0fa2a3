//! The environment of this process and its program; no other module reads them.

/// The path of this program.
pub fn program() -> Option<std::path::PathBuf> {
    std::env::current_exe().ok()
}

/// The variables. Text that is not UTF-8 shows as U+FFFD.
pub fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// The user of this process and the name of this machine, as `USER@HOST`.
#[cfg(unix)]
pub fn user_and_host() -> String {
    let id = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(id).ok().flatten().map_or_else(|| id.to_string(), |user| user.name);
    let host = nix::unistd::gethostname().map(|host| host.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{user}@{host}")
}

/// The user of this process and the name of this machine, as `USER@HOST`.
#[cfg(not(unix))]
pub fn user_and_host() -> String {
    let variable = |name| std::env::var_os(name).unwrap_or_default().to_string_lossy().into_owned();
    format!("{}@{}", variable("USERNAME"), variable("COMPUTERNAME"))
}
