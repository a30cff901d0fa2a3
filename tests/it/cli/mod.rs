//! The commands, as an operator types them.

mod admin;
mod apply;
mod approvals;
mod audit;
mod backup;
mod check;
mod configuration;
mod dev;
mod explain;
mod health;
mod keys;
mod messages;
mod reading;
mod retention;
mod revoke;
mod serve;
mod token;
mod unused;
mod via;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sts_jose::{Algorithm, Clock as _, SystemClock};
use sts_tests::TestKey;

use crate::process::{Folder, Serving};

const IDP: &str = "https://login.example.com";
/// The secret of both agents; the registry holds its SHA-256.
pub const SECRET: &str = "rJ0qv1Vd3J2cXyQm8m3a5nVf0y7pZ5t9oQwq4o1yG8E";
const REGISTRY: &str = r#"
[[issuers]]
issuer = "https://login.example.com"
jwks_file = "idp.json"
tenant_claim = "org_id"

[[agents]]
id = "coordinator"
accepts = ["web-app"]
[agents.auth]
client_secret_sha256 = "{sha256}"

[[agents]]
id = "inventory"
[agents.auth]
client_secret_sha256 = "{sha256}"

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read"]
"#;

/// What a change may take until a running server follows it.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(2);

/// A folder with two agents, and an issuer of users.
pub struct Shop {
    pub folder: Folder,
    idp: Arc<TestKey>,
    pub http: reqwest::Client,
}

impl Shop {
    pub fn open() -> Self {
        Self::on_database("sqlite://sts.db")
    }

    /// A shop whose server keeps its data there.
    pub fn on_database(url: &str) -> Self {
        Self::with(url, "")
    }

    /// As [`Self::on_database`], with more keys of its delegation.
    pub fn with(url: &str, delegation: &str) -> Self {
        let idp = TestKey::new(Algorithm::Es256);
        let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SECRET.as_bytes());
        let sha256 = sts_jose::hex(sha256.as_ref());
        let registry = format!("{}{delegation}", REGISTRY.replace("{sha256}", &sha256));
        let folder = Folder::on_database(url, &registry);
        folder.write("idp.json", &json!({ "keys": [idp.jwk()] }).to_string());
        Self { folder, idp, http: reqwest::Client::new() }
    }

    /// A shop whose server runs.
    pub async fn serving() -> (Self, Serving) {
        let shop = Self::open();
        let server = shop.folder.serve().await;
        (shop, server)
    }

    /// A token of the user alice, of the tenant acme.
    pub fn user_token(&self) -> String {
        self.token_of("alice", "web-app")
    }

    /// A token of a user of the tenant acme who has just signed in, for this audience.
    pub fn token_of(&self, user: &str, audience: &str) -> String {
        let now = SystemClock.now().as_second();
        self.idp.sign(&json!({
            "iss": IDP, "sub": user, "aud": audience, "org_id": "acme", "iat": now, "exp": now + 3600, "auth_time": now,
        }))
    }

    /// The coordinator asks for a token for the inventory; the answer, of whatever status.
    async fn exchange(&self, user_token: &str) -> Value {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", user_token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("audience", "inventory"),
        ];
        self.post("token", "coordinator", &form).await
    }

    /// A token of the coordinator, for the inventory.
    pub async fn token(&self) -> String {
        let answer = self.exchange(&self.user_token()).await;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Whether the inventory is told that a token is active.
    async fn is_active(&self, token: &str) -> bool {
        let answer = self.post("introspect", "inventory", &[("token", token)]).await;
        answer["active"].as_bool().unwrap_or_else(|| panic!("{answer}"))
    }

    async fn post(&self, endpoint: &str, agent: &str, form: &[(&str, &str)]) -> Value {
        let request = self.http.post(format!("{}/oauth2/{endpoint}", self.folder.issuer()));
        let request =
            request.header("x-correlation-id", "the-request-of-alice").basic_auth(agent, Some(SECRET)).form(form);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }
}

/// Asks again and again until it is so. A running server follows the database within about a second.
async fn follows<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let begun = now();
    while !is_so().await {
        assert!(begun.elapsed() < FOLLOWS_WITHIN, "{what}: not within {FOLLOWS_WITHIN:?}");
        // The task that reads the log of a server runs on this thread.
        tokio::task::yield_now().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, whose clock is the real one")]
fn now() -> Instant {
    Instant::now()
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let token = sts_jose::UnverifiedToken::parse(token).expect("a JWT");
    Value::Object(token.claims().as_map().clone())
}
