//! The announcement that the server shuts down.

use tokio::sync::watch;

/// Returns when the shutdown has been announced, or when no sender is left to announce it.
pub(crate) async fn announced(shutdown: &mut watch::Receiver<bool>) {
    let _gone = shutdown.wait_for(|ended| *ended).await;
}
