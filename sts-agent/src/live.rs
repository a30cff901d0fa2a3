//! The agent's file as it is loaded now. A file that has changed replaces it; a wrong one does not.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use sts_jose::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES, error_chain};
use thiserror::Error;

use crate::loaded::{LoadError, Loaded, Surroundings};
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
    current: ArcSwap<Loaded>,
    surroundings: Surroundings,
}

impl Live {
    /// Loads the file for the first time.
    pub(crate) async fn start(path: PathBuf, surroundings: Surroundings) -> Result<Self, FileError> {
        let file = BoundedFile::new(path, MAX_FILE_BYTES);
        let read = file.read_now().map_err(|source| FileError::Read { path: file.path().to_owned(), source });
        let (version, bytes) = read?;
        let loaded = load(&file, bytes, &surroundings).await?;
        Ok(Self { file, version: Mutex::new(Some(version)), current: ArcSwap::from_pointee(loaded), surroundings })
    }

    /// Returns what is loaded now. A request works with one version to its end.
    pub(crate) fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// Loads the file if it has changed.
    pub(crate) async fn follow(&self) {
        let known = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        self.load_unless(known).await;
    }

    /// Loads the file.
    pub(crate) async fn reload(&self) {
        self.load_unless(None).await;
    }

    async fn load_unless(&self, known: Option<FileVersion>) {
        let path = self.file.path().display();
        let (version, bytes) = match self.file.read_if_changed(known).await {
            Ok(FileContent::Unchanged) => return,
            Ok(FileContent::Changed(version, bytes)) => (version, bytes),
            Err(error) => {
                tracing::warn!(%error, "failed to read {path}: the version that was loaded stays in use");
                return metrics::count_reload("failed");
            }
        };
        // A faulty version is tried once, and not at every look.
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
        match load(&self.file, bytes, &self.surroundings).await {
            Ok(loaded) => {
                self.current.store(Arc::new(loaded));
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

async fn load(file: &BoundedFile, bytes: Vec<u8>, surroundings: &Surroundings) -> Result<Loaded, FileError> {
    let path = || file.path().to_owned();
    // The error of the conversion holds the bytes, which may be a secret.
    let not_text = || FileError::Read { path: path(), source: io::Error::other("not UTF-8") };
    let text = String::from_utf8(bytes).or(Err(not_text()))?;
    Loaded::read(&text, surroundings)
        .await
        .map_err(|source| FileError::Content { path: path(), source: Box::new(source) })
}
