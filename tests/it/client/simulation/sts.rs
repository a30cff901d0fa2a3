//! A simulated STS: it signs real tokens, misbehaves by chance, and writes down what it was asked and what it gave.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use sts_client::net::{Transport, TransportError};
use sts_jose::{Clock as _, SigningKey};
use sts_protocol::Act;
use url::form_urlencoded;

use super::cast::{AGENTS, CAST, IDP, OWN_TENANTS, STS, User, VirtualClock};
use super::chance::Chance;

/// What one token depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    pub agent: usize,
    /// Whose token was exchanged; `None` for the agent's own.
    pub caller: Option<usize>,
    pub audience: String,
    pub scope: String,
}

/// What the STS gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The token that was asked for.
    Token,
    /// What cannot be read, or a token for something else.
    Rubbish,
    /// A refusal; no two have one code.
    Refusal(String),
    /// 429, with what its `Retry-After` says.
    Load(Option<Duration>),
    /// A 5xx, or no connection.
    Outage,
    /// Whoever asked went away first, by a timeout of its own.
    NothingYet,
}

impl Given {
    /// As far as whoever asked can see.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Outage | Self::NothingYet)
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Asking {
    pub asked: Asked,
    pub correlation_id: String,
    pub began: Duration,
    pub ended: Duration,
    pub given: Given,
}

/// A token that was given as what it is.
#[derive(Debug, Clone)]
pub struct Issued {
    pub asked: Asked,
    pub at: Duration,
    pub exp: Timestamp,
}

/// How the STS does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    Unreachable,
    Silent,
    Broken(u16),
    /// With so many seconds in `Retry-After`.
    Overloaded(Option<u64>),
}

#[derive(Debug)]
pub struct SimulatedSts {
    chance: Chance,
    clock: VirtualClock,
    state: Mutex<State>,
}

#[derive(Debug)]
pub struct State {
    pub weather: Weather,
    /// Of a hundred answers in fair weather, so many are bad.
    pub bad_percent: usize,
    pub revoked: HashSet<usize>,
    pub askings: Vec<Asking>,
    pub issued: HashMap<String, Issued>,
    /// What agents were told to forget, and when.
    pub forgotten: Vec<(Duration, Asked)>,
}

/// The way of one agent to the STS.
#[derive(Debug)]
pub struct Door {
    pub sts: Arc<SimulatedSts>,
    pub agent: usize,
}

#[async_trait]
impl Transport for Door {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        match request.uri().path() {
            "/.well-known/oauth-authorization-server" => {
                let metadata = json!({ "issuer": STS, "token_endpoint": "https://sts.test/token" });
                Ok(answer(200, metadata.to_string()))
            }
            "/token" => self.sts.token(self.agent, &request).await,
            other => panic!("nobody asks {other}"),
        }
    }
}

/// Notes when a request ended, also if it was dropped.
struct Noted<'a> {
    sts: &'a SimulatedSts,
    index: usize,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let ended = self.sts.clock.elapsed();
        self.sts.lock().askings[self.index].ended = ended;
    }
}

impl SimulatedSts {
    pub fn new(chance: Chance, clock: VirtualClock) -> Self {
        let state = State {
            weather: Weather::Fair,
            bad_percent: 0,
            revoked: HashSet::new(),
            askings: Vec::new(),
            issued: HashMap::new(),
            forgotten: Vec::new(),
        };
        Self { chance, clock, state: Mutex::new(state) }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn token(&self, agent: usize, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        let noted = self.note(agent, request);
        if self.chance.percent(50) {
            tokio::time::sleep(self.chance.millis(1, 1_500)).await;
        }
        let weather = self.lock().weather;
        match weather {
            Weather::Fair if self.chance.percent(self.lock().bad_percent) => self.bad(&noted).await,
            Weather::Fair => Ok(self.good(&noted)),
            other => self.stormy(&noted, other).await,
        }
    }

    fn note(&self, agent: usize, request: &Request<Vec<u8>>) -> Noted<'_> {
        assert!(request.headers().contains_key("authorization"), "the agent does not say who it is");
        let form: HashMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
        let caller = form.get("subject_token").map(|token| CAST.user_of(token).expect("a token of a user"));
        let asked = Asked {
            agent,
            caller,
            audience: form["audience"].clone(),
            scope: form.get("scope").cloned().unwrap_or_default(),
        };
        let correlation_id = request.headers()["x-correlation-id"].to_str().unwrap().to_owned();
        let now = self.clock.elapsed();
        let mut state = self.lock();
        state.askings.push(Asking { asked, correlation_id, began: now, ended: now, given: Given::NothingYet });
        Noted { sts: self, index: state.askings.len() - 1 }
    }

    fn give(&self, noted: &Noted<'_>, given: Given) {
        self.lock().askings[noted.index].given = given;
    }

    async fn stormy(&self, noted: &Noted<'_>, weather: Weather) -> Result<Response<Vec<u8>>, TransportError> {
        match weather {
            Weather::Fair => unreachable!(),
            Weather::Silent => std::future::pending().await,
            Weather::Unreachable => {
                self.give(noted, Given::Outage);
                Err(TransportError::Failed(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))))
            }
            Weather::Broken(status) => {
                self.give(noted, Given::Outage);
                Ok(answer(status, "<html>broken</html>".to_owned()))
            }
            Weather::Overloaded(retry_after) => {
                self.give(noted, Given::Load(retry_after.map(Duration::from_secs)));
                let mut answer = answer(429, json!({ "error": "slow_down" }).to_string());
                if let Some(seconds) = retry_after {
                    answer.headers_mut().insert("retry-after", seconds.into());
                }
                Ok(answer)
            }
        }
    }

    async fn bad(&self, noted: &Noted<'_>) -> Result<Response<Vec<u8>>, TransportError> {
        match self.chance.below(10) {
            0 => self.stormy(noted, Weather::Unreachable).await,
            1 => self.stormy(noted, Weather::Silent).await,
            2 => self.stormy(noted, Weather::Broken(503)).await,
            3 => self.stormy(noted, Weather::Overloaded(self.chance.percent(50).then_some(1))).await,
            4 => Ok(self.refuse(noted, *self.chance.pick(&[400, 401, 403]))),
            5 => Ok(self.rubbish(noted, "<html>welcome</html>".to_owned())),
            6 => {
                let whole = self.good(noted);
                let half = String::from_utf8(whole.into_body()).unwrap().split_off(40);
                Ok(self.rubbish(noted, half))
            }
            _ => Ok(self.forged(noted)),
        }
    }

    fn refuse(&self, noted: &Noted<'_>, status: u16) -> Response<Vec<u8>> {
        let code = format!("no_{}", noted.index);
        self.give(noted, Given::Refusal(code.clone()));
        answer(status, json!({ "error": code, "error_description": "no" }).to_string())
    }

    fn rubbish(&self, noted: &Noted<'_>, body: String) -> Response<Vec<u8>> {
        self.give(noted, Given::Rubbish);
        answer(200, body)
    }

    fn asked(&self, noted: &Noted<'_>) -> Asked {
        self.lock().askings[noted.index].asked.clone()
    }

    /// The answer of a healthy STS.
    fn good(&self, noted: &Noted<'_>) -> Response<Vec<u8>> {
        let asked = self.asked(noted);
        if asked.caller.is_some_and(|caller| self.lock().revoked.contains(&caller)) {
            return self.refuse(noted, 400);
        }
        let claims = self.claims(&asked, noted.index);
        if claims["exp"].as_i64() <= Some(self.clock.now().as_second()) {
            return self.refuse(noted, 400);
        }
        let exp = Timestamp::from_second(claims["exp"].as_i64().unwrap()).unwrap();
        let (body, token) = self.token_answer(&CAST.sts_key, &claims);
        self.lock().issued.insert(token, Issued { asked, at: self.clock.elapsed(), exp });
        self.give(noted, Given::Token);
        answer(200, body)
    }

    /// A token for something else than what was asked for, or signed by somebody else.
    fn forged(&self, noted: &Noted<'_>) -> Response<Vec<u8>> {
        let asked = self.asked(noted);
        let mut claims = self.claims(&asked, noted.index);
        let mut key = &CAST.sts_key;
        match (self.chance.below(9), asked.caller) {
            (0, _) => key = &CAST.strange_key,
            (1, _) => claims["aud"] = "elsewhere".into(),
            (2, _) => claims["exp"] = (self.clock.now().as_second() - 1).into(),
            (3, _) => claims["scope"] = "stock:read stock:write admin".into(),
            (4, _) => claims["client_id"] = "somebody".into(),
            (5, Some(_)) => claims["tenant_id"] = "initech".into(),
            (6, Some(_)) => claims["act"] = serde_json::to_value(Act::wrap(STS, "somebody", None)).unwrap(),
            (7, Some(caller)) => {
                claims["exp"] = (super::cast::start().as_second() + 1 + dies_after(caller)).into();
            }
            (_, Some(_)) => {
                claims["sub"] = "eve".into();
                claims["sub_id"]["sub"] = "eve".into();
            }
            (_, None) => claims["sub"] = "somebody".into(),
        }
        let (body, _) = self.token_answer(key, &claims);
        self.rubbish(noted, body)
    }

    fn token_answer(&self, key: &SigningKey, claims: &Value) -> (String, String) {
        let token = key.sign(Some("at+jwt"), claims.to_string().as_bytes()).unwrap();
        let body = json!({
            "access_token": token,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": (claims["exp"].as_i64().unwrap() - self.clock.now().as_second()).max(1),
            "scope": claims["scope"],
        });
        (body.to_string(), token)
    }

    fn claims(&self, asked: &Asked, index: usize) -> Value {
        let agent = AGENTS[asked.agent];
        let now = self.clock.now().as_second();
        let lives: &[i64] = if asked.caller.is_some() { &[5, 12, 30, 300] } else { &[25, 60, 600, 600] };
        let life = *self.chance.pick(lives);
        let mut claims = json!({
            "iss": STS, "aud": asked.audience, "client_id": agent, "iat": now, "exp": now + life, "jti": index.to_string(),
            "scope": asked.scope, "txn": "t",
        });
        match asked.caller.and_then(|caller| CAST.callers[caller].user().map(|user| (caller, user))) {
            None => {
                claims["sub"] = agent.into();
                claims["tenant_ids"] = json!(OWN_TENANTS);
            }
            Some((caller, User { sub, act, .. })) => {
                let death = super::cast::start().as_second() + dies_after(caller);
                claims["exp"] = (now + life).min(death).into();
                claims["sub"] = sub.as_str().into();
                claims["sub_id"] = json!({ "format": "iss_sub", "iss": IDP, "sub": sub });
                claims["tenant_id"] = CAST.callers[caller].tenant.into();
                claims["act"] = serde_json::to_value(Act::wrap(STS, agent, act.clone())).unwrap();
            }
        }
        claims
    }
}

fn dies_after(caller: usize) -> i64 {
    i64::try_from(CAST.callers[caller].user().expect("a user").dies_after).unwrap()
}

fn answer(status: u16, body: String) -> Response<Vec<u8>> {
    Response::builder().status(status).header("content-type", "application/json").body(body.into_bytes()).unwrap()
}
