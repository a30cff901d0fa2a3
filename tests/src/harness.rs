//! A server in this process, with all that a test needs around it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm as Variant, Argon2, Params, Version};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{PgPool, SqlitePool};
use sts_jose::{Clock as _, Entropy as _, KeySet, ManualClock, SystemClock, SystemEntropy, UnverifiedToken};
use sts_protocol::parameter::{GRANT_CLIENT_CREDENTIALS, GRANT_TOKEN_EXCHANGE};
use sts_server::config::{self, Config, Overrides};
use sts_server::policy::Row;
use sts_server::record::{Event, EventKind};
use sts_server::registry::RegistryFile;
use sts_server::server::{Foundation, Server, Surroundings};
use sts_server::storage::{self, AuditFilter, RevocationKind, RevocationRow, Store};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{Answer, Capture, Credentials, FormRequest, Registry, Seen, TestIssuer, TestKey, Wire, keyring, postgres};

/// An access token, as a token type.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

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

/// A running server with its issuers, its clock and its database. Dropping it searches log, audit and database for secrets.
pub struct Harness {
    /// The server's time, which stands still.
    pub clock: ManualClock,
    /// The issuer of the users.
    pub idp: TestIssuer,
    /// The issuer of the workloads.
    pub cluster: TestIssuer,
    /// The key of the agent `reporter`.
    pub reporter: Arc<TestKey>,
    /// The server.
    pub server: Server,
    /// A handle of its own on the server's database.
    pub store: Arc<dyn Store>,
    /// The server's configuration.
    pub config: Config,
    /// The tokens and secrets of this test.
    pub seen: Arc<Seen>,
    /// The registry that was applied last.
    pub registry: Registry,
    names: Names,
    wire: Wire,
    secrets: HashMap<String, String>,
    inspector: Inspector,
    log: Capture,
    directory: TempDir,
    postgres: Option<postgres::Database>,
}

/// Another server on the same database.
pub struct Replica {
    /// The server.
    pub server: Server,
    /// The way to it.
    pub wire: Wire,
}

/// Reads the database directly.
#[derive(Debug)]
enum Inspector {
    Sqlite(SqlitePool),
    Postgres(PgPool),
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
        let mut registry = standard(&names, &secrets, &reporter);
        for edit in self.edits {
            edit(&mut registry, &names);
        }
        let config = configure(&names, &url, self.options);
        keyring::write_master_key(&config.keys.master_key_file);
        write_registry(&config, &registry);

        let store = storage::open(&url, 4).await.expect("a database");
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

impl Harness {
    /// The standard registry on `SQLite`.
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// The way to the server.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// The server's issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The secret of an agent that has one.
    #[must_use]
    pub fn secret(&self, agent: &str) -> String {
        self.secrets.get(agent).unwrap_or_else(|| panic!("{agent} has no secret")).clone()
    }

    /// The claims of a user's token: `alice` of the tenant `acme`, for an hour.
    #[must_use]
    pub fn user_claims(&self) -> Value {
        let now = self.now();
        json!({
            "iss": self.idp.url(), "sub": "alice", "aud": "web-app", "org_id": "acme",
            "iat": now, "exp": now + 3600, "jti": random_name(),
        })
    }

    /// A user's token.
    #[must_use]
    pub fn user_token(&self) -> String {
        self.user_token_with(&json!({}))
    }

    /// A user's token with other claims: each member is set, and one that is null left out.
    #[must_use]
    pub fn user_token_with(&self, changes: &Value) -> String {
        self.idp.sign(&merge(self.user_claims(), changes))
    }

    /// The claims of a workload token of `runner`.
    #[must_use]
    pub fn workload_claims(&self) -> Value {
        let now = self.now();
        json!({
            "iss": self.cluster.url(), "sub": "system:serviceaccount:shop:runner", "aud": [self.issuer()],
            "iat": now, "exp": now + 3600, "jti": random_name(),
        })
    }

    /// A workload token of `runner` with other claims.
    #[must_use]
    pub fn workload_token_with(&self, changes: &Value) -> String {
        self.cluster.sign(&merge(self.workload_claims(), changes))
    }

    /// The claims of a client assertion of `reporter`.
    #[must_use]
    pub fn assertion_claims(&self) -> Value {
        let now = self.now();
        json!({
            "iss": "reporter", "sub": "reporter", "aud": self.issuer(), "iat": now, "exp": now + 60, "jti": random_name(),
        })
    }

    /// A client assertion of `reporter` with other claims.
    #[must_use]
    pub fn assertion_with(&self, changes: &Value) -> String {
        self.reporter.sign(&merge(self.assertion_claims(), changes))
    }

    /// The server's time, in seconds.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// Lets the server's time go by.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// How an agent of the standard registry authenticates.
    #[must_use]
    pub fn credentials(&self, agent: &str) -> Credentials {
        match agent {
            "reporter" => Credentials::Assertion(self.assertion_with(&json!({}))),
            agent => Credentials::Basic(agent.to_owned(), self.secret(agent)),
        }
    }

    /// A valid exchange: `coordinator` asks for a token for `inventory`, with a user's token.
    #[must_use]
    pub fn exchange(&self) -> FormRequest {
        self.exchange_by("coordinator", &self.user_token(), "inventory")
    }

    /// An exchange of `subject_token` by `agent` for a token for `audience`.
    #[must_use]
    pub fn exchange_by(&self, agent: &str, subject_token: &str, audience: &str) -> FormRequest {
        let request = FormRequest::new(&self.wire, "/oauth2/token")
            .set("grant_type", GRANT_TOKEN_EXCHANGE)
            .set("subject_token", subject_token)
            .set("subject_token_type", ACCESS_TOKEN)
            .set("audience", audience);
        if agent == "runner" {
            return request
                .set("actor_token", self.workload_token_with(&json!({})))
                .set("actor_token_type", "urn:ietf:params:oauth:token-type:jwt");
        }
        request.authenticated(self.credentials(agent))
    }

    /// A token of the first hop: of `coordinator`, for `inventory`.
    pub async fn first_hop(&self) -> String {
        self.exchange().send().await.token().to_owned()
    }

    /// A valid request of `coordinator` for a token of its own, for `inventory`.
    #[must_use]
    pub fn client_credentials(&self) -> FormRequest {
        FormRequest::new(&self.wire, "/oauth2/token")
            .set("grant_type", GRANT_CLIENT_CREDENTIALS)
            .set("audience", "inventory")
            .authenticated(self.credentials("coordinator"))
    }

    /// An introspection of a token by an agent.
    #[must_use]
    pub fn introspect(&self, agent: &str, token: &str) -> FormRequest {
        self.about("/oauth2/introspect", agent, token)
    }

    /// A revocation of a token by an agent.
    #[must_use]
    pub fn revoke(&self, agent: &str, token: &str) -> FormRequest {
        self.about("/oauth2/revoke", agent, token)
    }

    fn about(&self, path: &str, agent: &str, token: &str) -> FormRequest {
        FormRequest::new(&self.wire, path).set("token", token).authenticated(self.credentials(agent))
    }

    /// A GET of a path of the public listener.
    pub async fn get(&self, path: &str) -> Answer {
        let request = self.wire.http.get(format!("{}{path}", self.wire.base));
        Answer::read(request.send().await.expect("an answer")).await
    }

    /// A GET of a path of the admin listener.
    pub async fn get_admin(&self, path: &str) -> Answer {
        let request = self.wire.http.get(format!("http://{}{path}", self.server.admin()));
        Answer::read(request.send().await.expect("an answer")).await
    }

    /// The claims of a token of ours, verified with the published keys.
    pub async fn verify(&self, token: &str) -> Value {
        let keys = KeySet::parse(&self.get("/oauth2/jwks").await.body).expect("a key set");
        let token = UnverifiedToken::parse(token).expect("a token");
        let key = keys.find(token.header().kid.as_deref(), token.header().algorithm).expect("a published key");
        let token = token.verify(key).expect("a signature");
        Value::Object(token.claims().as_map().clone())
    }

    /// Another server on the same database.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn replica(&self) -> Replica {
        let listeners = [listen().await, listen().await];
        let base = format!("http://{}", listeners[0].local_addr().expect("an address"));
        let server = Server::start_on(&self.config, surroundings(&self.clock), listeners).await.expect("a server");
        Replica { server, wire: Wire { base, ..self.wire.clone() } }
    }

    /// Applies a changed registry, and returns when it holds.
    ///
    /// # Panics
    /// When it is at fault.
    pub async fn apply(&mut self, edit: impl FnOnce(&mut Registry, &Names)) {
        edit(&mut self.registry, &self.names);
        let path = write_registry(&self.config, &self.registry);
        let foundation = Foundation::lay(&self.config, surroundings(&self.clock)).await.expect("a database");
        foundation.apply(&self.config, &RegistryFile::read(&path)).await.expect("a registry without faults");
        foundation.store.close().await;
        self.refresh().await;
    }

    /// Lets the server see what changed in the database.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn refresh(&self) {
        self.server.sts().refresh().await.expect("a database");
    }

    /// The audit events of a request, oldest first.
    pub async fn events(&self, correlation_id: &str) -> Vec<Event> {
        let filter = AuditFilter { correlation_id: Some(correlation_id.to_owned()), ..AuditFilter::default() };
        let rows = self.store.audit(&filter, 1000).await.expect("the audit log");
        rows.iter().map(|row| serde_json::from_str(&row.row.body).expect("an event")).collect()
    }

    /// How many tokens were recorded.
    pub async fn token_count(&self) -> i64 {
        self.inspector.count("SELECT count(*) FROM tokens").await
    }

    /// How many audit events were recorded.
    pub async fn audit_count(&self) -> i64 {
        self.inspector.count("SELECT count(*) FROM audit_events").await
    }

    /// Drops a table under the server.
    ///
    /// # Panics
    /// When it is not there.
    pub async fn drop_table(&self, table: &str) {
        self.inspector.execute(format!("DROP TABLE {table}")).await;
    }

    /// Drops the whole database under the server; `PostgreSQL` only.
    pub fn drop_database(&mut self) {
        self.postgres = None;
    }

    /// Sends a request that a known agent is refused: the row's status, code and text, the common headers, no token recorded,
    /// and exactly one event with this reason.
    ///
    /// # Panics
    /// When anything of that is otherwise.
    pub async fn assert_refused(&self, label: &str, request: FormRequest, row: Row, reason: &str) -> Answer {
        let correlation_id = request.correlation_id();
        let answer = self.assert_refused_with(label, request, row).await;
        let events = self.events(&correlation_id).await;
        let reasons: Vec<_> = events.iter().map(|event| event.reason.as_deref().unwrap_or_default()).collect();
        assert_eq!(reasons, [reason], "{label}: {events:?}");
        let kind = events[0].event;
        assert!(matches!(kind, EventKind::TokenRefused | EventKind::RevocationRefused), "{label}: {kind:?}");
        assert_eq!((&events[0].jti, events[0].exp), (&None, None), "{label}");
        answer
    }

    /// As [`Self::assert_refused`], of a request whose agent is not known, or of another endpoint than that for tokens: there is
    /// no event.
    ///
    /// # Panics
    /// When anything is otherwise.
    pub async fn assert_refused_unrecorded(&self, label: &str, request: FormRequest, row: Row) -> Answer {
        let before = self.audit_count().await;
        let answer = self.assert_refused_with(label, request, row).await;
        assert_eq!(self.audit_count().await, before, "{label}: something was recorded");
        answer
    }

    /// Checks each of these requests as [`Self::assert_refused`] does, and that `twin`, which is valid, succeeds before and after.
    ///
    /// # Panics
    /// When anything is otherwise.
    pub async fn assert_each_refused(
        &self,
        twin: impl Fn() -> FormRequest,
        cases: impl IntoIterator<Item = (impl AsRef<str>, FormRequest, Row, &str)>,
    ) {
        twin().send().await.token();
        for (label, request, row, reason) in cases {
            self.assert_refused(label.as_ref(), request, row, reason).await;
        }
        twin().send().await.token();
    }

    /// As [`Self::assert_each_refused`], of requests whose agent is not known.
    ///
    /// # Panics
    /// When anything is otherwise.
    pub async fn assert_each_refused_unrecorded(
        &self,
        twin: impl Fn() -> FormRequest,
        cases: impl IntoIterator<Item = (impl AsRef<str>, FormRequest, Row)>,
    ) {
        twin().send().await.token();
        for (label, request, row) in cases {
            self.assert_refused_unrecorded(label.as_ref(), request, row).await;
        }
        twin().send().await.token();
    }

    /// A token that the server's own key signed, whatever it says.
    ///
    /// # Panics
    /// When there is no key.
    #[must_use]
    pub fn sign_as_ours(&self, typ: Option<&str>, claims: &Value) -> String {
        let snapshot = self.server.sts().snapshot();
        let key = snapshot.ring.active(sts_jose::Algorithm::Es256).expect("an active key");
        key.sign(typ, claims.to_string().as_bytes()).expect("a signature")
    }

    /// Commits a revocation as of now, beside the server, which sees it when it follows the database or records.
    ///
    /// # Panics
    /// When the database does not take it.
    pub async fn block(&self, kind: RevocationKind, issuer: Option<&str>, value: &str) {
        let at = self.clock.now();
        let expires_at = at.checked_add(jiff::SignedDuration::from_hours(2)).expect("a moment");
        let (issuer, value) = (issuer.map(str::to_owned), value.to_owned());
        let row = RevocationRow { kind, issuer, value, at, expires_at, version: 0 };
        self.store.revoke(&row, &[]).await.expect("a database");
    }

    async fn assert_refused_with(&self, label: &str, request: FormRequest, row: Row) -> Answer {
        let correlation_id = request.correlation_id();
        let before = self.token_count().await;
        let answer = request.send().await;
        refuses(label, &answer, row);
        if !correlation_id.is_empty() {
            assert_eq!(answer.header("x-correlation-id"), correlation_id, "{label}");
        }
        assert_eq!(self.token_count().await, before, "{label}: a token was recorded");
        answer
    }

    /// What the server and all others logged since the start.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Searches log and database for the tokens and secrets of this test.
    ///
    /// # Panics
    /// When it finds one.
    fn assert_nothing_leaked(&self) {
        self.seen.assert_not_in(&self.log.text(), "the log");
        for file in std::fs::read_dir(self.directory.path()).expect("the directory").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("sts.db") {
                let bytes = std::fs::read(file.path()).unwrap_or_default();
                self.seen.assert_not_in(&String::from_utf8_lossy(&bytes), &name);
            }
        }
        if self.postgres.is_some() {
            let url = self.config.database.url.clone();
            let bodies = std::thread::spawn(move || audit_bodies(&url)).join().expect("the audit log");
            self.seen.assert_not_in(&bodies, "the audit log");
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_nothing_leaked();
        }
    }
}

impl Inspector {
    fn open(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            Self::Sqlite(SqlitePool::connect_lazy(url).expect("a database"))
        } else {
            Self::Postgres(PgPool::connect_lazy(url).expect("a database"))
        }
    }

    async fn count(&self, statement: &'static str) -> i64 {
        let count = match self {
            Self::Sqlite(pool) => sqlx::query_scalar(statement).fetch_one(pool).await,
            Self::Postgres(pool) => sqlx::query_scalar(statement).fetch_one(pool).await,
        };
        count.expect("a count")
    }

    async fn execute(&self, statement: String) {
        let statement = sqlx::AssertSqlSafe(statement);
        match self {
            Self::Sqlite(pool) => sqlx::raw_sql(statement).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::raw_sql(statement).execute(pool).await.map(drop),
        }
        .expect("a statement");
    }
}

/// Checks the answer to a request that was refused: status, code, fixed text, the headers that all answers bear.
///
/// # Panics
/// When anything is otherwise.
pub fn refuses(label: &str, answer: &Answer, row: Row) {
    let (status, code) = match row {
        Row::Request | Row::Token | Row::TokenSize => (400, "invalid_request"),
        Row::Target => (400, "invalid_target"),
        Row::Scope => (400, "invalid_scope"),
        Row::Grant => (400, "unauthorized_client"),
        Row::UnsupportedGrant => (400, "unsupported_grant_type"),
        Row::Client => (401, "invalid_client"),
        Row::TooMany => (429, "slow_down"),
        Row::Unavailable => (503, "temporarily_unavailable"),
    };
    assert_eq!((answer.status, answer.error()), (status, code), "{label}: {}", answer.text());
    let description = answer.json["error_description"].as_str().unwrap_or_default();
    assert_eq!(description, sts_server::http::description(row), "{label}");
    assert_eq!(answer.json.as_object().map(serde_json::Map::len), Some(2), "{label}: {}", answer.text());
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("pragma", "no-cache"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), value, "{label}: {name}");
    }
    assert!(!answer.header("x-correlation-id").is_empty(), "{label}");
    assert_eq!(answer.headers.contains_key("retry-after"), status == 429 || status == 503, "{label}: retry-after");
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

fn surroundings(clock: &ManualClock) -> Surroundings {
    Surroundings { clock: Arc::new(clock.clone()), entropy: Arc::new(SystemEntropy), metrics: None }
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

fn write_registry(config: &Config, registry: &Registry) -> PathBuf {
    let path = config.registry.clone().expect("a registry file");
    std::fs::write(&path, registry.to_toml()).expect("the directory is ours");
    path
}

fn secrets(seen: &Seen) -> HashMap<String, String> {
    let agents = ["coordinator", "inventory", "warehouse", "auditor"];
    let secrets = agents.map(|agent| (agent.to_owned(), format!("{agent}+secret/{}&=:%", random_name())));
    for (_, secret) in &secrets {
        seen.remember(secret);
    }
    secrets.into_iter().collect()
}

fn standard(names: &Names, secrets: &HashMap<String, String>, reporter: &TestKey) -> Registry {
    let sha256 = |agent: &str| sha256_hex(&secrets[agent]);
    let inline = |jwks: Value| toml::Value::try_from(jwks).expect("TOML").to_string();
    Registry::parse(&format!(
        r#"
[[issuers]]
issuer = "{idp}"
tenant_claim = "org_id"

[[issuers]]
issuer = "{cluster}"
jwks = {cluster_jwks}

[[agents]]
id = "coordinator"
accepts = ["web-app"]
forward_tenants = ["acme", "globex"]
auth = {{ client_secret_sha256 = "{coordinator}" }}

[[agents]]
id = "inventory"
audience = ["inventory-agent", "https://inventory.shop.example/"]
auth = {{ client_secret_sha256 = "{inventory}" }}

[[agents]]
id = "warehouse"
auth = {{ client_secret_sha256 = "{warehouse}" }}

[[agents]]
id = "shelf"

[[agents]]
id = "reporter"
accepts = ["web-app"]
auth = {{ jwks = {reporter} }}

[[agents]]
id = "runner"
accepts = ["web-app"]
default_target = "inventory"
auth = {{ workload = [{{ issuer = "{cluster}", subject = "system:serviceaccount:shop:runner" }}] }}

[[agents]]
id = "auditor"
accepts = ["web-app"]
auth = {{ client_secret_hash = "{auditor}" }}

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read", "stock:write"]
service_account = true

[[delegations]]
actor = "inventory"
target = "warehouse"
scopes = ["stock:read", {{ scope = "bin:read", from = ["stock:read"] }}]

[[delegations]]
actor = "warehouse"
target = "shelf"
scopes = ["bin:read"]

[[delegations]]
actor = "reporter"
target = "inventory"
scopes = ["stock:read"]

[[delegations]]
actor = "runner"
target = "inventory"
scopes = ["stock:read"]

[[delegations]]
actor = "auditor"
target = "inventory"
scopes = ["stock:read"]
"#,
        idp = names.idp.url(),
        cluster = names.cluster.url(),
        cluster_jwks = inline(names.cluster.jwks()),
        reporter = inline(json!({ "keys": [reporter.jwk()] })),
        coordinator = sha256("coordinator"),
        inventory = sha256("inventory"),
        warehouse = sha256("warehouse"),
        auditor = argon2_hash(&secrets["auditor"]),
    ))
}

/// The SHA-256 of a secret as the registry holds it.
fn sha256_hex(secret: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes text");
        hex
    })
}

/// A cheap hash: what it costs is no matter of these tests.
fn argon2_hash(secret: &str) -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("parameters");
    let argon2 = Argon2::new(Variant::Argon2id, Version::V0x13, params);
    argon2.hash_password(secret.as_bytes()).expect("a hash").to_string()
}

/// The claims, with each member of `changes` in place of what they say; a member that is null is left out.
fn merge(mut claims: Value, changes: &Value) -> Value {
    let members = claims.as_object_mut().expect("claims are an object");
    for (name, value) in changes.as_object().expect("changes are an object") {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// A name that nobody else has.
fn random_name() -> String {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    uuid::Uuid::from_bytes(bytes).simple().to_string()
}

fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).expect("it was one before")
}

/// All audit events of a `PostgreSQL` database, as one text; on a runtime of its own, because a drop cannot await.
fn audit_bodies(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let pool = PgPool::connect(url).await.expect("a database");
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body FROM audit_events").fetch_all(&pool).await.expect("the audit log");
        pool.close().await;
        bodies.join("\n")
    })
}
