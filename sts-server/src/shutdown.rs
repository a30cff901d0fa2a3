//! The announcement that the server shuts down.

use tokio::sync::watch;

/// Resolves when the shutdown is announced, or when its sender is dropped.
pub(crate) async fn announced(shutdown: &mut watch::Receiver<bool>) {
    let _gone = shutdown.wait_for(|ended| *ended).await;
}
