//! What clients received: every token whose answer was read to its end, and every value that counts once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::Value;
use sts_jose::UnverifiedToken;
use sts_server::record::Event;
use sts_tests::invariants::Issued;
use tokio::sync::Notify;

/// How many lost tokens are shown.
const SHOWN: usize = 5;

/// The ledger of all clients of a scenario.
#[derive(Debug, Default)]
pub struct Ledger {
    received: Mutex<HashMap<String, Received>>,
    spent: Mutex<HashSet<String>>,
    grown: Notify,
}

/// What a token says, as far as its audit event says it too.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    sub: Option<String>,
    client_id: Option<String>,
    audience: Option<String>,
    scope: Option<String>,
    tenant: Option<String>,
    exp: Option<i64>,
    /// The actors, the current one first.
    actors: Vec<String>,
}

impl Ledger {
    /// Enters a token.
    ///
    /// # Errors
    /// When it is none, or its name was given before.
    pub fn enter(&self, token: &str) -> anyhow::Result<()> {
        let token = UnverifiedToken::parse(token).context("a token that cannot be read")?;
        let claims = Value::Object(token.claims().as_map().clone());
        let jti = claims["jti"].as_str().context("a token without a name")?.to_owned();
        let before = lock(&self.received).insert(jti.clone(), Received::of(&claims));
        anyhow::ensure!(before.is_none(), "I1: the name {jti} was given twice");
        self.grown.notify_waiters();
        Ok(())
    }

    /// Enters a value that counts once, and was accepted.
    ///
    /// # Errors
    /// When it had been accepted before (I7).
    pub fn spend(&self, value: &str) -> anyhow::Result<()> {
        anyhow::ensure!(lock(&self.spent).insert(value.to_owned()), "I7: {value} was accepted twice");
        Ok(())
    }

    /// How many tokens were received.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.received).len()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of all of them.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.received).keys().cloned().collect()
    }

    /// Returns when there are so many.
    pub async fn grown_to(&self, enough: usize) {
        loop {
            let grown = self.grown.notified();
            if self.len() >= enough {
                return;
            }
            grown.await;
        }
    }

    /// Strikes out those of these tokens that do not stand in the audit log. Returns how many they were.
    pub fn strike_lost(&self, issued: &Issued, losable: &HashSet<String>) -> usize {
        let mut received = lock(&self.received);
        let before = received.len();
        received.retain(|jti, _| issued.get(jti).is_some() || !losable.contains(jti));
        before - received.len()
    }

    /// Compares with the audit log: every token that was received stands in it, and says what its event says.
    ///
    /// # Errors
    /// The first tokens that do not, by name.
    pub fn compare(&self, issued: &Issued) -> anyhow::Result<()> {
        let received = lock(&self.received);
        let lost: Vec<&String> = received.keys().filter(|jti| issued.get(jti).is_none()).collect();
        let shown = &lost[..lost.len().min(SHOWN)];
        anyhow::ensure!(lost.is_empty(), "I1: {} of {} tokens are lost: {shown:?}", lost.len(), received.len());
        for (jti, token) in received.iter() {
            let event = issued.get(jti).map(Received::told);
            anyhow::ensure!(event.as_ref() == Some(token), "{jti} says {token:?}, and its event {event:?}");
        }
        Ok(())
    }
}

impl Received {
    fn of(claims: &Value) -> Self {
        let text = |name: &str| claims[name].as_str().map(str::to_owned);
        let mut actors = Vec::new();
        let mut act = &claims["act"];
        while let Some(sub) = act["sub"].as_str() {
            actors.push(sub.to_owned());
            act = &act["act"];
        }
        Self {
            sub: text("sub"),
            client_id: text("client_id"),
            audience: text("aud"),
            scope: text("scope"),
            tenant: text("tenant_id"),
            exp: claims["exp"].as_i64(),
            actors,
        }
    }

    fn told(event: &Event) -> Self {
        Self {
            sub: event.sub.clone(),
            client_id: event.client_id.clone(),
            audience: event.audience.clone(),
            scope: event.scope.as_ref().map(ToString::to_string),
            tenant: event.tenant_id.as_ref().map(ToString::to_string),
            exp: event.exp,
            actors: event.actors.clone(),
        }
    }
}

/// A client that panicked has failed its scenario already.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
