//! Files that hold secrets: which of them others may read or write.

use std::path::{Path, PathBuf};

use super::Config;
use crate::fault::{Fault, Severity};

/// Warns of every file of secrets that is there and that others may read or write: the master key, the private key of TLS, the
/// password to the database, and the file of a SQLite database with what SQLite puts beside it. Looks at the files and reads none.
#[must_use]
pub fn exposed_files(config: &Config) -> Vec<Fault> {
    let database = config.database.sqlite_path();
    let beside = |suffix: &str| {
        let mut name = database.clone()?.into_os_string();
        name.push(suffix);
        Some(PathBuf::from(name))
    };
    let files = [
        Some(config.keys.master_key_file.clone()),
        config.tls.private_key_file.clone(),
        config.database.password_file.clone(),
        beside(""),
        beside("-wal"),
        beside("-shm"),
    ];
    files.into_iter().flatten().filter_map(|file| exposed(&file)).collect()
}

/// True if a folder or a file is there and belongs to another user than that of this process. A link is not followed.
#[cfg(unix)]
#[must_use]
pub fn is_of_another_user(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() != nix::unistd::geteuid().as_raw())
}

/// True if a file belongs to another user: not known here.
#[cfg(not(unix))]
#[must_use]
pub fn is_of_another_user(_path: &Path) -> bool {
    false
}

#[cfg(unix)]
fn exposed(file: &Path) -> Option<Fault> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(file).ok()?;
    // A file of another owner may reach this process through its group alone, as those that Kubernetes mounts do.
    let forbidden = if metadata.uid() == nix::unistd::geteuid().as_raw() { 0o077 } else { 0o007 };
    let mode = metadata.mode() & 0o777;
    let message = format!("holds secrets, and others may read or write it (mode {mode:04o})");
    let fault = || Fault::new(file, Severity::Warning, message).with_help(format!("chmod {:04o}", mode & !forbidden));
    (mode & forbidden != 0).then(fault)
}

#[cfg(not(unix))]
fn exposed(_file: &Path) -> Option<Fault> {
    None
}
