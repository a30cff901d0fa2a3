//! A running server: the database, the service and its listeners.
//!
//! What lives here: the order of start and shutdown, and the background tasks. What must never: the
//! handling of a request. A new background task is spawned in [`Server::start_with`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sts_jose::{Clock, Entropy};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{Access, AccessError, Administration, By};
use crate::config::{ClientCertificates, Config, Database, PasswordError, Synchronous};
use crate::http::{self, AdminApi, Agents, App, Endpoints, Listener, ListenerLimits, Tls, TlsError};
use crate::keys::{KeyAccess, KeyLifeError, MasterKey, SealError};
use crate::notices::{Notices, NoticesError};
use crate::record::RetentionError;
use crate::registry::{ApplyError, RegistryFile};
use crate::service::{Parts, SnapshotError, Sts};
use crate::shutdown::announced;
use crate::storage::{self, Location, StorageError, Store};
use crate::telemetry::{Traces, TracesError};

/// The interval at which the server polls the database for changes, announced or not.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// The interval of key maintenance and of the purge of expired rows.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);
/// The time after which a fault of the audit log, which an operator must explain, is looked at
/// again.
const SHORTEN_AFTER_FAULT: Duration = Duration::from_secs(60 * 60);
/// The number of maintenance rounds between two fetches of the key sets of other issuers.
const REFRESH_KEY_SETS_EVERY: u32 = 30;

/// The clock and the entropy that a server uses; tests replace them.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Surroundings {
    /// Returns the means to fetch the keys of other issuers.
    #[must_use]
    pub fn key_access(&self, config: &Config) -> KeyAccess {
        KeyAccess { clock: Arc::clone(&self.clock), egress: config.egress.proxies.clone() }
    }
}

/// The server cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The database cannot be opened or migrated.
    #[error("the database cannot be used")]
    Storage(#[from] StorageError),
    /// The database password, or a certificate named in the database URL, cannot be read.
    #[error("the database's password or certificates cannot be used")]
    Password(#[from] PasswordError),
    /// The master key cannot be read.
    #[error(transparent)]
    Master(#[from] SealError),
    /// The signing keys cannot be created.
    #[error("the signing keys cannot be created")]
    Keys(#[from] KeyLifeError),
    /// The registry file cannot be applied.
    #[error("the registry file {path} cannot be applied")]
    Registry {
        /// The path of the registry file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: ApplyError,
    },
    /// The content of the database cannot be read.
    #[error("the database cannot be read")]
    Snapshot(#[from] SnapshotError),
    /// The TLS certificate cannot be used.
    #[error("the certificate cannot be used")]
    Tls(#[from] TlsError),
    /// The operators cannot be known.
    #[error("the admin API cannot be set up")]
    Admin(#[from] AccessError),
    /// Traces cannot be exported as configured.
    #[error("traces cannot be sent")]
    Traces(#[from] TracesError),
    /// Notices of approvals cannot be sent as configured.
    #[error("approvals cannot be notified")]
    Notices(#[from] NoticesError),
    /// The server cannot listen on an address.
    #[error("{option}: cannot listen on {address}")]
    Listen {
        /// The option or the flag that names the address.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// Returns true if the database is unreachable. A later start may succeed.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Storage(error)
            | Self::Keys(KeyLifeError::Storage(error))
            | Self::Registry { source: ApplyError::Storage(error), .. }
            | Self::Snapshot(SnapshotError::Storage(error)) => error.is_outage(),
            Self::Password(_)
            | Self::Master(_)
            | Self::Keys(_)
            | Self::Registry { .. }
            | Self::Tls(_)
            | Self::Admin(_)
            | Self::Traces(_)
            | Self::Notices(_)
            | Self::Listen { .. } => false,
        }
    }
}

/// The open database and the keys to it. Commands work with it, and a server starts on it.
#[derive(Debug, Clone)]
pub struct Foundation {
    /// The open database.
    pub store: Arc<dyn Store>,
    /// The master key, which seals signing keys and rows.
    pub master: Arc<MasterKey>,
    /// The clock and the entropy.
    pub surroundings: Surroundings,
}

/// A running server. Dropping it does not stop it; [`Server::stop`] does.
#[derive(Debug)]
pub struct Server {
    public: SocketAddr,
    admin: SocketAddr,
    sts: Arc<Sts>,
    store: Arc<dyn Store>,
    access: Arc<Access>,
    app: App,
    administration: Administration,
    traces: Traces,
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Returns the database of a configuration, after a check of the files that it names.
///
/// # Errors
/// [`PasswordError`] if a file cannot be used.
pub(crate) fn location(database: &Database) -> Result<Location, PasswordError> {
    database.check_files()?;
    Ok(Location {
        url: database.url.clone(),
        max_connections: database.max_connections,
        password_file: database.password_file.clone(),
        listens: database.listen,
        requires_synchronous: database.synchronous == Synchronous::Require,
    })
}

impl Foundation {
    /// Opens the database and reads the master key.
    ///
    /// Migrates nothing: only the server and commands that apply a registry migrate. A command that
    /// reads must not change the schema under servers of another version.
    ///
    /// # Errors
    /// [`StartError::Storage`], [`StartError::Password`] and [`StartError::Master`].
    pub async fn lay(config: &Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let master = Arc::new(MasterKey::read(&config.keys.master_key_file)?);
        let codes = master.row_codes(&surroundings.entropy);
        let store = storage::open_at(&location(&config.database)?, codes).await?;
        Ok(Self { store, master, surroundings })
    }

    /// Migrates the schema, or checks that it needs no migration if `database.migrate` is false.
    ///
    /// # Errors
    /// [`StorageError`] if the schema cannot be migrated, or is not one that this version can use.
    pub async fn prepare_schema(&self, config: &Config) -> Result<(), StorageError> {
        if config.database.migrate { self.store.migrate().await } else { self.store.check_schema().await }
    }

    /// Returns the operations of operators on this database.
    #[must_use]
    pub fn administration(&self, config: &Config) -> Administration {
        let parts = self.parts();
        let store = parts.store.for_operators().unwrap_or_else(|| Arc::clone(&parts.store));
        Administration::new(Parts { store, ..parts }, config)
    }

    /// Returns the parts that a service is built from.
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

/// The registry of a running server.
#[derive(Debug)]
pub struct ServedRegistry(Administration);

impl Server {
    /// Starts a server: database, keys, registry, service, listeners, in this order.
    ///
    /// # Errors
    /// [`StartError`] names the failed part; no listener is open then.
    pub async fn start(config: &Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let public = listen("listen.public", config.listen.public).await?;
        let admin = listen("listen.admin", config.listen.admin).await?;
        Self::start_on(config, surroundings, [public, admin]).await
    }

    /// Starts a server on bound listeners: the public one and the admin one.
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

    /// Starts a server on bound listeners and an open database.
    ///
    /// # Errors
    /// [`StartError`], never `Listen`.
    pub async fn start_with(
        config: &Config,
        foundation: Foundation,
        [public, admin]: [TcpListener; 2],
    ) -> Result<Self, StartError> {
        let of_clients = (config.tls.client_certificates, config.tls.client_ca_file.as_deref());
        let tls = config.tls.files().map(|files| Tls::read(files, of_clients.0, of_clients.1)).transpose()?;
        let for_operators = config.tls.files().filter(|_| config.tls.admin);
        let for_operators = for_operators.map(|files| Tls::read(files, ClientCertificates::Off, None)).transpose()?;
        foundation.prepare_schema(config).await?;
        let administration = foundation.administration(config);
        administration.ensure_keys().await?;
        if let Some(path) = &config.registry {
            let applied = apply_registry(&administration, path).await;
            applied.map_err(|source| StartError::Registry { path: path.clone(), source })?;
        }
        let sts = Sts::start(config, foundation.parts()).await?;
        let notify_url = config.approvals.notify_url.as_ref();
        let notices =
            Notices::start(notify_url, &config.egress.proxies, &foundation.surroundings.clock, sts.metrics())?;
        let sts = Arc::new(sts.notifying(notices));
        let endpoint = config.telemetry.otlp_endpoint.as_ref();
        let traces = Traces::start(endpoint, &foundation.surroundings.entropy, sts.metrics())?;
        sts.snapshot().trusted.refresh().await;
        let (shutdown, ended) = watch::channel(false);
        let app = App::new(Arc::clone(&sts), config).tracing(traces.clone()).certified(tls.clone());
        let access = Arc::new(Access::new(&config.admin, &foundation.surroundings.key_access(config))?);
        access.refresh().await;
        let mut server = Self {
            public: address(&public, "listen.public", config.listen.public)?,
            admin: address(&admin, "listen.admin", config.listen.admin)?,
            sts: Arc::clone(&sts),
            store: Arc::clone(&foundation.store),
            access: Arc::clone(&access),
            app: app.clone(),
            administration: administration.clone(),
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
        let api = AdminApi::new(app.clone(), administration.clone(), Arc::clone(&access));
        let agents = Endpoints::Agents(Agents::new(app.clone()));
        let agents = Listener::new(&app, agents, tls.clone(), limits);
        let operators = Endpoints::Operators(http::admin(app.clone(), api));
        let limits = ListenerLimits { connections: config.limits.admin_connections(), ..limits };
        let operators = Listener::new(&app, operators, for_operators.clone(), limits);
        server.tasks.spawn(agents.serve(public, ended.clone()));
        server.tasks.spawn(operators.serve(admin, ended.clone()));
        for tls in tls.into_iter().chain(for_operators) {
            server.tasks.spawn(tls.follow(ended.clone()));
        }
        server.tasks.spawn(follow(Arc::clone(&sts), ended.clone()));
        server.tasks.spawn(watch_recorder(Arc::clone(&sts), ended.clone()));
        server.tasks.spawn(shorten_audit(administration.clone(), ended.clone()));
        server.tasks.spawn(maintain(sts, administration, Arc::clone(&foundation.store), access, ended));
        Ok(server)
    }

    /// Returns the address of the public listener.
    #[must_use]
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// Returns the address of the admin listener.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Returns a link to the console that signs in once with this credential. It replaces an earlier
    /// link.
    pub fn sign_in_link(&self, bearer: SecretString, entropy: &dyn Entropy) -> String {
        format!("http://{}{}", self.admin, http::sign_in_path(&self.access.offer(bearer, entropy)))
    }

    /// Returns the service.
    #[must_use]
    pub fn sts(&self) -> &Arc<Sts> {
        &self.sts
    }

    /// Resolves when a background task exits unexpectedly: a listener, the follower of the
    /// database, the maintenance or the watch on the recorder.
    pub async fn failed(&mut self) {
        if let Some(Err(error)) = self.tasks.join_next().await {
            tracing::error!(%error, "a background task failed");
        }
    }

    /// Returns the registry of the server, to apply its file again while the server is watched.
    #[must_use]
    pub fn registry(&self) -> ServedRegistry {
        ServedRegistry(self.administration.clone())
    }

    /// Fails readiness but keeps serving, so that load balancers can drain traffic.
    pub fn withdraw(&self) {
        self.app.withdraw();
    }

    /// Shuts down: accepts no more connections, waits for the requests in progress, then closes the
    /// database.
    pub async fn stop(mut self) {
        self.shutdown.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        self.sts.record_last_suppressed_refusals().await;
        self.traces.stop().await;
        self.store.close().await;
    }
}

impl ServedRegistry {
    /// Applies a registry file again. A file with faults changes nothing, and the server serves on.
    pub async fn reload(&self, path: &Path) {
        match apply_registry(&self.0, path).await {
            Ok(()) => {}
            Err(ApplyError::Faults(faults)) => {
                for fault in faults {
                    tracing::error!("the registry file is not applied: {fault}");
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, path = %path.display(), "failed to apply the registry file");
            }
        }
    }
}

/// Makes the database match the registry file, and logs every change. A file that is older than the
/// database changes nothing, and the server serves what the database has.
async fn apply_registry(administration: &Administration, path: &Path) -> Result<(), ApplyError> {
    match administration.apply(&RegistryFile::read(path), &By::default()).await {
        Ok(plan) => {
            for change in &plan.lines {
                tracing::info!(%change, "changed the registry as its file says");
            }
            tracing::info!(path = %path.display(), "applied the registry file");
            Ok(())
        }
        Err(ApplyError::Older { file, database }) => {
            let path = path.display();
            tracing::warn!(%path, file, database, "the registry file is older than the database: not applied");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn listen(option: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { option, address, source })
}

fn address(listener: &TcpListener, option: &'static str, asked: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|source| StartError::Listen { option, address: asked, source })
}

/// Reads the changes that other servers and commands commit, until shutdown.
async fn follow(sts: Arc<Sts>, mut ended: watch::Receiver<bool>) {
    tokio::select! {
        () = sts.follow(FOLLOW_EVERY) => {}
        () = announced(&mut ended) => {}
    }
}

/// Returns when the recorder exits, which stops the server. Without a recorder the server can issue
/// no token, and every answer would be an outage.
async fn watch_recorder(sts: Arc<Sts>, mut ended: watch::Receiver<bool>) {
    tokio::select! {
        () = sts.recorder_ended() => tracing::error!("the recorder has stopped"),
        () = announced(&mut ended) => {}
    }
}

/// Removes the events that are older than `audit.retain`, until shutdown. A task of its own, because
/// to verify many rows takes long.
async fn shorten_audit(administration: Administration, mut ended: watch::Receiver<bool>) {
    let shorten = async {
        loop {
            let pause = match administration.shorten_audit().await {
                Ok(0) => MAINTAIN_EVERY,
                Ok(rows) => {
                    tracing::info!(rows, "removed old events from the audit log");
                    MAINTAIN_EVERY
                }
                Err(error) => {
                    let is_fault = matches!(error, RetentionError::Fault(_));
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "failed to remove old events from the audit log");
                    if is_fault { SHORTEN_AFTER_FAULT } else { MAINTAIN_EVERY }
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = shorten => {}
        () = announced(&mut ended) => {}
    }
}

/// Maintains our signing keys, refreshes the keys of other issuers, and deletes expired rows.
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
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to maintain the signing keys");
        }
        if let Err(error) = store.purge().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to delete expired rows");
        }
        if let Err(error) = administration.summarize_audit().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to summarize the audit log for searches");
        }
        if let Err(error) = administration.expire_approvals().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to close expired approvals");
        }
        if let Err(error) = sts.inspect().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to compare the codes of the stored rows");
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
