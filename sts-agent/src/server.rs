//! The process: its start, its listener, the reload of its file and its shutdown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::http::{self, Api};
use crate::listen::{Bearer, ListenError, Place, Socket};
use crate::live::{FileError, Live};
pub use crate::loaded::Surroundings;
use crate::metrics;

/// The interval at which the agent's file is compared with the loaded version.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// The options of the process.
#[derive(Debug)]
pub struct Options {
    /// The path of the agent's file.
    pub config: PathBuf,
    /// The place to listen at.
    pub place: Place,
    /// The file with the bearer of a loopback address.
    pub bearer_file: Option<PathBuf>,
}

/// The process cannot serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The agent's file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The process cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Signals or metrics cannot be set up.
    #[error("the process cannot be set up")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The listener failed.
    #[error("the listener failed")]
    Serve(#[source] std::io::Error),
}

impl ServeError {
    fn setup(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Setup(error.into())
    }
}

/// Loads the file as `serve` does.
///
/// # Errors
/// [`ServeError::File`].
pub async fn check(config: PathBuf, surroundings: Surroundings) -> Result<(), ServeError> {
    Live::start(config, surroundings).await?;
    Ok(())
}

/// Serves until SIGTERM or SIGINT, and then until the requests have ended.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(options: Options, surroundings: Surroundings) -> Result<(), ServeError> {
    let handle = metrics::install().map_err(ServeError::setup)?;
    let listen = |kind| signal(kind).map_err(ServeError::setup);
    let (hangup, terminate, interrupt) =
        (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let entropy = Arc::clone(&surroundings.entropy);
    let live = Arc::new(Live::start(options.config, surroundings).await?);
    let followed = tokio::spawn(follow(Arc::clone(&live), hangup));
    let (announce, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        ended(terminate, interrupt).await;
        tracing::info!("shutting down");
        announce.send(true)
    });
    let place = options.place.clone();
    let api = |bearer| Api::new(live, bearer, handle);
    let outcome = match options.place {
        Place::Socket(path) => {
            let mut socket = Socket::make(path).map_err(ListenError::from)?;
            match socket.listener() {
                Some(listener) => http::serve(listener, api(None), &place, shutdown).await.map_err(ServeError::Serve),
                None => Ok(()),
            }
        }
        Place::Loopback(address) => {
            let file = options.bearer_file.ok_or(ListenError::NoBearerFile)?;
            let bearer = Bearer::at(&file, entropy.as_ref()).map_err(ListenError::from)?;
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|source| ListenError::Address { address, source })?;
            http::serve(listener, api(Some(bearer)), &place, shutdown).await.map_err(ServeError::Serve)
        }
    };
    followed.abort();
    outcome
}

async fn ended(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Follows the agent's file, and loads it at SIGHUP.
async fn follow(live: Arc<Live>, mut hangup: Signal) {
    let mut looks = tokio::time::interval(FOLLOW_EVERY);
    loop {
        tokio::select! {
            _ = looks.tick() => live.follow().await,
            _ = hangup.recv() => live.reload().await,
        }
    }
}
