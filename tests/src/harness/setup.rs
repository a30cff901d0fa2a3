//! How a server starts: what a test wants otherwise, the names it gets, the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sts_jose::{Clock as _, ManualClock, SystemClock, SystemEntropy};
use sts_server::config::{self, Config, Overrides};
use sts_server::keys::MasterKey;
use sts_server::server::{Server, Surroundings};
use sts_server::storage;
use tokio::net::TcpListener;

use super::Harness;
use super::inspection::Inspector;
use super::standard::{secrets, standard};
use crate::{Capture, Operators, Registry, Seen, TestIssuer, TestKey, Wire, keyring, postgres};

/// What a test wants otherwise before the server starts.
#[derive(Default)]
pub struct Setup {
    postgres: bool,
    options: Vec<(String, String)>,
    edits: Vec<Edit>,
}

type Edit = Box<dyn FnOnce(&mut Registry, &Names) + Send>;

/// The names of a harness that are known only when it starts.
#[derive(Debug, Clone)]
pub struct Names {
    /// The issuer of the users.
    pub idp: TestIssuer,
    /// The issuer of the workloads.
    pub cluster: TestIssuer,
    /// The server's own issuer.
    pub sts: String,
    /// The directory of the registry file.
    pub directory: PathBuf,
}

impl Setup {
    /// With `PostgreSQL` in place of `SQLite`.
    #[must_use]
    pub fn postgres(mut self) -> Self {
        self.postgres = true;
        self
    }

    /// With an option, named as its environment variable without prefix: `LIMITS__CHAIN_DEPTH`.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((format!("STS__{name}"), value.to_owned()));
        self
    }

    /// With the [`Operators`].
    #[must_use]
    pub fn operators(self) -> Self {
        self.option("ADMIN__TOKENS", &Operators::all().option)
    }

    /// With a change of the standard registry.
    #[must_use]
    pub fn registry(self, edit: impl FnOnce(&mut Registry) + Send + 'static) -> Self {
        self.registry_with(|registry, _names| edit(registry))
    }

    /// With entries added to the standard registry, written as in a file.
    #[must_use]
    pub fn entries(self, text: &'static str) -> Self {
        self.registry(|registry| registry.add(text))
    }

    /// With a change of the standard registry that needs names.
    #[must_use]
    pub fn registry_with(mut self, edit: impl FnOnce(&mut Registry, &Names) + Send + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(self) -> Harness {
        let log = Capture::begin();
        let directory = tempfile::tempdir().expect("a directory");
        let listeners = [listen().await, listen().await];
        let base = format!("http://{}", listeners[0].local_addr().expect("an address"));
        let postgres = if self.postgres { Some(postgres::database().await) } else { None };
        let sqlite = format!("sqlite://{}", directory.path().join("sts.db").display());
        let url = postgres.as_ref().map_or(sqlite, |database| database.url().to_owned());

        let seen = Arc::new(Seen::default());
        let (idp, cluster) = (TestIssuer::start().await, TestIssuer::start().await);
        let names = Names { idp, cluster, sts: base.clone(), directory: directory.path().to_owned() };
        let reporter = TestKey::new(sts_jose::Algorithm::Es256);
        let secrets = secrets(&seen);
        Operators::all().tokens().for_each(|token| seen.remember(token));
        let mut registry = standard(&names, &secrets, &reporter);
        for edit in self.edits {
            edit(&mut registry, &names);
        }
        let config = configure(&names, &url, self.options);
        keyring::write_master_key(&config.keys.master_key_file);
        write_registry(&config, &registry);

        let master = MasterKey::read(&config.keys.master_key_file).expect("a master key");
        let codes = keyring::row_codes(&master);
        let store = storage::open(&url, 4, codes).await.expect("a database");
        store.migrate().await.expect("an empty database");
        keyring::install(&*store, &config).await;
        let clock = ManualClock::new(whole_second(SystemClock.now()));
        let server = Server::start_on(&config, surroundings(&clock), listeners).await.expect("a server");
        let inspector = Inspector::open(&url);
        let Names { idp, cluster, .. } = names.clone();
        let wire = Wire { base, http: http_client(), seen: Arc::clone(&seen) };
        Harness {
            clock,
            idp,
            cluster,
            reporter,
            server,
            store,
            config,
            seen,
            registry,
            names,
            wire,
            secrets,
            inspector,
            log,
            directory,
            postgres,
        }
    }
}

pub(super) async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

pub(super) fn surroundings(clock: &ManualClock) -> Surroundings {
    Surroundings { clock: Arc::new(clock.clone()), entropy: Arc::new(SystemEntropy) }
}

fn http_client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(30)).build().expect("a client")
}

fn configure(names: &Names, database_url: &str, options: Vec<(String, String)>) -> Config {
    let path = |name: &str| names.directory.join(name).display().to_string();
    let given = [
        ("STS__ISSUER", names.sts.clone()),
        ("STS__REGISTRY", path("registry.toml")),
        ("STS__DATABASE__URL", database_url.to_owned()),
        ("STS__KEYS__MASTER_KEY_FILE", path("master.key")),
    ];
    let given = given.map(|(name, value)| (name.to_owned(), value));
    let loaded = config::load(None, given.into_iter().chain(options), &Overrides::default());
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.faults))
}

pub(super) fn write_registry(config: &Config, registry: &Registry) -> PathBuf {
    let path = config.registry.clone().expect("a registry file");
    std::fs::write(&path, registry.to_toml()).expect("the directory is ours");
    path
}

fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).expect("it was one before")
}
