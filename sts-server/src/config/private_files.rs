//! The check of the permissions of files that hold secrets.

use std::path::{Path, PathBuf};

use super::Config;
use crate::fault::{Fault, Severity};

/// Returns a warning for every existing file of secrets that other users may read or write.
///
/// These files are the master key, the private key of TLS, the password to the database, the secret
/// of the console's client, and a SQLite database with its `-wal` and `-shm` files. The function
/// reads their metadata, not their content.
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
        config.admin.oidc.client_secret_file.clone(),
        beside(""),
        beside("-wal"),
        beside("-shm"),
    ];
    files.into_iter().flatten().filter_map(|file| exposed_file(&file)).collect()
}

/// Returns true if a folder or a file exists and belongs to a user other than that of this process.
/// A link is not followed.
#[cfg(unix)]
#[must_use]
pub fn is_of_another_user(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() != nix::unistd::geteuid().as_raw())
}

/// Returns false: this platform gives no owner of a file.
#[cfg(not(unix))]
#[must_use]
pub fn is_of_another_user(_path: &Path) -> bool {
    false
}

/// Returns a warning if a file of secrets exists and other users may read or write it.
#[cfg(unix)]
#[must_use]
pub fn exposed_file(file: &Path) -> Option<Fault> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(file).ok()?;
    // This process may need the group's permission to read a file of another owner, as with the
    // files that Kubernetes mounts.
    let forbidden = if metadata.uid() == nix::unistd::geteuid().as_raw() { 0o077 } else { 0o007 };
    let mode = metadata.mode() & 0o777;
    let message = format!("holds secrets, and others may read or write it (mode {mode:04o})");
    let fault = || Fault::new(file, Severity::Warning, message).with_help(format!("chmod {:04o}", mode & !forbidden));
    (mode & forbidden != 0).then(fault)
}

/// Returns `None`: this platform gives no permissions of a file.
#[cfg(not(unix))]
#[must_use]
pub fn exposed_file(_file: &Path) -> Option<Fault> {
    None
}
