//! The users' IdP: an issuer with metadata and one key. It knows nothing of agents. Everybody may log in as anybody: it is a stage prop.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};
use sts_jose::{Algorithm, Clock as _, SigningKey, SystemClock, SystemEntropy};
use tokio::net::TcpListener;

use crate::process::{self, Process};

/// What the users' tokens are addressed to: the app that they log in to.
pub const APP: &str = "shop-app";
/// How long a user's token lives, in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// A running IdP.
pub struct Idp {
    /// Its issuer identifier.
    pub issuer: String,
    key: Arc<SigningKey>,
    _process: Process,
}

/// What a login takes.
#[derive(Clone)]
struct Login {
    issuer: String,
    key: Arc<SigningKey>,
}

/// A user, and what the user may do.
#[derive(Debug, Clone, Copy)]
pub struct User {
    /// `sub`.
    pub name: &'static str,
    /// `org_id`.
    pub tenant: &'static str,
    /// `scope`.
    pub scope: &'static str,
}

/// She may see the stock. Her token also opens doors that are no agent's concern.
pub const ALICE: User = User { name: "alice", tenant: "acme", scope: "payroll:read profile stock:read" };
/// He may see what there is to buy, and not how much of it is left.
pub const BOB: User = User { name: "bob", tenant: "acme", scope: "catalogue:read profile" };

/// A user's token, and the name by which it can be revoked.
#[derive(Clone)]
pub struct UserToken {
    /// The token.
    pub token: String,
    /// Its `jti`.
    pub jti: String,
}

impl Idp {
    /// Starts it on this machine.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        Self::start_as(listener, issuer)
    }

    /// Starts it under that issuer identifier.
    pub fn start_as(listener: TcpListener, issuer: String) -> anyhow::Result<Self> {
        let key = Arc::new(SigningKey::generate(Algorithm::Es256)?);
        let metadata = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") });
        let keys = json!({ "keys": [key.public_jwk()] });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(|| answer(metadata)))
            .route("/jwks", get(|| answer(keys)))
            .route("/login/{user}", post(login))
            .with_state(Login { issuer: issuer.clone(), key: Arc::clone(&key) });
        Ok(Self { issuer, key, _process: process::serve(listener, router) })
    }

    /// Logs a user in: each token is a new one.
    pub fn log_in(&self, user: User) -> anyhow::Result<UserToken> {
        self.sign_in(user, APP)
    }

    /// Signs a user in to another party, such as the STS itself, where users decide on approvals.
    pub fn sign_in(&self, user: User, audience: &str) -> anyhow::Result<UserToken> {
        issue(&self.issuer, &self.key, user, audience)
    }
}

/// The users, by their names.
fn user(name: &str) -> Option<User> {
    [ALICE, BOB].into_iter().find(|user| user.name == name)
}

fn issue(issuer: &str, key: &SigningKey, user: User, audience: &str) -> anyhow::Result<UserToken> {
    let now = SystemClock.now().as_second();
    let jti = sts_client::CorrelationId::random(&SystemEntropy).to_string();
    let claims = json!({
        "iss": issuer,
        "sub": user.name,
        "aud": audience,
        "scope": user.scope,
        "org_id": user.tenant,
        "auth_time": now,
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "jti": jti,
    });
    let token = key.sign(Some("JWT"), &serde_json::to_vec(&claims)?)?;
    Ok(UserToken { token, jti })
}

/// A new token, as it is.
async fn login(State(Login { issuer, key }): State<Login>, Path(name): Path<String>) -> Result<String, StatusCode> {
    let user = user(&name).ok_or(StatusCode::NOT_FOUND)?;
    issue(&issuer, &key, user, APP).map(|user| user.token).or(Err(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn answer(document: Value) -> Json<Value> {
    Json(document)
}
