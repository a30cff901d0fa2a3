//! Folders below the target folder that tests share.

use std::fs::File;
use std::path::PathBuf;

/// Waits for the lock of a shared folder: one test, of any run, fills it, and the others wait.
pub(crate) async fn lock(path: PathBuf) -> File {
    let lock = move || {
        let file = File::create(path).expect("the target folder is ours");
        file.lock().expect("a lock");
        file
    };
    tokio::task::spawn_blocking(lock).await.expect("a lock")
}
