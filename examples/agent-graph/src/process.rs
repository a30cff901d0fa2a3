//! What stands for a process of its own: an HTTP server on a listener.

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

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

/// A free port and the URL of a path there.
pub async fn listen(path: &str) -> anyhow::Result<(TcpListener, Url)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = Url::parse(&format!("http://{}{path}", listener.local_addr()?))?;
    Ok((listener, url))
}

/// Serves a router on a free port.
pub async fn start(router: Router, path: &str) -> anyhow::Result<(Url, Process)> {
    let (listener, url) = listen(path).await?;
    Ok((url, serve(listener, router)))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.abort();
    }
}
