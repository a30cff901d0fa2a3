//! The agent's file as it is loaded now. A file that has changed replaces it; a wrong one does not.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use sts_client::dedup::{DedupStore, MemoryDedupStore, MemoryLimits};
use sts_client::jiff::Timestamp;
use sts_jose::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES, error_chain};
use thiserror::Error;

use crate::loaded::{LoadError, Loaded, Surroundings};
use crate::matches::Matches;
use crate::metrics;

/// The agent's file cannot be read or used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// The content of the file cannot be used.
    #[error("{} cannot be used", path.display())]
    Content {
        /// The path of the file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: Box<LoadError>,
    },
}

/// The loaded file, and the place that it was read from.
#[derive(Debug)]
pub(crate) struct Live {
    file: BoundedFile,
    version: Mutex<Option<FileVersion>>,
    /// The bytes of the version that is loaded.
    content: Mutex<Vec<u8>>,
    current: ArcSwap<Loaded>,
    surroundings: Surroundings,
    /// The proofs that were used: in memory, and for every version of the file, so that none is
    /// accepted again after a reload.
    replays: Arc<dyn DedupStore>,
    /// The verified requests that outbound calls name, for every version of the file.
    matches: Matches,
}

impl Live {
    /// Loads the file for the first time.
    pub(crate) async fn start(path: PathBuf, surroundings: Surroundings) -> Result<Self, FileError> {
        let file = BoundedFile::new(path, MAX_FILE_BYTES);
        let read = file.read_now().map_err(|source| FileError::Read { path: file.path().to_owned(), source });
        let (version, bytes) = read?;
        let store = MemoryDedupStore::new(Arc::clone(&surroundings.clock), MemoryLimits::default());
        let replays: Arc<dyn DedupStore> = Arc::new(store);
        let loaded = load(&file, bytes.clone(), &surroundings, &replays).await?;
        let (version, content) = (Mutex::new(Some(version)), Mutex::new(bytes));
        let matches = Matches::new();
        Ok(Self { file, version, content, current: ArcSwap::from_pointee(loaded), surroundings, replays, matches })
    }

    /// Returns what is loaded now. A request works with one version to its end.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    pub(crate) fn matches(&self) -> &Matches {
        &self.matches
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.surroundings.clock.now()
    }

    /// Loads the file if its content has changed.
    pub(crate) async fn follow(&self) {
        let known = *lock(&self.version);
        if let Some(bytes) = self.read_unless(known).await
            && *lock(&self.content) != bytes
        {
            self.load(bytes).await;
        }
    }

    /// Loads the file, and all files that it names.
    pub(crate) async fn reload(&self) {
        if let Some(bytes) = self.read_unless(None).await {
            self.load(bytes).await;
        }
    }

    /// Reads the file unless its version is `known`.
    async fn read_unless(&self, known: Option<FileVersion>) -> Option<Vec<u8>> {
        match self.file.read_if_changed(known).await {
            Ok(FileContent::Unchanged) => None,
            Ok(FileContent::Changed(version, bytes)) => {
                // A faulty version is tried once, and not at every look.
                *lock(&self.version) = Some(version);
                Some(bytes)
            }
            Err(error) => {
                let path = self.file.path().display();
                tracing::warn!(%error, "failed to read {path}: the version that was loaded stays in use");
                metrics::count_reload("failed");
                None
            }
        }
    }

    async fn load(&self, bytes: Vec<u8>) {
        let path = self.file.path().display();
        match load(&self.file, bytes.clone(), &self.surroundings, &self.replays).await {
            Ok(loaded) => {
                self.current.store(Arc::new(loaded));
                *lock(&self.content) = bytes;
                metrics::count_reload("loaded");
                tracing::info!("loaded {path}");
            }
            Err(error) => {
                metrics::count_reload("failed");
                let error = error_chain(&error);
                tracing::warn!(error, "refused the new {path}: the version that was loaded stays in use");
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn load(
    file: &BoundedFile,
    bytes: Vec<u8>,
    surroundings: &Surroundings,
    replays: &Arc<dyn DedupStore>,
) -> Result<Loaded, FileError> {
    let path = || file.path().to_owned();
    // The error of the conversion holds the bytes, which may be a secret.
    let not_text = || FileError::Read { path: path(), source: io::Error::other("not UTF-8") };
    let text = String::from_utf8(bytes).or(Err(not_text()))?;
    Loaded::read(&text, surroundings, Arc::clone(replays))
        .await
        .map_err(|source| FileError::Content { path: path(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use sts_client::{SystemClock, SystemEntropy};

    use super::*;

    #[tokio::test]
    async fn a_file_with_the_same_content_is_loaded_at_a_signal_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        let route = "[[routes]]\nurl = \"https://inventory.shop.example/\"\npass_through = true\n";
        fs::write(&path, route).unwrap();
        let surroundings = Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
        let live = Live::start(path.clone(), surroundings).await.unwrap();
        let first = live.current();
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        live.follow().await;
        assert!(Arc::ptr_eq(&first, &live.current()));
        live.reload().await;
        let second = live.current();
        assert!(!Arc::ptr_eq(&first, &second));
        fs::write(&path, format!("{route}allow_http = true\n")).unwrap();
        live.follow().await;
        assert!(!Arc::ptr_eq(&second, &live.current()));
    }
}
