//! The accept loop: HTTP/1.1, over TLS or plain, with deadlines for handshakes, for heads and for answers that nobody takes, a cap
//! on connections, and an end that truncates nothing.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use super::agents::{Agents, by_router};
use super::tls::Tls;
use crate::telemetry::{self, Metrics};

/// How long the loop waits when the system has no descriptor left for another connection.
const BACK_OFF: Duration = Duration::from_millis(50);
/// What is read of a request's head at most, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long requests that were sent before the end was announced may be on their way here; then idle connections are closed.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// Whom a request came from: an extension of those that go through a router.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What a listener does not go beyond, and where it counts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most open connections; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long an answer may wait for a peer that takes nothing of it.
    pub write_timeout: Duration,
    /// How long open connections may go on after the end was announced.
    pub drain_timeout: Duration,
}

/// What a listener answers.
#[derive(Debug)]
pub enum Endpoints {
    /// The public endpoints.
    Agents(Agents),
    /// Those for operators.
    Operators(Router),
}

impl Endpoints {
    async fn answer(&self, request: http::Request<Body>, peer: SocketAddr) -> Response {
        match self {
            Self::Agents(agents) => agents.answer(request, peer).await,
            Self::Operators(router) => by_router(router, request, peer).await,
        }
    }
}

/// What serves the connections of one address.
#[derive(Debug)]
pub struct Listener {
    /// What is answered.
    pub endpoints: Endpoints,
    /// The certificate; none for plain HTTP.
    pub tls: Option<Tls>,
    /// The bounds.
    pub limits: Limits,
    /// Where open connections are counted, and as whose.
    pub counted: (Metrics, telemetry::Listener),
}

impl Listener {
    /// Serves until `shutdown` says true; then lets the requests under way end.
    pub async fn serve(self, listener: TcpListener, mut shutdown: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let places = Arc::new(Semaphore::new(this.limits.connections));
        this.accept(&listener, &places, &mut shutdown).await;
        if let Err(error) = this.accept_waiting(listener, &places, &shutdown) {
            tracing::debug!(%error, "connections that waited when the server ended are lost");
        }
        let total = u32::try_from(this.limits.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(this.limits.drain_timeout, places.acquire_many(total)).await.is_err() {
            tracing::warn!("connections were still open when the server ended");
        }
    }

    /// Accepts until the end is announced.
    async fn accept(
        self: &Arc<Self>,
        listener: &TcpListener,
        places: &Arc<Semaphore>,
        shutdown: &mut watch::Receiver<bool>,
    ) {
        let mut accepts = true;
        loop {
            // A full server must hear of its end too, and not only once a place is free.
            let place = tokio::select! {
                place = Arc::clone(places).acquire_owned() => place,
                () = announced(shutdown) => return,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = announced(shutdown) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if !accepts {
                        accepts = true;
                        tracing::info!("connections are accepted again");
                    }
                    self.spawn((stream, peer), place, shutdown.clone());
                }
                Err(error) if is_of_the_peer(&error) => {
                    tracing::debug!(%error, "a connection was lost before it was accepted");
                }
                Err(error) => {
                    // Told once: under a flood there is nothing else to read.
                    if accepts {
                        accepts = false;
                        tracing::warn!(%error, "connections cannot be accepted now");
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Accepts what the system has accepted already, for whoever thinks to be connected, and closes the listener.
    fn accept_waiting(
        self: &Arc<Self>,
        listener: TcpListener,
        places: &Arc<Semaphore>,
        shutdown: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        let listener = listener.into_std()?;
        while let Ok(place) = Arc::clone(places).try_acquire_owned() {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            self.spawn((TcpStream::from_std(stream)?, peer), place, shutdown.clone());
        }
        Ok(())
    }

    fn spawn(
        self: &Arc<Self>,
        (stream, peer): (TcpStream, SocketAddr),
        place: OwnedSemaphorePermit,
        shutdown: watch::Receiver<bool>,
    ) {
        let this = Arc::clone(self);
        let (metrics, whose) = &self.counted;
        let open = metrics.connected(*whose);
        tokio::spawn(async move {
            this.connection(stream, peer, shutdown).await;
            drop(open);
            drop(place);
        });
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr, mut shutdown: watch::Receiver<bool>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was lost before its first request");
            return;
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let stream = Box::pin(stream);
        let Some(tls) = &self.tls else { return self.http(stream, peer, shutdown).await };
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, tls.acceptor().accept(stream));
        let ended = async {
            announced(&mut shutdown).await;
            tokio::time::sleep(ON_THE_WAY).await;
        };
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = ended => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.http(stream, peer, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: SocketAddr,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let service = service_fn(async |request: http::Request<Incoming>| {
            Ok::<_, Infallible>(self.endpoints.answer(request.map(Body::new), peer).await)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.header_timeout).max_buf_size(MAX_HEAD_BYTES);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = async {
            announced(&mut shutdown).await;
            tokio::time::sleep(ON_THE_WAY).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = ended => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Returns when the end has been announced, or nobody can announce it any more.
pub(crate) async fn announced(shutdown: &mut watch::Receiver<bool>) {
    let _gone = shutdown.wait_for(|ended| *ended).await;
}

/// Whether accepting failed for a reason that lies with one peer, and the next may be better.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
