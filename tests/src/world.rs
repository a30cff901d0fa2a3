//! A server without sockets: the endpoints of the public listener, driven request by request, and what stands behind it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use serde_json::Value;
use sts_jose::{Clock as _, ManualClock, SystemClock, SystemEntropy};
use sts_server::admin::By;
use sts_server::config::{self, Config, Overrides};
use sts_server::http::{Agents, App};
use sts_server::keys::MasterKey;
use sts_server::record::Event;
use sts_server::server::{Foundation, Surroundings};
use sts_server::service::{Parts, Sts};
use sts_server::storage::{self, AuditFilter, Store};
use tempfile::TempDir;

use crate::model::{Model, OUR_ISSUER};
use crate::{Answer, keyring, postgres};

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// One database with a registry in it, and the clock of all servers on it.
pub struct World {
    /// The servers' time, which stands still.
    pub clock: ManualClock,
    /// The servers' configuration.
    pub config: Config,
    /// The servers' master key.
    pub master: Arc<MasterKey>,
    /// A handle of its own on the servers' database.
    pub store: Arc<dyn Store>,
    _kept: (TempDir, Option<postgres::Database>),
}

/// A database in which nothing is yet, and the configuration of servers that start on it.
pub struct Site {
    /// The servers' configuration; its registry file holds the registry.
    pub config: Config,
    _kept: (TempDir, postgres::Database),
}

/// A server of a [`World`].
#[derive(Debug, Clone)]
pub struct Node {
    /// The service.
    pub sts: Arc<Sts>,
    agents: Agents,
}

impl World {
    /// A registry in a new `SQLite` database.
    pub async fn sqlite(model: &Model) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("sts.db").display());
        Self::make(model, &url, (directory, None)).await
    }

    /// A registry in a new `PostgreSQL` database.
    pub async fn postgres(model: &Model) -> Self {
        let database = postgres::database().await;
        let url = database.url().to_owned();
        Self::make(model, &url, (tempfile::tempdir().expect("a directory"), Some(database))).await
    }

    async fn make(model: &Model, url: &str, kept: (TempDir, Option<postgres::Database>)) -> Self {
        let config = configure(model, url, kept.0.path());
        keyring::write_master_key(&config.keys.master_key_file);
        let clock = ManualClock::new(SystemClock.now());
        let surroundings = Surroundings { clock: Arc::new(clock.clone()), entropy: Arc::new(SystemEntropy) };
        let foundation = Foundation::lay(&config, surroundings).await.expect("a database");
        keyring::install(&*foundation.store, &config).await;
        let administration = foundation.administration(&config);
        administration.apply(&model.to_file(&config), &By::default()).await.expect("a registry without faults");
        Self { clock, config, master: foundation.master, store: foundation.store, _kept: kept }
    }

    /// A server on the world's own handle of the database.
    pub async fn node(&self) -> Node {
        self.node_on(Arc::clone(&self.store)).await
    }

    /// A server with a handle of its own.
    pub async fn another_node(&self) -> Node {
        let store =
            storage::open(&self.config.database.url, 10, keyring::row_codes(&self.master)).await.expect("a database");
        self.node_on(store).await
    }

    /// A server on any store.
    pub async fn node_on(&self, store: Arc<dyn Store>) -> Node {
        let parts = Parts {
            store,
            master: Arc::clone(&self.master),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(SystemEntropy),
        };
        let sts = Arc::new(Sts::start(&self.config, parts).await.expect("a service"));
        Node::new(sts, &self.config)
    }

    /// The servers' time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The one audit event of a request.
    ///
    /// # Panics
    /// When there are several.
    pub async fn event(&self, correlation_id: &str) -> Option<Event> {
        let filter = AuditFilter { correlation_id: Some(correlation_id.to_owned()), ..AuditFilter::default() };
        let rows = self.store.audit(&filter, 10).await.expect("the audit log").rows;
        assert!(rows.len() <= 1, "{rows:?}");
        rows.first().map(|row| serde_json::from_str(&row.row.body).expect("an event"))
    }
}

impl Site {
    /// A new `PostgreSQL` database.
    ///
    /// # Panics
    /// When there is none, or its directory is not ours.
    pub async fn postgres(model: &Model) -> Self {
        let (database, directory) = (postgres::database().await, tempfile::tempdir().expect("a directory"));
        let mut config = configure(model, database.url(), directory.path());
        keyring::write_master_key(&config.keys.master_key_file);
        let registry = directory.path().join("registry.toml");
        std::fs::write(&registry, model.to_toml()).expect("the directory is ours");
        config.registry = Some(registry);
        Self { config, _kept: (directory, database) }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Node {
    /// The public edge of a service.
    #[must_use]
    pub fn new(sts: Arc<Sts>, config: &Config) -> Self {
        let agents = Agents::new(App::new(Arc::clone(&sts), config));
        Self { sts, agents }
    }

    /// The answer to a POST of a form.
    ///
    /// # Panics
    /// When there is none.
    pub async fn post(&self, path: &str, form: &[(String, String)], headers: &HeaderMap) -> Answer {
        let mut request = Request::post(path).body(Body::from(encode(form))).expect("a request");
        request.headers_mut().extend(headers.clone());
        request.headers_mut().insert(
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        self.answer(request).await
    }

    /// The answer to a GET.
    ///
    /// # Panics
    /// When there is none.
    pub async fn get(&self, path: &str) -> Answer {
        self.answer(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        let response = self.agents.answer(request, &peer).await;
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, MAX_ANSWER_BYTES).await.expect("a whole answer").to_vec();
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body, json }
    }
}

/// A form as it is sent.
#[must_use]
pub fn encode(form: &[(String, String)]) -> Vec<u8> {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish().into_bytes()
}

fn configure(model: &Model, database_url: &str, directory: &Path) -> Config {
    let given = [
        ("STS__ISSUER", OUR_ISSUER.to_owned()),
        ("STS__DATABASE__URL", database_url.to_owned()),
        ("STS__KEYS__MASTER_KEY_FILE", directory.join("master.key").display().to_string()),
        ("STS__LIMITS__CHAIN_DEPTH", model.chain_depth.to_string()),
        ("STS__LIMITS__MAX_TTL", format!("{}s", model.max_ttl)),
        // The requests come from a proxy that passes client certificates on.
        ("STS__LISTEN__TRUSTED_PROXIES", "127.0.0.1/32".to_owned()),
        ("STS__LISTEN__CLIENT_CERTIFICATE_HEADER", "Client-Cert".to_owned()),
        // The failures of a whole run are those of one source here.
        ("STS__LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "1000000".to_owned()),
        ("STS__LIMITS__REFUSALS_PER_MINUTE_PER_CLIENT", "1000000".to_owned()),
    ];
    let loaded = config::load(None, given.map(|(name, value)| (name.to_owned(), value)), &Overrides::default());
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.faults))
}
