//! Clients that ask one thing after the other, and judge every answer: a refusal is never an outage, nor an outage a refusal (I8).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::ledger::Ledger;
use crate::proof::Proof;
use crate::shop::{Bad, Form, Owed, Shop, introspection, random};
use crate::tally::{Tally, count};

/// Longer than a server takes for any answer: its deadline is half a minute.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
/// How long a connection is kept that nobody uses: shorter than any server here keeps it, so that none is closed under a request.
const IDLE: Duration = Duration::from_secs(1);
/// How many breaches are kept.
const SHOWN: usize = 10;
/// How many tokens are kept for whoever verifies them.
const RECENT: usize = 32;
/// How long a client waits after an answer that tells it to come back, or none: long enough not to spin.
const PAUSE: Duration = Duration::from_millis(20);

/// What all clients of a scenario share.
#[derive(Debug)]
pub struct Load {
    /// Who asks.
    pub shop: Arc<Shop>,
    /// What was received.
    pub ledger: Ledger,
    /// What came of the requests.
    pub tally: Tally,
    /// The base URLs of the servers that are asked in turn.
    bases: Mutex<Vec<String>>,
    /// Whose certificates the servers have; none of those that speak plain HTTP.
    authority: Option<reqwest::Certificate>,
    http: Mutex<reqwest::Client>,
    /// Even: nothing fails. Odd: something does.
    weather: AtomicU64,
    is_over: AtomicBool,
    /// Read by every turn of a client, written by a pause.
    turns: Arc<RwLock<()>>,
    /// The number of pauses so far.
    pauses: AtomicU64,
    asks_elsewhere: AtomicBool,
    recent: Mutex<VecDeque<String>>,
    breaches: Mutex<Vec<String>>,
}

/// A pause of all clients. Dropping it ends it.
#[derive(Debug)]
pub struct Pause {
    _turns: OwnedRwLockWriteGuard<()>,
}

/// What came back.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An answer, read to its end.
    Whole {
        /// The status.
        status: u16,
        /// Whether it says when to come back.
        retry_after: bool,
        /// The body; null where it is no JSON.
        body: Value,
    },
    /// The answer ended before its end.
    Truncated(String),
    /// No answer began.
    None(String),
}

impl Load {
    /// Clients of these servers that have not begun yet.
    #[must_use]
    pub fn new(shop: Arc<Shop>, bases: Vec<String>) -> Self {
        Self::at(shop, bases, None)
    }

    /// The same, of servers whose certificates this authority signs, in PEM.
    ///
    /// # Errors
    /// When the authority is none.
    pub fn trusting(authority: &[u8], shop: Arc<Shop>, bases: Vec<String>) -> anyhow::Result<Self> {
        Ok(Self::at(shop, bases, Some(reqwest::Certificate::from_pem(authority)?)))
    }

    fn at(shop: Arc<Shop>, bases: Vec<String>, authority: Option<reqwest::Certificate>) -> Self {
        Self {
            shop,
            ledger: Ledger::default(),
            tally: Tally::default(),
            bases: Mutex::new(bases),
            http: Mutex::new(http(authority.as_ref())),
            authority,
            weather: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            turns: Arc::default(),
            pauses: AtomicU64::new(0),
            asks_elsewhere: AtomicBool::new(false),
            recent: Mutex::default(),
            breaches: Mutex::default(),
        }
    }

    /// From now on a server may die at any moment, and no request may fail for that: it is sent to another.
    pub fn retry_elsewhere(&self) {
        self.asks_elsewhere.store(true, Ordering::Release);
    }

    /// From now on outages are owed to nobody's fault.
    pub fn storm(&self) {
        if !self.is_stormy() {
            self.weather.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// From now on every request must be served. Connections are new ones.
    pub fn calm(&self) {
        *lock(&self.http) = http(self.authority.as_ref());
        if self.is_stormy() {
            self.weather.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn is_stormy(&self) -> bool {
        self.weather.load(Ordering::Acquire) % 2 == 1
    }

    /// Asks these servers from now on.
    pub fn ask_at(&self, bases: Vec<String>) {
        *lock(&self.bases) = bases;
    }

    /// The servers that are asked.
    #[must_use]
    pub fn bases(&self) -> Vec<String> {
        lock(&self.bases).clone()
    }

    /// Waits for the requests under way, and keeps the clients from new ones until the pause is dropped. No chain of hops goes on after it.
    pub async fn pause(&self) -> Pause {
        let turns = Arc::clone(&self.turns).write_owned().await;
        self.pauses.fetch_add(1, Ordering::AcqRel);
        Pause { _turns: turns }
    }

    /// Ends the clients after the request that each has under way.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether the clients are to end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// What must not have happened, and did.
    #[must_use]
    pub fn breaches(&self) -> Vec<String> {
        lock(&self.breaches).clone()
    }

    /// The tokens that were received last, the newest first.
    #[must_use]
    pub fn recent(&self) -> Vec<String> {
        lock(&self.recent).iter().cloned().collect()
    }

    /// Notes what must not happen.
    pub fn breach(&self, breach: String) {
        let mut breaches = lock(&self.breaches);
        if breaches.len() < SHOWN {
            breaches.push(breach);
        }
    }

    /// One client: asks until the load is over.
    pub async fn client(self: Arc<Self>, pace: Option<Duration>) {
        let mut turn = usize::try_from(random() % 1024).unwrap_or_default();
        let mut held: Option<String> = None;
        let mut pauses = 0;
        while !self.is_over() {
            turn += 1;
            let under_way = self.turns.read().await;
            let present = self.pauses.load(Ordering::Acquire);
            if std::mem::replace(&mut pauses, present) != present {
                held = None;
            }
            let served = self.turn(turn, &mut held).await;
            drop(under_way);
            let pause = if served { pace } else { Some(pace.unwrap_or_default().max(PAUSE)) };
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One turn of a client: mostly first hops, then chains, values that count once, and what must be refused. Half of the tokens are bound
    /// to a key.
    async fn turn(&self, turn: usize, held: &mut Option<String>) -> bool {
        match (turn % 8, held.take()) {
            (5, _) => {
                let bad = Bad::ALL[turn / 8 % Bad::ALL.len()];
                self.ask(turn, &self.shop.bad(bad), bad.owed()).await.is_some()
            }
            (6, _) => self.ask_once(turn).await,
            (3 | 7, Some(token)) => {
                let form = if heads() { self.shop.bound_second_hop(&token) } else { self.shop.second_hop(&token) };
                self.ask(turn, &form, Owed::Token).await.is_some()
            }
            _ => {
                let form = if heads() { self.shop.bound_first_hop() } else { self.shop.first_hop() };
                let answer = self.ask(turn, &form, Owed::Token).await;
                *held = answer.as_ref().and_then(token);
                answer.is_some()
            }
        }
    }

    /// Spends a value that counts once, and tries it again at another server.
    async fn ask_once(&self, turn: usize) -> bool {
        let (value, form) = if heads() { self.shop.one_time() } else { self.shop.one_time_proof() };
        // Not sent again elsewhere: what was spent by an answer that was lost would be a refusal there.
        let first = self.ask_one(turn, &form, Owed::Token).await;
        let owed = if first.is_some() { Owed::Spent } else { Owed::Either };
        let second = self.ask_one(turn + 1, &form, owed).await;
        self.spend(&value, &[&first, &second]);
        if first.is_some() || !self.asks_elsewhere.load(Ordering::Acquire) {
            return first.is_some();
        }
        let (value, form) = self.shop.one_time();
        let answer = self.ask_one(turn + 1, &form, Owed::Token).await;
        self.spend(&value, &[&answer]);
        answer.is_some()
    }

    /// Enters a value that counts once, for each of the answers that is a token.
    pub fn spend(&self, value: &str, answers: &[&Option<Value>]) {
        for answer in answers {
            if answer.as_ref().and_then(token).is_some()
                && let Err(twice) = self.ledger.spend(value)
            {
                self.breach(twice.to_string());
            }
        }
    }

    /// Sends a request to one server after the other until one answers; the answer, if it is what was owed.
    pub async fn ask(&self, turn: usize, form: &Form, owed: Owed) -> Option<Value> {
        let begun = self.weather.load(Ordering::Acquire);
        let bases = self.bases();
        let mut answer = Answer::None("no server".to_owned());
        for attempt in 0..bases.len() {
            answer = self.send(&bases[(turn + attempt) % bases.len()], form).await;
            if let Answer::Whole { .. } = answer {
                if attempt > 0 {
                    count(&self.tally.elsewhere);
                }
                break;
            }
        }
        self.judge(begun, answer, owed)
    }

    async fn ask_one(&self, turn: usize, form: &Form, owed: Owed) -> Option<Value> {
        let begun = self.weather.load(Ordering::Acquire);
        let bases = self.bases();
        let answer = self.send(&bases[turn % bases.len()], form).await;
        let is_whole = matches!(answer, Answer::Whole { .. });
        if !is_whole && self.asks_elsewhere.load(Ordering::Acquire) {
            return None;
        }
        self.judge(begun, answer, owed)
    }

    /// A chain of two hops at one server, entered into the ledger; the token of the first.
    pub async fn chain(&self, base: &str) -> Option<String> {
        let first = self.received(base, &self.shop.first_hop()).await?;
        self.received(base, &self.shop.second_hop(&first)).await.map(|_second| first)
    }

    /// Requests a token at one server, and enters it into the ledger; none where the answer is another.
    pub async fn received(&self, base: &str, form: &Form) -> Option<String> {
        let Answer::Whole { body, .. } = self.send(base, form).await else { return None };
        let token = token(&body)?;
        self.ledger.enter(&token).map(|()| token).ok()
    }

    /// Whether a server says that it is ready.
    pub async fn is_ready(&self, base: &str) -> bool {
        let http = lock(&self.http).clone();
        let ready = http.get(format!("{base}/readyz")).send().await;
        ready.is_ok_and(|ready| ready.status().is_success())
    }

    /// Whether a server tells the audience of a first hop that the token is active (RFC 7662); none if it tells neither.
    pub async fn is_active(&self, base: &str, token: &str) -> Option<bool> {
        let Answer::Whole { body, .. } = self.post(&format!("{base}/oauth2/introspect"), &introspection(token)).await
        else {
            return None;
        };
        body["active"].as_bool()
    }

    /// Sends a request for a token, once.
    pub async fn send(&self, base: &str, form: &Form) -> Answer {
        count(&self.tally.sent);
        let answer = self.post(&format!("{base}/oauth2/token"), form).await;
        match &answer {
            Answer::Whole { .. } => {}
            Answer::Truncated(_) => count(&self.tally.truncated),
            Answer::None(_) => count(&self.tally.unanswered),
        }
        answer
    }

    /// The status of a request for a token; none where the answer is not whole.
    pub async fn status(&self, base: &str, form: &Form) -> Option<u16> {
        match self.send(base, form).await {
            Answer::Whole { status, .. } => Some(status),
            Answer::Truncated(_) | Answer::None(_) => None,
        }
    }

    /// Sends a form; once more if its proof needs another nonce.
    async fn post(&self, url: &str, form: &Form) -> Answer {
        let http = lock(&self.http).clone();
        let (answer, nonce) = read(form.put_into(http.post(url))).await;
        nonce.iter().for_each(|nonce| self.shop.learn_nonce(nonce));
        let wants_nonce = matches!(&answer, Answer::Whole { body, .. } if body["error"] == "use_dpop_nonce");
        if wants_nonce && matches!(form.proof, Some(Proof::Fresh(_))) {
            return self.bound_as_asked(form, read(form.put_into(http.post(url))).await.0);
        }
        self.bound_as_asked(form, answer)
    }

    /// Notes a token that is not bound although its request had a proof, or the reverse.
    fn bound_as_asked(&self, form: &Form, answer: Answer) -> Answer {
        if let Answer::Whole { status: 200, body, .. } = &answer
            && body["access_token"].is_string()
            && (body["token_type"] == "DPoP") != form.proof.is_some()
        {
            self.breach(format!("I9: the binding of the request is not that of its token: {body}"));
        }
        answer
    }

    /// The body, if the answer is what was owed. Notes what must never come, and, where nothing failed, what must not come then.
    fn judge(&self, begun: u64, answer: Answer, owed: Owed) -> Option<Value> {
        let was_calm = begun.is_multiple_of(2) && self.weather.load(Ordering::Acquire) == begun;
        let (status, retry_after, body) = match answer {
            Answer::Whole { status, retry_after, body } => (status, retry_after, body),
            Answer::Truncated(why) | Answer::None(why) => {
                if was_calm {
                    self.breach(format!("no answer, though nothing failed: {why}"));
                }
                return None;
            }
        };
        let error = body["error"].as_str().unwrap_or_default();
        let is_owed = match (owed, status) {
            (Owed::Token | Owed::Either, 200) => body["access_token"].is_string(),
            (Owed::Refusal(owed, code) | Owed::RefusalOfKnownKeys(owed, code), status) => {
                status == owed && error == code
            }
            (Owed::Spent | Owed::Either, 400 | 401) => is_spent(status, error),
            (Owed::Token | Owed::Spent | Owed::Either, _) => false,
        };
        if is_owed {
            match token(&body) {
                Some(token) => self.enter(&token),
                None => count(&self.tally.refused),
            }
            return Some(body);
        }
        let told = matches!((status, error), (503, "temporarily_unavailable") | (429, "slow_down")) && retry_after;
        match (owed, status) {
            (Owed::Token | Owed::Spent | Owed::Either | Owed::RefusalOfKnownKeys(..), 503) if told => {
                count(&self.tally.outages)
            }
            (Owed::Token | Owed::Spent | Owed::Either, 429) if told => count(&self.tally.limited),
            _ => {
                self.breach(format!("I8: {owed:?} was owed, {status} came: {body}"));
                return None;
            }
        }
        // Keys that could not be read are read again only some seconds after what failed is well.
        if was_calm && !matches!(owed, Owed::RefusalOfKnownKeys(..)) {
            self.breach(format!("{owed:?} was owed and nothing failed, {status} came: {body}"));
        }
        None
    }

    /// Enters a token that was received.
    pub fn enter(&self, token: &str) {
        let mut recent = lock(&self.recent);
        recent.truncate(RECENT - 1);
        recent.push_front(token.to_owned());
        drop(recent);
        if let Err(breach) = self.ledger.enter(token) {
            self.breach(breach.to_string());
        }
    }
}

/// Returns true if an answer refuses a value that was spent: an assertion, or a proof.
#[must_use]
pub fn is_spent(status: u16, error: &str) -> bool {
    matches!((status, error), (401, "invalid_client") | (400, "invalid_dpop_proof"))
}

fn heads() -> bool {
    random().is_multiple_of(2)
}

/// The token of an answer.
#[must_use]
pub fn token(body: &Value) -> Option<String> {
    body["access_token"].as_str().map(str::to_owned)
}

/// Sends a request, and reads the answer and its nonce.
async fn read(request: reqwest::RequestBuilder) -> (Answer, Option<String>) {
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return (Answer::None(causes(&error)), None),
    };
    let nonce = answer.headers().get("dpop-nonce").and_then(|nonce| nonce.to_str().ok()).map(str::to_owned);
    let status = answer.status().as_u16();
    let retry_after = answer.headers().contains_key("retry-after");
    let answer = match answer.bytes().await {
        Ok(body) => Answer::Whole { status, retry_after, body: serde_json::from_slice(&body).unwrap_or_default() },
        Err(error) => Answer::Truncated(causes(&error)),
    };
    (answer, nonce)
}

/// An error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

fn http(authority: Option<&reqwest::Certificate>) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = match authority {
        Some(authority) => builder.tls_certs_only([authority.clone()]),
        None => builder,
    };
    builder.pool_idle_timeout(IDLE).timeout(ANSWERED_WITHIN).build().expect("a client without options that can fail")
}

/// A client that panicked has failed its scenario already.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
