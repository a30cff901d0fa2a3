//! The users' IdP: an issuer with metadata and one key. It knows nothing of agents.

use axum::routing::get;
use axum::{Json, Router};
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
    key: SigningKey,
    _process: Process,
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
    /// Starts it.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let key = SigningKey::generate(Algorithm::Es256)?;
        let metadata = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") });
        let keys = json!({ "keys": [key.public_jwk()] });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(|| answer(metadata)))
            .route("/jwks", get(|| answer(keys)));
        Ok(Self { issuer, key, _process: process::serve(listener, router) })
    }

    /// Logs a user in: each token is a new one.
    pub fn log_in(&self, user: User) -> anyhow::Result<UserToken> {
        let now = SystemClock.now().as_second();
        let jti = sts_client::CorrelationId::random(&SystemEntropy).to_string();
        let claims = json!({
            "iss": self.issuer,
            "sub": user.name,
            "aud": APP,
            "scope": user.scope,
            "org_id": user.tenant,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": jti,
        });
        let token = self.key.sign(Some("JWT"), &serde_json::to_vec(&claims)?)?;
        Ok(UserToken { token, jti })
    }
}

async fn answer(document: Value) -> Json<Value> {
    Json(document)
}
