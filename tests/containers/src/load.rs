//! Clients that ask one chain after the other, judge every answer, and keep the name of every token that they received.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use sts_jose::{Algorithm, Clock as _, SystemClock, UnverifiedToken};
use sts_server::record::Event;
use sts_tests::TestKey;
use sts_tests::invariants::Issued;
use tokio::sync::Notify;

const IDP: &str = "https://login.example.com";
const SECRET: &str = "a secret that only this program knows";
const REGISTRY: &str = r#"
[[issuers]]
issuer = "https://login.example.com"
jwks_file = "idp.json"
tenant_claim = "org_id"

[[agents]]
id = "coordinator"
accepts = ["web-app"]
auth.client_secret_sha256 = "{sha256}"

[[agents]]
id = "inventory"
auth.client_secret_sha256 = "{sha256}"

[[agents]]
id = "warehouse"

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read"]

[[delegations]]
actor = "inventory"
target = "warehouse"
scopes = [{ scope = "bin:read", from = ["stock:read"] }]
"#;
/// Longer than a server takes for any answer: its deadline is half a minute.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);

/// The clients of all servers, and the users' issuer.
#[derive(Debug)]
pub struct Load {
    idp: Arc<TestKey>,
    bases: Vec<String>,
    http: reqwest::Client,
    received: Mutex<HashSet<String>>,
    grown: Notify,
    is_over: AtomicBool,
    breaches: Mutex<Vec<String>>,
    refused: AtomicU64,
    elsewhere: AtomicU64,
}

/// A request, and who sends it.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// The coordinator, with a user's token, for the inventory.
    FirstHop,
    /// The inventory, with the token that it was sent, for the warehouse.
    SecondHop(&'a str),
    /// The coordinator, for more than it may.
    TooMuch,
}

/// A status, and the JSON of a whole answer.
type Answer = (u16, Value);

impl Load {
    /// Clients of the servers at these bases, whose certificates this authority signs.
    ///
    /// # Errors
    /// When the authority is none.
    pub fn new(idp: Arc<TestKey>, bases: Vec<String>, authority: &[u8]) -> anyhow::Result<Self> {
        let authority = reqwest::Certificate::from_pem_bundle(authority)?;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only(authority).timeout(ANSWERED_WITHIN).build()?;
        Ok(Self {
            idp,
            bases,
            http,
            received: Mutex::default(),
            grown: Notify::new(),
            is_over: AtomicBool::new(false),
            breaches: Mutex::default(),
            refused: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
        })
    }

    /// One client: asks until the load is over. A server may die at any moment, and then another is asked: no request may fail.
    pub async fn client(self: Arc<Self>, mut turn: usize) {
        while !self.is_over.load(Ordering::Acquire) {
            turn += 1;
            if let Err(breach) = self.turn(turn).await {
                lock(&self.breaches).push(format!("{breach:#}"));
            }
        }
    }

    /// A chain of two hops, and now and then what must be refused: neither is ever answered like the other, nor like an outage.
    async fn turn(&self, turn: usize) -> anyhow::Result<()> {
        let first = self.token(self.ask(turn, Ask::FirstHop).await?)?;
        self.token(self.ask(turn + 1, Ask::SecondHop(&first)).await?)?;
        if turn.is_multiple_of(4) {
            let (status, body) = self.ask(turn, Ask::TooMuch).await?;
            ensure!(status == 400 && body["error"] == "invalid_scope", "a refusal was owed, {status} came: {body}");
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Asks one server after the other until one answers.
    async fn ask(&self, turn: usize, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let mut why = String::new();
        for attempt in 0..self.bases.len() {
            match self.send(&self.bases[(turn + attempt) % self.bases.len()], ask).await {
                Ok(answer) => {
                    self.elsewhere.fetch_add(u64::from(attempt > 0), Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => {
                    let _ = write!(why, "; {error:?}");
                }
            }
        }
        anyhow::bail!("no server answers: {why}")
    }

    /// Asks one server; an answer that breaks off is none.
    async fn send(&self, base: &str, ask: Ask<'_>) -> reqwest::Result<Answer> {
        let (client, subject, audience, scope) = match ask {
            Ask::FirstHop => ("coordinator", self.user_token(), "inventory", "stock:read"),
            Ask::SecondHop(token) => ("inventory", token.to_owned(), "warehouse", "bin:read"),
            Ask::TooMuch => ("coordinator", self.user_token(), "inventory", "stock:write"),
        };
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", &subject),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", audience),
            ("scope", scope),
        ];
        self.post(&format!("{base}/oauth2/token"), client, &form).await
    }

    async fn post(&self, url: &str, client: &str, form: &[(&str, &str)]) -> reqwest::Result<Answer> {
        // RFC 6749 §2.3.1: form-encoded.
        let request = self.http.post(url).basic_auth(client, Some(SECRET.replace(' ', "+"))).form(form);
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// The token of an answer that owes one, entered into the ledger.
    fn token(&self, (status, body): Answer) -> anyhow::Result<String> {
        let token = body["access_token"].as_str().filter(|_| status == 200);
        let token = token.with_context(|| format!("a token was owed, {status} came: {body}"))?;
        ensure!(lock(&self.received).insert(name(token)?), "a name was given twice");
        self.grown.notify_waiters();
        Ok(token.to_owned())
    }

    /// A chain of two hops at one server; the token of the first.
    ///
    /// # Errors
    /// When there is no such chain.
    pub async fn chain(&self, base: &str) -> anyhow::Result<String> {
        let first = self.token(self.send(base, Ask::FirstHop).await?)?;
        self.token(self.send(base, Ask::SecondHop(&first)).await?)?;
        Ok(first)
    }

    /// Whether the inventory is told that a token is alive.
    ///
    /// # Errors
    /// When it is told nothing.
    pub async fn is_active(&self, base: &str, token: &str) -> anyhow::Result<bool> {
        let (_, answer) = self.post(&format!("{base}/oauth2/introspect"), "inventory", &[("token", token)]).await?;
        answer["active"].as_bool().with_context(|| answer.to_string())
    }

    /// Whether a server says that it is ready.
    pub async fn is_ready(&self, base: &str) -> bool {
        let answer = self.http.get(format!("{base}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Returns when so many tokens were received.
    pub async fn grown_to(&self, enough: usize) {
        loop {
            let grown = self.grown.notified();
            if self.received() >= enough {
                return;
            }
            grown.await;
        }
    }

    /// How many tokens were received whole.
    pub fn received(&self) -> usize {
        lock(&self.received).len()
    }

    /// Ends the clients after the turn that each is in.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// What must not have come, and did.
    pub fn breaches(&self) -> Vec<String> {
        lock(&self.breaches).clone()
    }

    /// What came of it, in numbers.
    pub fn counts(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({ "received": self.received(), "refused": read(&self.refused), "asked_elsewhere": read(&self.elsewhere) })
    }

    /// Every token that was received stands in the audit log, as one of a client of ours.
    ///
    /// # Errors
    /// Those that do not.
    pub fn compare(&self, issued: &Issued) -> anyhow::Result<()> {
        let is_ours = |event: &Event| event.tenant_id.as_ref().is_some_and(|tenant| tenant.as_str() == "acme");
        let received = lock(&self.received);
        let lost: Vec<&String> = received.iter().filter(|jti| !issued.get(jti).is_some_and(is_ours)).collect();
        ensure!(lost.is_empty(), "{} of {} tokens are lost: {lost:?}", lost.len(), received.len());
        ensure!(!received.is_empty(), "no token was received: that is no load");
        Ok(())
    }

    /// The names of all tokens that were received.
    pub fn names(&self) -> Vec<String> {
        lock(&self.received).iter().cloned().collect()
    }

    fn user_token(&self) -> String {
        let now = SystemClock.now().as_second();
        let claims = json!({
            "iss": IDP, "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 3600,
        });
        self.idp.sign(&claims)
    }
}

/// The users' issuer.
pub fn idp() -> Arc<TestKey> {
    TestKey::new(Algorithm::Es256)
}

/// The registry of these clients. It reads `idp.json` beside it.
pub fn registry() -> String {
    let sha256 = digest(&SHA256, SECRET.as_bytes());
    let sha256: String = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    REGISTRY.replace("{sha256}", &sha256)
}

/// `jti`.
pub fn name(token: &str) -> anyhow::Result<String> {
    let token = UnverifiedToken::parse(token)?;
    let jti = token.claims().as_map().get("jti").and_then(Value::as_str);
    jti.map(str::to_owned).context("a token without a name")
}

/// A client that panicked has failed the run already.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
