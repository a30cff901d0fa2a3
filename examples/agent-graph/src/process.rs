//! What stands for a process of its own: an HTTP server on a listener.

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that runs until this is dropped.
pub struct Process(JoinHandle<()>);

/// Serves a router.
pub fn serve(listener: TcpListener, router: Router) -> Process {
    Process(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("a server ended: {error}");
        }
    }))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.abort();
    }
}
