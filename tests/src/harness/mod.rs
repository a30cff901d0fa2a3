//! A server in this process, with all that a test needs around it.
//!
//! Here are the requests and the tokens that it is driven with; how it starts is in `setup`, with what registry in `standard`, what
//! it recorded in `inspection`, and how it refuses in `assertions`.

mod assertions;
mod inspection;
mod proofs;
mod setup;
mod standard;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sts_jose::{Clock as _, Entropy as _, KeySet, ManualClock, SystemEntropy, UnverifiedToken};
use sts_protocol::parameter::{GRANT_CLIENT_CREDENTIALS, GRANT_TOKEN_EXCHANGE};
use sts_server::admin::{Administration, By};
use sts_server::config::Config;
use sts_server::registry::RegistryFile;
use sts_server::server::{Foundation, Server};
use sts_server::storage::Store;
use tempfile::TempDir;

use self::inspection::Inspector;
use self::setup::{listen, surroundings, write_registry};
use crate::{
    AdminRequest, Answer, Capture, Credentials, FormRequest, Registry, Seen, TestIssuer, TestKey, Wire, postgres,
};

pub use self::assertions::refuses;
pub use self::proofs::ProofKey;
pub use self::setup::{Names, Setup};

/// An access token, as a token type.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

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

impl Replica {
    /// A request to this server's admin API, of nobody yet; the path is below `/admin/v1`.
    #[must_use]
    pub fn admin(&self, method: &str, path: &str) -> AdminRequest {
        AdminRequest::new(&self.wire.http, method, format!("http://{}/admin/v1{path}", self.server.admin()))
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

    /// A file of the harness's own directory.
    #[must_use]
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
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
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// A GET of a path of the admin listener.
    pub async fn get_admin(&self, path: &str) -> Answer {
        let request = self.wire.http.get(format!("http://{}{path}", self.server.admin()));
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// A request to the admin API, of nobody yet; the path is below `/admin/v1`.
    #[must_use]
    pub fn admin(&self, method: &str, path: &str) -> AdminRequest {
        AdminRequest::new(&self.wire.http, method, format!("http://{}/admin/v1{path}", self.server.admin()))
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
        self.replica_at(&self.clock).await
    }

    /// Another server on the same database, with a clock of its own.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn replica_at(&self, clock: &ManualClock) -> Replica {
        let listeners = [listen().await, listen().await];
        let base = format!("http://{}", listeners[0].local_addr().expect("an address"));
        let server = Server::start_on(&self.config, surroundings(clock), listeners).await.expect("a server");
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
        let administration = foundation.administration(&self.config);
        administration.apply(&RegistryFile::read(&path), &By::default()).await.expect("a registry without faults");
        foundation.store.close().await;
        self.refresh().await;
    }

    /// What operators do, beside the server.
    ///
    /// # Panics
    /// When there is no database.
    pub async fn administration(&self) -> Administration {
        let foundation = Foundation::lay(&self.config, surroundings(&self.clock)).await.expect("a database");
        foundation.administration(&self.config)
    }

    /// Lets the server see what changed in the database.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn refresh(&self) {
        self.server.sts().refresh().await.expect("a database");
    }
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
