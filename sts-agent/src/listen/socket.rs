//! A unix socket of one process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tempfile::TempDir;
use thiserror::Error;
use tokio::net::UnixListener;

/// The socket cannot be used.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Another process serves there.
    #[error("another process serves at {}: stop it first, or choose another --listen", .0.display())]
    InUse(PathBuf),
    /// The path is that of another kind of file.
    #[error("{} exists and is no socket: remove it, or choose another --listen", .0.display())]
    NoSocket(PathBuf),
    /// The socket cannot be made.
    #[error("cannot make the socket {}", path.display())]
    Make {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// A socket that only the user of the process may use. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
    /// Held as long as the socket is in use, so that no second process takes it.
    _lock: File,
}

impl Socket {
    /// Makes a socket at `path`. Replaces that of a process which has ended, and no other.
    pub(crate) fn make(path: PathBuf) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Make { path: path.clone(), source };
        let lock = lock(&path).map_err(failed)?.ok_or_else(|| SocketError::InUse(path.clone()))?;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NoSocket(path)),
            // A process that holds no lock of ours may answer there.
            Ok(_) if UnixStream::connect(&path).is_ok() => return Err(SocketError::InUse(path)),
            Ok(_) | Err(_) => {}
        }
        let listener = bind(&path).map_err(failed)?;
        Ok(Self { path, listener: Some(listener), _lock: lock })
    }

    /// Takes the listener. The socket stays until this value is dropped.
    pub(crate) fn listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "failed to remove the socket");
        }
    }
}

/// Locks the file beside the socket; `None` if another process holds the lock.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    // A link, which another user of the folder may have made, leads to no file that is opened here.
    let file = options.mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits()).open(name)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Binds a socket with mode 0600. It is made in a folder of its own, which no other user may enter,
/// and moved to its place: it never has other permissions there, and replaces a dead one at once.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = private_folder(parent)?;
    let made = folder.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
    fs::rename(&made, path)?;
    Ok(listener)
}

fn private_folder(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o700)).prefix(".s").rand_bytes(4).tempdir_in(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_user_may_enter_the_folder_in_which_a_socket_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let folder = private_folder(parent.path()).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, target) = (folder.path().join("agent.sock"), folder.path().join("made-by-the-link"));
        std::os::unix::fs::symlink(&target, folder.path().join("agent.sock.lock")).unwrap();
        assert!(matches!(Socket::make(socket), Err(SocketError::Make { .. })));
        assert!(!target.exists());
    }
}
