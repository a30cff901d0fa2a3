//! An STS that answers whatever it is told to: a TCP listener that speaks just enough HTTP, so that it can also speak too little.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sts_client::exchange::{ExchangeError, ExchangeRequest, IssuedToken, StsBuilder};
use sts_client::inbound::Issuer;
use sts_client::{Caller, Credentials, Route, Sts};
use sts_jose::{Algorithm, Clock as _, KeySet, ManualClock, SystemClock};
use sts_tests::TestKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::correlation_id;

/// The issuer of the users; it is never asked for anything.
pub(super) const IDP: &str = "https://login.example.com";

/// How long a test waits for what will come.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How a request is answered.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// With these bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// With the first bytes, and then the second until nobody listens any more.
    Endless(Vec<u8>, Vec<u8>),
    /// With these bytes, and then nothing; the connection stays.
    Stall(Vec<u8>),
}

/// A running STS that lies. It lives as long as the runtime that it was started on.
#[derive(Debug, Clone)]
pub(super) struct HostileSts {
    pub(super) url: String,
    pub(super) key: Arc<TestKey>,
    pub(super) idp: Arc<TestKey>,
    pub(super) clock: ManualClock,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    /// The answers of the token endpoint in their order; the last one again and again.
    token: VecDeque<Reply>,
    metadata: VecDeque<Reply>,
    jwks: VecDeque<Reply>,
    requests: Vec<String>,
}

impl HostileSts {
    /// An STS that is honest but for its token endpoint, which has nothing to say yet.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let now = SystemClock.now().as_second();
        let clock = ManualClock::new(jiff::Timestamp::from_second(now).expect("a moment"));
        let key = TestKey::new(Algorithm::Es256);
        let sts = Self { url, key, idp: TestKey::new(Algorithm::Es256), clock, script: Arc::default() };
        sts.answer_metadata([json_reply(200, &sts.metadata())]);
        sts.answer_jwks([json_reply(200, &json!({ "keys": [sts.key.jwk()] }))]);
        let script = Arc::clone(&sts.script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script)));
            }
        });
        sts
    }

    /// The metadata of an honest STS.
    pub(super) fn metadata(&self) -> Value {
        json!({
            "issuer": self.url, "token_endpoint": format!("{}/token", self.url), "jwks_uri": format!("{}/jwks", self.url),
            "introspection_endpoint": format!("{}/introspect", self.url),
        })
    }

    pub(super) fn answer(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().expect("no test panics here").token = replies.into_iter().collect();
    }

    pub(super) fn answer_metadata(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().expect("no test panics here").metadata = replies.into_iter().collect();
    }

    pub(super) fn answer_jwks(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().expect("no test panics here").jwks = replies.into_iter().collect();
    }

    /// How often a path was asked for.
    pub(super) fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    /// The requests for a path, head and body, in their order.
    pub(super) fn requests(&self, path: &str) -> Vec<String> {
        let script = self.script.lock().expect("no test panics here");
        script.requests.iter().filter(|request| request.split(' ').nth(1) == Some(path)).cloned().collect()
    }

    /// The claims of the token that an honest STS would issue for `alice` to the coordinator.
    pub(super) fn claims(&self) -> Value {
        let now = self.clock.now().as_second();
        json!({
            "iss": self.url, "sub": "alice", "aud": "inventory", "client_id": "coordinator", "iat": now, "exp": now + 300,
            "jti": "1", "scope": "stock:read", "act": { "sub": "coordinator", "iss": self.url }, "tenant_id": "acme",
            "sub_id": { "format": "iss_sub", "iss": IDP, "sub": "alice" }, "txn": "t",
        })
    }

    pub(super) fn header(&self) -> Value {
        json!({ "alg": "ES256", "kid": self.key.kid(), "typ": "at+jwt" })
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.key.sign_with(&self.header(), claims)
    }

    /// The body of an honest answer with that token.
    pub(super) fn body(&self, token: &str) -> Value {
        json!({
            "access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer", "expires_in": 300, "scope": "stock:read",
        })
    }

    /// An honest answer.
    pub(super) fn honest(&self) -> Reply {
        json_reply(200, &self.body(&self.sign(&self.claims())))
    }

    /// The claims of the user's token.
    pub(super) fn user_claims(&self) -> Value {
        let now = self.clock.now().as_second();
        json!({ "iss": IDP, "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 3600 })
    }

    /// The user's delegation.
    pub(super) async fn user(&self) -> Caller {
        let keys = KeySet::parse(json!({ "keys": [self.idp.jwk()] }).to_string().as_bytes()).expect("a key set");
        let issuer = Issuer::new(IDP).jwks(keys).tenant_claim("org_id");
        super::delegation(issuer, "web-app", &self.idp.sign(&self.user_claims()), &self.clock).await
    }

    /// The delegation of a token of its own.
    pub(super) async fn own(&self, token: &str, audience: &str) -> Caller {
        let keys = KeySet::parse(json!({ "keys": [self.key.jwk()] }).to_string().as_bytes()).expect("a key set");
        super::delegation(Issuer::sts(&self.url).jwks(keys), audience, token, &self.clock).await
    }

    /// The client of the coordinator, which asks once.
    pub(super) fn client(&self) -> Sts {
        self.builder().attempts(1).build().expect("a client")
    }

    /// A client that has time: a slow machine is no outage.
    pub(super) fn builder(&self) -> StsBuilder {
        Sts::builder(&self.url, "coordinator", Credentials::ClientSecret("secret".to_owned().into()))
            .clock(Arc::new(self.clock.clone()))
            .attempt_timeout(PATIENCE)
            .deadline(PATIENCE)
    }
}

/// The route of all these tests.
pub(super) fn route() -> Route {
    Route::to("https://inventory.example/".parse().expect("a url"))
        .audience("inventory")
        .scope("stock:read".parse().expect("a scope"))
}

pub(super) async fn exchange(sts: &Sts, subject: &Caller) -> Result<IssuedToken, ExchangeError> {
    let (route, correlation_id) = (route(), correlation_id("hostile"));
    sts.exchange(ExchangeRequest { subject, route: &route, correlation_id: &correlation_id }).await
}

/// The value with each member of `changes` in place of what it says; a member that is null is left out.
pub(super) fn with(mut value: Value, changes: &Value) -> Value {
    let members = value.as_object_mut().expect("an object");
    for (name, change) in changes.as_object().expect("an object") {
        if change.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), change.clone());
        }
    }
    value
}

pub(super) fn json_reply(status: u16, body: &Value) -> Reply {
    reply(status, "content-type: application/json\r\n", body.to_string())
}

/// A whole answer; each of `headers` ends with a line break.
pub(super) fn reply(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    Reply::Bytes([head.as_bytes(), body].concat())
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read_request(&mut stream).await else { return };
    let reply = {
        let mut script = script.lock().expect("no test panics here");
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        script.requests.push(request);
        match path.as_str() {
            "/jwks" => next(&mut script.jwks),
            "/token" | "/introspect" => next(&mut script.token),
            _ => next(&mut script.metadata),
        }
    };
    // Whoever has heard enough hangs up, and then nothing more can be written.
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Reply::Endless(bytes, again) => {
            let mut written = stream.write_all(&bytes).await;
            while written.is_ok() {
                written = stream.write_all(&again).await;
            }
        }
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
}

fn next(replies: &mut VecDeque<Reply>) -> Reply {
    match replies.len() {
        0 => reply(404, "", ""),
        1 => replies[0].clone(),
        _ => replies.pop_front().expect("there are several"),
    }
}

/// Head and body of a request.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let mut request = String::from_utf8(head).ok()?;
    let length =
        request.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await.ok()?;
    request.push_str(&String::from_utf8(body).ok()?);
    Some(request)
}
