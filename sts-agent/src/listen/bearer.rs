//! The bearer of a loopback listener: a secret in a file that only the agent's user can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use secrecy::{ExposeSecret as _, SecretString};
use sts_client::Entropy;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// The minimum length of a bearer, in characters.
const MIN_CHARS: usize = 32;
/// The maximum length of the file, in bytes.
const MAX_BYTES: u64 = 1024;

/// The bearer cannot be used.
#[derive(Debug, Error)]
pub enum BearerError {
    /// The file cannot be read or made.
    #[error("the bearer file {} cannot be used", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// Other users may read the file.
    #[error("other users may read the bearer file {}: chmod 0600 it", .0.display())]
    Open(PathBuf),
    /// Another user owns the file, and so knows or sets the bearer.
    #[error("another user owns the bearer file {}: chown it to the user of sts-agent", .0.display())]
    Owner(PathBuf),
    /// The bearer is too short.
    #[error("the bearer file {} needs at least {MIN_CHARS} characters without spaces", .0.display())]
    Short(PathBuf),
}

/// The secret that each request must show.
#[derive(Debug)]
pub(crate) struct Bearer(SecretString);

impl Bearer {
    /// Reads the bearer from its file, or writes a new one there.
    pub(crate) fn at(path: &Path, entropy: &dyn Entropy) -> Result<Self, BearerError> {
        let failed = |source| BearerError::File { path: path.to_owned(), source };
        // The path may be that of a pipe, whose opening must not wait for a writer.
        let open = || OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        match open() {
            Ok(file) => Self::read(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; 32];
                entropy.fill(&mut bytes);
                match write(path, &sts_jose::hex(&bytes)) {
                    // Another process may have been faster.
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
                    Ok(()) | Err(_) => Self::read(path, open().map_err(failed)?),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn read(path: &Path, file: File) -> Result<Self, BearerError> {
        let failed = |source| BearerError::File { path: path.to_owned(), source };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        if !is_trusted(metadata.uid(), geteuid().as_raw()) {
            return Err(BearerError::Owner(path.to_owned()));
        }
        if metadata.mode() & 0o077 != 0 {
            return Err(BearerError::Open(path.to_owned()));
        }
        if metadata.len() > MAX_BYTES {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
        let bearer = text.trim();
        let is_usable = bearer.len() >= MIN_CHARS && bearer.bytes().all(|byte| byte.is_ascii_graphic());
        is_usable.then(|| Self(bearer.into())).ok_or_else(|| BearerError::Short(path.to_owned()))
    }

    /// Returns true if the headers have the bearer, once. Takes the same time for every wrong one.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let shown = value.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
        shown.ct_eq(self.0.expose_secret().as_bytes()).into()
    }
}

/// Returns true if a file of this owner has a secret of `user`. Root reads every file anyway.
fn is_trusted(owner: u32, user: u32) -> bool {
    owner == user || owner == 0
}

/// Writes a file with mode 0600, which is there at once and whole.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".bearer").tempfile_in(parent)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Stands for a second process, which makes the file at the same time.
    #[derive(Debug)]
    struct Faster(PathBuf);

    impl Entropy for Faster {
        fn fill(&self, bytes: &mut [u8]) {
            fs::write(&self.0, "f".repeat(64)).unwrap();
            fs::set_permissions(&self.0, fs::Permissions::from_mode(0o600)).unwrap();
            bytes.fill(0);
        }
    }

    #[test]
    fn two_processes_that_make_the_file_have_one_bearer_and_leave_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bearer");
        let bearer = Bearer::at(&path, &Faster(path.clone())).unwrap();
        assert_eq!(bearer.0.expose_secret(), fs::read_to_string(&path).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        for (owner, user, trusted) in [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)] {
            assert_eq!(is_trusted(owner, user), trusted, "{owner} {user}");
        }
    }

    #[test]
    fn a_file_of_another_length_is_refused_and_never_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bearer");
        for (bytes, taken) in [(0, false), (31, false), (32, true), (1024, true), (1025, false)] {
            write(&path, &"f".repeat(bytes)).unwrap();
            let bearer = Bearer::at(&path, &Faster(folder.path().join("never")));
            assert_eq!(bearer.is_ok(), taken, "{bytes}: {bearer:?}");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_folder_in_the_place_of_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = Bearer::at(folder.path(), &Faster(folder.path().join("never")));
        assert!(matches!(refused, Err(BearerError::File { .. })), "{refused:?}");
    }
}
