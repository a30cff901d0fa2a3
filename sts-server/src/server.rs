//! A running server: the database, the service and its listeners, put together.
//!
//! What lives here: the order of the start and of the end, and the task that follows the database. What must never: anything about a
//! request.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sts_jose::{Clock, Entropy};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{Access, Administration, By};
use crate::config::{Config, PasswordError};
use crate::http::{self, AdminApi, Agents, App, Endpoints, Listener, ListenerLimits, Tls, TlsError};
use crate::keys::{KeyAccess, KeyLifeError, MasterKey, SealError};
use crate::registry::{ApplyError, RegistryError, RegistryFile};
use crate::service::{Parts, SnapshotError, Sts};
use crate::shutdown::announced;
use crate::storage::{self, StorageError, Store};
use crate::telemetry::{Traces, TracesError};

/// How often the database is asked whether something changed, whether or not it announces changes.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// How often keys are looked after and what has expired is deleted.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);
/// How often the key sets of others are read again, in turns of maintenance.
const REFRESH_KEY_SETS_EVERY: u32 = 30;

/// What a server takes from its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

impl Surroundings {
    /// How keys of others are fetched.
    #[must_use]
    pub fn key_access(&self, config: &Config) -> KeyAccess {
        KeyAccess { clock: Arc::clone(&self.clock), egress: config.egress.proxies.clone() }
    }
}

/// A server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The database cannot be opened or migrated.
    #[error("the database cannot be used")]
    Storage(#[from] StorageError),
    /// The database's password, or a certificate that its URL names, cannot be read.
    #[error("the database's password or certificates cannot be used")]
    Password(#[from] PasswordError),
    /// The master key cannot be read.
    #[error("the master key cannot be used")]
    Master(#[from] SealError),
    /// Keys cannot be made.
    #[error("the signing keys cannot be made")]
    Keys(#[from] KeyLifeError),
    /// The registry file cannot be applied.
    #[error("the registry file {path} cannot be applied")]
    Registry {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// The database's content cannot be read.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
    /// The certificate cannot be served.
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    /// The issuer of operators cannot be used.
    #[error("the admin API cannot be set up")]
    Admin(#[from] RegistryError),
    /// Traces cannot be sent as configured.
    #[error("traces cannot be sent")]
    Traces(#[from] TracesError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The database and the keys to it: what a command works with, and a server begins with.
#[derive(Debug, Clone)]
pub struct Foundation {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The master key.
    pub master: Arc<MasterKey>,
    /// The clock and the rest.
    pub surroundings: Surroundings,
}

/// A server that runs. Dropping it does not end it; [`Server::stop`] does.
#[derive(Debug)]
pub struct Server {
    public: SocketAddr,
    admin: SocketAddr,
    sts: Arc<Sts>,
    store: Arc<dyn Store>,
    app: App,
    traces: Traces,
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Foundation {
    /// Opens the database and reads the master key. Only what serves or applies a registry migrates: a command that reads must not
    /// change the schema under servers of another version.
    ///
    /// # Errors
    /// [`StartError::Storage`], [`StartError::Password`] and [`StartError::Master`].
    pub async fn lay(config: &Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let master = Arc::new(MasterKey::read(&config.keys.master_key_file)?);
        let codes = master.row_codes(&surroundings.entropy);
        let store = storage::open(&config.database.connect_url()?, config.database.max_connections, codes).await?;
        Ok(Self { store, master, surroundings })
    }

    /// What operators do with this database.
    #[must_use]
    pub fn administration(&self, config: &Config) -> Administration {
        let parts = self.parts();
        let store = parts.store.for_operators().unwrap_or_else(|| Arc::clone(&parts.store));
        Administration::new(Parts { store, ..parts }, config)
    }

    /// What the service is made of.
    #[must_use]
    pub fn parts(&self) -> Parts {
        Parts {
            store: Arc::clone(&self.store),
            master: Arc::clone(&self.master),
            clock: Arc::clone(&self.surroundings.clock),
            entropy: Arc::clone(&self.surroundings.entropy),
        }
    }
}

impl Server {
    /// Starts a server: database, keys, registry, service, listeners, in this order.
    ///
    /// # Errors
    /// [`StartError`] names what is missing; nothing listens then.
    pub async fn start(config: &Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let public = listen(config.listen.public).await?;
        let admin = listen(config.listen.admin).await?;
        Self::start_on(config, surroundings, [public, admin]).await
    }

    /// As [`Server::start`], on listeners that are bound already: the public one and the admin one.
    ///
    /// # Errors
    /// [`StartError`], never `Listen`.
    pub async fn start_on(
        config: &Config,
        surroundings: Surroundings,
        listeners: [TcpListener; 2],
    ) -> Result<Self, StartError> {
        let foundation = Foundation::lay(config, surroundings).await?;
        Self::start_with(config, foundation, listeners).await
    }

    /// As [`Server::start_on`], on a database that is open already.
    ///
    /// # Errors
    /// [`StartError`], never `Listen`.
    pub async fn start_with(
        config: &Config,
        foundation: Foundation,
        [public, admin]: [TcpListener; 2],
    ) -> Result<Self, StartError> {
        let tls = config.tls.files().map(Tls::read).transpose()?;
        foundation.store.migrate().await?;
        let administration = foundation.administration(config);
        administration.ensure_keys().await?;
        if let Some(path) = &config.registry {
            let applied = administration.apply(&RegistryFile::read(path), &By::default()).await;
            applied.map_err(|source| StartError::Registry { path: path.clone(), source })?;
        }
        let sts = Arc::new(Sts::start(config, foundation.parts()).await?);
        let endpoint = config.telemetry.otlp_endpoint.as_ref();
        let traces = Traces::start(endpoint, &foundation.surroundings.entropy, sts.metrics())?;
        sts.snapshot().trusted.refresh().await;
        let (shutdown, ended) = watch::channel(false);
        let app = App::new(Arc::clone(&sts), config).tracing(traces.clone());
        let mut server = Self {
            public: address(&public, config.listen.public)?,
            admin: address(&admin, config.listen.admin)?,
            sts: Arc::clone(&sts),
            store: Arc::clone(&foundation.store),
            app: app.clone(),
            traces,
            shutdown,
            tasks: JoinSet::new(),
        };
        let limits = ListenerLimits {
            connections: config.limits.connections,
            per_source: config.limits.per_source(),
            handshake_timeout: config.limits.handshake_timeout.as_duration(),
            header_timeout: config.limits.header_timeout.as_duration(),
            write_timeout: config.limits.write_timeout.as_duration(),
            drain_timeout: config.listen.drain_timeout.as_duration(),
        };
        let access = Arc::new(Access::new(&config.admin, &foundation.surroundings.key_access(config))?);
        access.refresh().await;
        let api = AdminApi::new(app.clone(), administration.clone(), Arc::clone(&access));
        let agents = Endpoints::Agents(Agents::new(app.clone()));
        let agents = Listener::new(&app, agents, tls.clone(), limits);
        let for_operators = tls.clone().filter(|_| config.tls.admin);
        let operators = Endpoints::Operators(http::admin(app.clone(), api));
        let limits = ListenerLimits { connections: config.limits.admin_connections(), ..limits };
        let operators = Listener::new(&app, operators, for_operators, limits);
        server.tasks.spawn(agents.serve(public, ended.clone()));
        server.tasks.spawn(operators.serve(admin, ended.clone()));
        if let Some(tls) = tls {
            server.tasks.spawn(tls.follow(ended.clone()));
        }
        server.tasks.spawn(follow(Arc::clone(&sts), ended.clone()));
        server.tasks.spawn(watch_recorder(Arc::clone(&sts), ended.clone()));
        server.tasks.spawn(maintain(sts, administration, Arc::clone(&foundation.store), access, ended));
        Ok(server)
    }

    /// The address of the public listener.
    #[must_use]
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// The address of the admin listener.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The service.
    #[must_use]
    pub fn sts(&self) -> &Arc<Sts> {
        &self.sts
    }

    /// Returns when a part of the server has ended though the server is to go on: a listener, the following of the database, the
    /// maintenance or the recorder.
    pub async fn failed(&mut self) {
        if let Some(Err(error)) = self.tasks.join_next().await {
            tracing::error!(%error, "a part of the server failed");
        }
    }

    /// Is not ready from now on, and serves all the same: for the time until nobody is sent here any more.
    pub fn withdraw(&self) {
        self.app.withdraw();
    }

    /// Accepts no more, lets the requests under way end, and ends.
    pub async fn stop(mut self) {
        self.shutdown.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.sts.record_last_suppressed_refusals().await;
        self.traces.stop().await;
        self.store.close().await;
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { address: asked, source })
}

/// Follows the database: reads what others changed.
async fn follow(sts: Arc<Sts>, mut ended: watch::Receiver<bool>) {
    tokio::select! {
        () = sts.follow(FOLLOW_EVERY) => {}
        () = announced(&mut ended) => {}
    }
}

/// Ends when the recorder does, which takes the server down: without it no token can be issued, and every answer would be an outage.
async fn watch_recorder(sts: Arc<Sts>, mut ended: watch::Receiver<bool>) {
    tokio::select! {
        () = sts.recorder_ended() => tracing::error!("the recorder has ended"),
        () = announced(&mut ended) => {}
    }
}

/// Looks after the keys, ours and those of others, and deletes what has expired.
async fn maintain(
    sts: Arc<Sts>,
    administration: Administration,
    store: Arc<dyn Store>,
    access: Arc<Access>,
    mut ended: watch::Receiver<bool>,
) {
    let mut turn: u32 = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(MAINTAIN_EVERY) => {}
            () = announced(&mut ended) => return,
        }
        if let Err(error) = administration.maintain_keys().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the signing keys cannot be looked after");
        }
        if let Err(error) = store.purge().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "what has expired cannot be deleted");
        }
        if let Err(error) = sts.inspect().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the codes of the stored rows cannot be compared");
        }
        sts.record_suppressed_refusals().await;
        sts.metrics().upkeep();
        turn = turn.wrapping_add(1);
        if turn.is_multiple_of(REFRESH_KEY_SETS_EVERY) {
            sts.snapshot().trusted.refresh().await;
            access.refresh().await;
        }
    }
}
