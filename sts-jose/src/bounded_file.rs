//! Files that a configuration names. Only regular files of limited length are read, so that no
//! device, pipe or hung mount can exhaust or block the reader.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot::{self, error::TryRecvError};

/// The default maximum length of a configured file, in bytes: keys, certificates, secrets.
pub const MAX_FILE_BYTES: usize = 512 * 1024;

/// The time that [`BoundedFile::read_if_changed`] waits for the file system.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads a regular file of at most `max_bytes` bytes. Blocks on the file system, so use it at
/// startup and in commands only.
///
/// # Errors
/// The error of the file system. `InvalidInput` if the path is not a regular file (a device, a
/// pipe, a folder) or the file is too long.
pub fn read_file(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let (file, metadata) = open_regular(path)?;
    read_open(file, &metadata, max_bytes)
}

/// Reads a text file, with the limits of [`read_file`].
///
/// # Errors
/// As for [`read_file`], and `InvalidData` for bytes that are not UTF-8.
pub fn read_text_file(path: &Path, max_bytes: usize) -> io::Result<String> {
    // The error of the conversion holds the bytes, which may be a secret.
    String::from_utf8(read_file(path, max_bytes)?).or(Err(io::Error::new(io::ErrorKind::InvalidData, "not UTF-8")))
}

/// The identification of a version of a file: the time of its last change, and its length.
pub type FileVersion = (Option<SystemTime>, u64);

/// A file that a running process reads repeatedly. A separate thread accesses the file system, so a
/// hung mount blocks neither the async runtime nor its shutdown. One caller at a time.
#[derive(Debug)]
pub struct BoundedFile {
    path: PathBuf,
    max_bytes: usize,
    /// The read that did not end in time. No other read starts before it ends, so a hung mount
    /// costs one thread.
    hanging: Mutex<Option<oneshot::Receiver<io::Result<FileContent>>>>,
}

/// The outcome of [`BoundedFile::read_if_changed`].
#[derive(Debug)]
pub enum FileContent {
    /// The file still has the known version. Nothing was read.
    Unchanged,
    /// The new version, and its bytes.
    Changed(FileVersion, Vec<u8>),
}

impl BoundedFile {
    /// Returns a file of at most `max_bytes` bytes. Reads nothing yet.
    pub fn new(path: impl Into<PathBuf>, max_bytes: usize) -> Self {
        Self { path: path.into(), max_bytes, hanging: Mutex::default() }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file and its version. Blocks on the file system.
    ///
    /// # Errors
    /// As for [`read_file`].
    pub fn read_now(&self) -> io::Result<(FileVersion, Vec<u8>)> {
        let (file, metadata) = open_regular(&self.path)?;
        Ok((version_of(&metadata), read_open(file, &metadata, self.max_bytes)?))
    }

    /// Reads the file unless its version is `known`. Takes at most 2 seconds. Fails at once while
    /// an earlier read still hangs.
    ///
    /// # Errors
    /// As for [`read_file`], and `TimedOut` if the file system does not answer in time.
    pub async fn read_if_changed(&self, known: Option<FileVersion>) -> io::Result<FileContent> {
        self.check_hanging()?;
        let (outcome, mut pending) = oneshot::channel();
        let (path, max_bytes) = (self.path.clone(), self.max_bytes);
        std::thread::Builder::new().name("file reader".to_owned()).spawn(move || {
            // The send fails if the caller is gone.
            let _ = outcome.send(read_version(&path, max_bytes, known));
        })?;
        match tokio::time::timeout(READ_TIMEOUT, &mut pending).await {
            Ok(outcome) => outcome.unwrap_or_else(|_ended| Err(io::Error::other("the file reader stopped"))),
            Err(_elapsed) => {
                *self.lock() = Some(pending);
                Err(io::Error::new(io::ErrorKind::TimedOut, "the file system did not respond in time"))
            }
        }
    }

    fn check_hanging(&self) -> io::Result<()> {
        let mut hanging = self.lock();
        let still = hanging.as_mut().is_some_and(|read| matches!(read.try_recv(), Err(TryRecvError::Empty)));
        if still {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "an earlier read of the file is still in progress"));
        }
        *hanging = None;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Receiver<io::Result<FileContent>>>> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_version(path: &Path, max_bytes: usize, known: Option<FileVersion>) -> io::Result<FileContent> {
    let (file, metadata) = open_regular(path)?;
    let version = version_of(&metadata);
    if known == Some(version) {
        return Ok(FileContent::Unchanged);
    }
    Ok(FileContent::Changed(version, read_open(file, &metadata, max_bytes)?))
}

fn version_of(metadata: &Metadata) -> FileVersion {
    (metadata.modified().ok(), metadata.len())
}

fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    // This check comes before opening, because opening a device or a pipe can have side effects.
    check_regular(&fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // The path may have become a pipe since the check. Opening it must not wait for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    Ok((file, metadata))
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")) }
}

fn read_open(file: File, metadata: &Metadata, max_bytes: usize) -> io::Result<Vec<u8>> {
    let max = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, format!("longer than {max_bytes} bytes"));
    if metadata.len() > max {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes { Err(too_long()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    #[test]
    fn a_device_a_pipe_a_folder_and_a_longer_file_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long");
        fs::write(&long, [b'a'; 11]).unwrap();
        for path in [Path::new("/dev/zero"), Path::new("/dev/stdin"), &pipe(&folder), folder.path(), &long] {
            let error = read_file(path, 10).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}: {error}", path.display());
        }
        fs::write(&long, [b'a'; 10]).unwrap();
        assert_eq!(read_text_file(&long, 10).unwrap(), "aaaaaaaaaa");
        fs::write(&long, [0xff]).unwrap();
        assert_eq!(read_text_file(&long, 10).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_read_that_hangs_costs_one_thread_and_later_ones_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "content").unwrap();
        let file = BoundedFile::new(&path, 10);
        let (outcome, pending) = oneshot::channel();
        *file.lock() = Some(pending);
        assert_eq!(file.read_if_changed(None).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        outcome.send(Ok(FileContent::Unchanged)).unwrap();
        let FileContent::Changed(version, content) = file.read_if_changed(None).await.unwrap() else { panic!() };
        assert_eq!(content, b"content");
        assert!(matches!(file.read_if_changed(Some(version)).await.unwrap(), FileContent::Unchanged));
    }
}
