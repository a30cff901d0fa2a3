//! An outside issuer: a real HTTP server with discovery and a key set, which misbehaves on demand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::header::LOCATION;
use serde_json::{Value, json};
use sts_jose::Algorithm;
use tokio::net::TcpListener;

use crate::TestKey;

/// How an issuer answers when it does not answer as it should.
#[derive(Debug, Clone)]
pub enum Fault {
    /// With this status.
    Status(u16),
    /// After this long.
    Delay(Duration),
    /// With a page for people.
    Garbage,
    /// With 10 MB.
    Huge,
    /// With 302, to this URL.
    Redirect(String),
    /// With these bytes.
    Body(Vec<u8>),
    /// With this status and a page for people, at this path alone.
    At(&'static str, u16),
}

/// A running issuer. It lives as long as the runtime that it was started on.
#[derive(Debug, Clone)]
pub struct TestIssuer {
    url: String,
    keys: Vec<Arc<TestKey>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    jwks: Mutex<Value>,
    fault: Mutex<Option<Fault>>,
    requests: Mutex<Vec<Request<()>>>,
}

impl TestIssuer {
    /// An issuer with one ES256 key.
    pub async fn start() -> Self {
        Self::with_keys(vec![TestKey::new(Algorithm::Es256)]).await
    }

    /// An issuer that publishes these keys and signs with the first.
    pub async fn with_keys(keys: Vec<Arc<TestKey>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            url: url.clone(),
            jwks: Mutex::new(key_set(&keys)),
            fault: Mutex::default(),
            requests: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, keys, shared }
    }

    /// Its issuer identifier, and the base of its URLs.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks_uri(&self) -> String {
        format!("{}/jwks", self.url)
    }

    /// The key that it signs with.
    #[must_use]
    pub fn key(&self) -> &TestKey {
        &self.keys[0]
    }

    /// Its key set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        key_set(&self.keys)
    }

    /// A token with an honest header.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.key().sign(claims)
    }

    /// From now on answers otherwise.
    pub fn fail(&self, fault: Fault) {
        *self.shared.fault.lock().expect("no test panics here") = Some(fault);
    }

    /// From now on answers as it should.
    pub fn mend(&self) {
        *self.shared.fault.lock().expect("no test panics here") = None;
    }

    /// From now on publishes this in place of its keys.
    pub fn publish(&self, jwks: Value) {
        *self.shared.jwks.lock().expect("no test panics here") = jwks;
    }

    /// The paths that were asked for, in their order.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let requests = self.shared.requests.lock().expect("no test panics here");
        requests.iter().map(|request| request.uri().path().to_owned()).collect()
    }

    /// The `Authorization` headers of the requests; the empty text where there was none.
    #[must_use]
    pub fn authorizations(&self) -> Vec<String> {
        let requests = self.shared.requests.lock().expect("no test panics here");
        let header = |request: &Request<()>| request.headers().get("authorization").cloned();
        requests.iter().map(|request| header(request).map_or_else(String::new, text)).collect()
    }
}

fn text(value: http::HeaderValue) -> String {
    value.to_str().expect("a header of ASCII").to_owned()
}

/// The key set of these keys.
fn key_set(keys: &[Arc<TestKey>]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() })
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    shared.requests.lock().expect("no test panics here").push(request.map(|_body| ()));
    let fault = shared.fault.lock().expect("no test panics here").clone();
    match fault {
        None => {}
        Some(Fault::Status(status)) => return respond(status, Body::from("{}")),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Garbage) => return respond(200, Body::from("<html><body>Welcome</body></html>")),
        Some(Fault::Huge) => return respond(200, Body::from(vec![b' '; 10 * 1024 * 1024])),
        Some(Fault::Body(body)) => return respond(200, Body::from(body)),
        Some(Fault::At(at, status)) if at == path => return respond(status, Body::from("<html></html>")),
        Some(Fault::At(..)) => {}
        Some(Fault::Redirect(to)) => {
            let mut response = respond(302, Body::empty());
            response.headers_mut().insert(LOCATION, to.parse().expect("a URL"));
            return response;
        }
    }
    let document = match path.as_str() {
        "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => {
            json!({ "issuer": shared.url, "jwks_uri": format!("{}/jwks", shared.url) })
        }
        "/jwks" => shared.jwks.lock().expect("no test panics here").clone(),
        _ => return respond(404, Body::empty()),
    };
    respond(200, Body::from(document.to_string()))
}

fn respond(status: u16, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}
