//! The accept loop: HTTP/1.1 with deadlines for heads and for answers that nobody takes, a cap on connections, and an end that
//! truncates nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use crate::telemetry::{Listener, Metrics};

/// How long the loop waits when the system has no descriptor left for another connection.
const BACK_OFF: Duration = Duration::from_millis(50);
/// What is read of a request's head at most, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long open connections may go on after the end was announced.
const DRAIN: Duration = Duration::from_secs(20);

/// Whom a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What a listener does not go beyond, and where it counts.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most open connections; further ones wait in the system's queue.
    pub connections: usize,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long an answer may wait for a peer that takes nothing of it.
    pub write_timeout: Duration,
    /// Where open connections are counted, and as whose.
    pub counted: (Metrics, Listener),
}

/// Serves until `shutdown` says true; then lets the requests under way end.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, mut shutdown: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let total = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    loop {
        // A full server must hear of its end too, and not only once a place is free.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = announced(&mut shutdown) => break,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = announced(&mut shutdown) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let open = limits.counted.0.connected(limits.counted.1);
                let connection = connection(stream, peer, router.clone(), limits.clone(), shutdown.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(open);
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, places.acquire_many(total)).await.is_err() {
        tracing::warn!("connections were still open when the server ended");
    }
}

/// Returns when the end has been announced, or nobody can announce it any more.
pub(crate) async fn announced(shutdown: &mut watch::Receiver<bool>) {
    let _gone = shutdown.wait_for(|ended| *ended).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was lost before its first request");
        return;
    }
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move {
            Ok::<_, Infallible>(router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {}))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(MAX_HEAD_BYTES);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_timeout));
    let stream = TokioIo::new(Box::pin(stream));
    let mut connection = std::pin::pin!(http.serve_connection(stream, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = announced(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
