//! The accept loop: HTTP/1.1, over TLS or plain. It sets deadlines for handshakes, heads and unread
//! responses, limits the number of connections, and shuts down without truncating a response.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Version;
use http::header::HOST;
use http::uri::Authority;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;

use super::oauth::{Agents, by_router};
use super::peer::Peer;
use super::places::{Admission, Full, Phase, Place, Places, Seat};
use super::tls::Tls;
use super::watched::Watched;
use super::{App, answer, body};
use crate::config;
use crate::shutdown::announced;
use crate::telemetry::{self, Metrics, Stopwatch};

/// The pause of the loop after a failed accept, for example when no file descriptor is left.
const BACK_OFF: Duration = Duration::from_millis(50);
/// The maximum number of headers of a request. They are counted after parsing: a limit in hyper
/// allocates for each request. hyper's default of 100 bounds the parser.
const MAX_HEADERS: usize = 64;
/// The maximum number of requests on a connection, and its maximum age. After either, the peer must
/// reconnect, to any server.
const MAX_REQUESTS: u32 = 10_000;
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// The time that requests sent before the shutdown may take to arrive. Idle connections are closed
/// after it.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// The limits of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// The maximum number of open connections. A further connection closes a waiting connection. If
    /// no connection waits, the new connection stays in the queue of the operating system.
    pub connections: usize,
    /// The maximum number of open connections of one source, except trusted proxies.
    pub per_source: usize,
    /// The deadline of a TLS handshake.
    pub handshake_timeout: Duration,
    /// The deadline of the head of a request, and of an idle connection.
    pub header_timeout: Duration,
    /// The time that a response may wait for a peer that reads none of it.
    pub write_timeout: Duration,
    /// The time that open connections may continue after the shutdown is announced.
    pub drain_timeout: Duration,
}

/// The endpoints of a listener.
#[derive(Debug)]
pub enum Endpoints {
    /// The public endpoints.
    Agents(Agents),
    /// The endpoints for operators.
    Operators(Router),
}

impl Endpoints {
    async fn answer(&self, request: http::Request<Body>, peer: &Peer) -> Response {
        match self {
            Self::Agents(agents) => agents.answer(request, peer).await,
            Self::Operators(router) => by_router(router, request, peer).await,
        }
    }
}

/// The server of all connections to one address.
#[derive(Debug)]
pub struct Listener {
    endpoints: Endpoints,
    tls: Option<Tls>,
    limits: ListenerLimits,
    places: Arc<Places>,
    /// The metrics of open connections, and the listener to count them for.
    counted: (Metrics, telemetry::Listener),
}

/// The outcome of the wait for the next connection.
enum Accepted {
    Connection(TcpStream, SocketAddr),
    Failed(io::Error),
    Ended,
}

impl Listener {
    /// Creates the listener of `endpoints`, over TLS if there is a certificate. If new connections
    /// of agents find no place, the service of `app` becomes unready.
    #[must_use]
    pub fn new(app: &App, endpoints: Endpoints, tls: Option<Tls>, limits: ListenerLimits) -> Self {
        if let Some(tls) = &tls {
            tls.follow_registry(&app.sts);
        }
        let (whose, full) = match &endpoints {
            Endpoints::Agents(_) => (telemetry::Listener::Public, app.full.clone()),
            Endpoints::Operators(_) => (telemetry::Listener::Admin, Full::new()),
        };
        let places = Places::new([limits.connections, limits.per_source], Arc::clone(&app.proxies), full);
        Self { endpoints, tls, limits, places: Arc::new(places), counted: (app.sts.metrics().clone(), whose) }
    }

    /// Serves until `shutdown` is true, then waits for the requests in progress.
    pub async fn serve(self, listener: TcpListener, mut shutdown: watch::Receiver<bool>) {
        let this = Arc::new(self);
        this.accept(&listener, &mut shutdown).await;
        if let Err(error) = this.accept_waiting(listener, &shutdown) {
            tracing::debug!(%error, "dropped the connections that were not yet accepted at shutdown");
        }
        if tokio::time::timeout(this.limits.drain_timeout, this.places.emptied()).await.is_err() {
            tracing::warn!("closed the connections that were still open at shutdown");
        }
    }

    /// Accepts connections until the shutdown is announced.
    async fn accept(self: &Arc<Self>, listener: &TcpListener, shutdown: &mut watch::Receiver<bool>) {
        let mut accepts = true;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => {
                    accepted.map_or_else(Accepted::Failed, |(stream, peer)| Accepted::Connection(stream, peer))
                }
                () = announced(shutdown) => Accepted::Ended,
            };
            match accepted {
                Accepted::Connection(stream, peer) => {
                    if !accepts {
                        accepts = true;
                        tracing::info!("accepting connections again");
                    }
                    // A full server must notice the shutdown too, and not only after a place is
                    // free.
                    let admission = tokio::select! {
                        admission = self.places.admit(peer.ip()) => admission,
                        () = announced(shutdown) => return,
                    };
                    match admission {
                        Admission::Admitted(place) => self.spawn(stream, peer, place, shutdown.clone()),
                        Admission::SourceFull => self.counted.0.turned_away(self.counted.1),
                    }
                }
                Accepted::Failed(error) if is_of_the_peer(&error) => {
                    tracing::debug!(%error, "a connection was lost before it was accepted");
                }
                Accepted::Failed(error) => {
                    // Logged once, so that a flood does not fill the log.
                    if accepts {
                        accepts = false;
                        tracing::warn!(%error, "failed to accept connections");
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
                Accepted::Ended => return,
            }
        }
    }

    /// Accepts the connections that are already in the system's queue, and closes the listener.
    /// Their peers are connected and expect a response.
    fn accept_waiting(self: &Arc<Self>, listener: TcpListener, shutdown: &watch::Receiver<bool>) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Some(place) = self.places.try_admit(peer.ip()) {
                stream.set_nonblocking(true)?;
                self.spawn(TcpStream::from_std(stream)?, peer, place, shutdown.clone());
            }
        }
    }

    fn spawn(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place, shutdown: watch::Receiver<bool>) {
        let this = Arc::clone(self);
        let (metrics, whose) = &self.counted;
        let open = metrics.connected(*whose);
        tokio::spawn(async move {
            this.connection(stream, peer, place.seat(), shutdown).await;
            drop(open);
            drop(place);
        });
    }

    async fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        seat: &Arc<Seat>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was lost before its first request");
            return;
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_timeout));
        let stream = Box::pin(stream);
        let Some(tls) = &self.tls else {
            return self.http(stream, Peer::connected(peer, Arc::clone(seat), None), seat, shutdown).await;
        };
        seat.enter(Phase::Handshake);
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, tls.accept(stream));
        let ended = async {
            announced(&mut shutdown).await;
            tokio::time::sleep(ON_THE_WAY).await;
        };
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = ended => return,
            () = seat.told() => return,
        };
        seat.enter(Phase::Idle);
        match shaken {
            Ok(Ok((stream, certificate))) => {
                let peer = Peer::connected(peer, Arc::clone(seat), certificate);
                self.http(stream, peer, seat, shutdown).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake timed out"),
        }
    }

    async fn http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: Peer,
        seat: &Arc<Seat>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let (age, requests) = (Stopwatch::start(), AtomicU32::new(0));
        let service = service_fn(async |request: http::Request<Incoming>| {
            seat.enter(Phase::Works);
            let response = self.answer(request.map(Body::new), &peer).await;
            let is_old = requests.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_REQUESTS || age.elapsed() > MAX_AGE;
            seat.enter(Phase::Answer);
            Ok::<_, Infallible>(if is_old { answer::closing(response) } else { response })
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.header_timeout);
        http.max_buf_size(config::Limits::HEAD_BYTES);
        let stream = TokioIo::new(Watched::new(stream, Arc::clone(seat)));
        let mut connection = std::pin::pin!(http.serve_connection(stream, service));
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
            () = seat.told() => match seat.phase() {
                // The peer was too slow, and its request is incomplete.
                Phase::Handshake | Phase::Head | Phase::Answer => return,
                // The reader of the body is notified too, and answers.
                Phase::Idle | Phase::Body | Phase::Works => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn answer(&self, request: http::Request<Body>, peer: &Peer) -> Response {
        if request.headers().len() > MAX_HEADERS {
            body::leave(peer);
            return answer::too_many_headers();
        }
        if !names_one_host(&request) {
            body::leave(peer);
            return answer::bad_host();
        }
        self.endpoints.answer(request, peer).await
    }
}

/// Returns true if the request names one valid host, optionally with a port. RFC 9112 §3.2 requires
/// exactly one `Host` of a request of HTTP/1.1.
fn names_one_host(request: &http::Request<Body>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, None) => request.version() < Version::HTTP_11,
        (Some(host), None) => {
            let host = host.to_str().ok().filter(|host| !host.contains('@'));
            host.is_some_and(|host| host.parse::<Authority>().is_ok())
        }
        (_, Some(_)) => false,
    }
}

/// Returns true if the accept failed because of one peer, so that the next accept may succeed.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}
