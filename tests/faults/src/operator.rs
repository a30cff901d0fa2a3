//! An operator's requests to the admin API of a server.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use sts_tests::Operators;

use crate::shop::random;
use crate::trial::now;

/// The longest that a request may take.
const TIMEOUT: Duration = Duration::from_secs(40);

/// An operator with a connection of its own to every server. The servers need the option [`Operators::option`].
#[derive(Debug, Clone)]
pub struct Operator {
    http: reqwest::Client,
}

impl Operator {
    /// Makes an operator.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { http: reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()? })
    }

    /// Revokes a token that was never issued: the kill switch without a victim. Returns the time that the answer took.
    ///
    /// # Errors
    /// When the server refuses or fails.
    pub async fn revoke_unknown(&self, admin: &str) -> anyhow::Result<Duration> {
        self.revoke(admin, &json!({ "jti": format!("unknown-{:x}", random()), "unknown": true })).await
    }

    /// Revokes all tokens of a user, of now and later. Returns the time that the answer took.
    ///
    /// # Errors
    /// When the server refuses or fails.
    pub async fn hold_user(&self, admin: &str, user: &str) -> anyhow::Result<Duration> {
        self.revoke(admin, &json!({ "sub": user, "hold": true, "unknown": true })).await
    }

    async fn revoke(&self, admin: &str, named: &Value) -> anyhow::Result<Duration> {
        let begun = now();
        let request = self.http.post(format!("{admin}/admin/v1/revocations")).bearer_auth(token()).json(named);
        let answer = request.send().await?;
        let status = answer.status();
        anyhow::ensure!(status.is_success(), "the kill switch answers {status}: {}", answer.text().await?);
        Ok(begun.elapsed())
    }

    /// Disables an agent.
    ///
    /// # Errors
    /// When the server refuses or fails.
    pub async fn disable(&self, admin: &str, agent: &str) -> anyhow::Result<()> {
        self.put(admin, agent, json!(true)).await
    }

    /// Enables an agent.
    ///
    /// # Errors
    /// When the server refuses or fails.
    pub async fn enable(&self, admin: &str, agent: &str) -> anyhow::Result<()> {
        self.put(admin, agent, json!(false)).await
    }

    async fn put(&self, admin: &str, agent: &str, disabled: Value) -> anyhow::Result<()> {
        let url = format!("{admin}/admin/v1/agents/{agent}");
        let got = self.http.get(&url).bearer_auth(token()).send().await?.error_for_status()?;
        let etag = got.headers().get("etag").context("an ETag")?.clone();
        let mut body: Value = got.json().await?;
        body["disabled"] = disabled;
        let request = self.http.put(&url).bearer_auth(token()).header("if-match", etag).json(&body);
        request.send().await?.error_for_status()?;
        Ok(())
    }
}

fn token() -> &'static str {
    Operators::all().token("operator")
}
