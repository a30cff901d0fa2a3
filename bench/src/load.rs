//! The load: requests over connections that stay open.
//!
//! hyper is the client. A ready-made generator sends one body, or a list of bodies over and over; here every request has a body of its
//! own, used once.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use sts_server::telemetry::Stopwatch;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// What all requests of a load have in common.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// GET or POST.
    pub method: Method,
    /// The path.
    pub path: Uri,
    /// `Authorization`, if it is asked for.
    pub authorization: Option<HeaderValue>,
}

/// A request of a load, made before it begins.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The form.
    pub body: Bytes,
    /// `DPoP`, where the token is to be bound to a key.
    pub proof: Option<HeaderValue>,
}

impl From<Bytes> for Prepared {
    fn from(body: Bytes) -> Self {
        Self { body, proof: None }
    }
}

/// What became of a load.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How long all of it took.
    pub elapsed: Duration,
    /// How long each request took, in no order.
    pub latencies: Vec<Duration>,
}

impl Outcome {
    /// Adds what became of another load, which came before or after.
    pub fn add(&mut self, other: Self) {
        self.elapsed += other.elapsed;
        self.latencies.extend(other.latencies);
    }
}

/// What serves one connection, and gives it back with the latencies of its requests.
type Workers = JoinSet<anyhow::Result<(SendRequest<Full<Bytes>>, Vec<Duration>)>>;

/// Open connections to an endpoint.
#[derive(Debug)]
pub struct Load {
    endpoint: Endpoint,
    connections: Vec<SendRequest<Full<Bytes>>>,
}

impl Load {
    /// Opens so many connections.
    ///
    /// # Errors
    /// If no server listens.
    pub async fn connect(endpoint: &Endpoint, connections: usize) -> anyhow::Result<Self> {
        let mut load = Self { endpoint: endpoint.clone(), connections: Vec::new() };
        for _ in 0..connections {
            load.add(connected(endpoint).await?).await?;
        }
        Ok(load)
    }

    /// Opens so many connections over TLS, to the name that the server has there.
    ///
    /// # Errors
    /// If no server listens, or a handshake fails.
    pub async fn connect_over(
        tls: &TlsConnector,
        name: ServerName<'static>,
        endpoint: &Endpoint,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let mut load = Self { endpoint: endpoint.clone(), connections: Vec::new() };
        for _ in 0..connections {
            load.add(tls.connect(name.clone(), connected(endpoint).await?).await?).await?;
        }
        Ok(load)
    }

    /// Opens so many connections to a unix socket.
    ///
    /// # Errors
    /// If no process listens.
    pub async fn connect_to_socket(path: &Path, endpoint: &Endpoint, connections: usize) -> anyhow::Result<Self> {
        let mut load = Self { endpoint: endpoint.clone(), connections: Vec::new() };
        for _ in 0..connections {
            load.add(UnixStream::connect(path).await.context("connecting")?).await?;
        }
        Ok(load)
    }

    async fn add(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<()> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        self.connections.push(sender);
        Ok(())
    }

    /// A closed loop: every connection sends the next request when it has the answer to its last.
    ///
    /// # Errors
    /// The first answer that is not 200.
    pub async fn run<R>(&mut self, requests: Vec<R>) -> anyhow::Result<Outcome>
    where
        R: Clone + Into<Prepared> + Send + Sync + 'static,
    {
        let (bodies, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
        let mut workers = JoinSet::new();
        let watch = Stopwatch::start();
        for mut connection in self.connections.drain(..) {
            let (endpoint, bodies, next) = (self.endpoint.clone(), Arc::clone(&bodies), Arc::clone(&next));
            workers.spawn(async move {
                let mut latencies = Vec::new();
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let watch = Stopwatch::start();
                    exchange(&mut connection, &endpoint, body.clone()).await?;
                    latencies.push(watch.elapsed());
                }
                anyhow::Ok((connection, latencies))
            });
        }
        self.gather(workers, watch).await
    }

    /// An open loop: `per_second` requests are due at even distances, whatever the server does. A request that is due while all
    /// connections wait counts from the moment that it was due.
    ///
    /// # Errors
    /// The first answer that is not 200.
    pub async fn run_at(&mut self, bodies: Vec<Bytes>, per_second: f64) -> anyhow::Result<Outcome> {
        let (bodies, next) = (Arc::new(bodies), Arc::new(AtomicUsize::new(0)));
        let mut workers = JoinSet::new();
        let watch = Stopwatch::start();
        for mut connection in self.connections.drain(..) {
            let (endpoint, bodies, next) = (self.endpoint.clone(), Arc::clone(&bodies), Arc::clone(&next));
            workers.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(body) = bodies.get(index) else { break };
                    let due = Duration::from_secs_f64(index as f64 / per_second);
                    // The timer wakes on whole milliseconds: what it is late by is not the server's.
                    let begun = match due.checked_sub(watch.elapsed()) {
                        Some(early) => {
                            tokio::time::sleep(early).await;
                            watch.elapsed()
                        }
                        None => due,
                    };
                    exchange(&mut connection, &endpoint, body.clone()).await?;
                    latencies.push(watch.elapsed().saturating_sub(begun));
                }
                anyhow::Ok((connection, latencies))
            });
        }
        self.gather(workers, watch).await
    }

    /// One request, and the body of its answer.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn one(&mut self, body: Bytes) -> anyhow::Result<Bytes> {
        let connection = self.connections.first_mut().context("no connection")?;
        exchange(connection, &self.endpoint, body).await
    }

    async fn gather(&mut self, mut workers: Workers, watch: Stopwatch) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        while let Some(worker) = workers.join_next().await {
            let (connection, latencies) = worker.context("a connection of the load")??;
            self.connections.push(connection);
            outcome.latencies.extend(latencies);
        }
        outcome.elapsed = watch.elapsed();
        Ok(outcome)
    }
}

async fn connected(endpoint: &Endpoint) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(endpoint.address).await.context("connecting")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    endpoint: &Endpoint,
    request: impl Into<Prepared>,
) -> anyhow::Result<Bytes> {
    let Prepared { body, proof } = request.into();
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = endpoint.method.clone();
    *request.uri_mut() = endpoint.path.clone();
    let headers = request.headers_mut();
    // A service may name itself after it, and take a token that it issued under another name for somebody else's.
    headers.insert(HOST, HeaderValue::try_from(endpoint.address.to_string())?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Some(authorization) = &endpoint.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    if let Some(proof) = proof {
        headers.insert(HeaderName::from_static("dpop"), proof);
    }
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        bail!("{status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}
