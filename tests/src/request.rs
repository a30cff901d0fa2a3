//! Requests that are valid until a test changes one thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method};
use sts_protocol::parameter::{
    CLIENT_ASSERTION, CLIENT_ASSERTION_TYPE, CLIENT_ID, CLIENT_SECRET, JWT_BEARER_ASSERTION,
};

use crate::{AdminRequest, Answer, Seen};

/// The way to one server.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The base of its public URLs.
    pub base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) seen: Arc<Seen>,
}

impl Wire {
    /// The way to another server, whose public URLs begin so.
    #[must_use]
    pub fn at(&self, base: String) -> Self {
        Self { base, ..self.clone() }
    }

    /// A request of a person to a path of the public listener.
    #[must_use]
    pub fn person(&self, method: &str, path: &str) -> AdminRequest {
        AdminRequest::new(&self.http, method, format!("{}{path}", self.base))
    }

    /// Another way to the same server.
    #[must_use]
    pub fn over(&self, base: String, http: reqwest::Client) -> Self {
        Self { base, http, seen: Arc::clone(&self.seen) }
    }
}

/// How a request authenticates.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Not at all.
    None,
    /// Id and secret in the header.
    Basic(String, String),
    /// Id and secret in the body.
    Post(String, String),
    /// A client assertion.
    Assertion(String),
}

/// A POST of a form.
#[derive(Debug, Clone)]
pub struct FormRequest {
    wire: Wire,
    path: String,
    method: Method,
    parameters: Vec<(String, String)>,
    credentials: Credentials,
    headers: Vec<(HeaderName, HeaderValue)>,
    content_type: Option<String>,
    body: Option<Vec<u8>>,
}

impl FormRequest {
    /// A request of nothing yet, with a correlation id of its own.
    #[must_use]
    pub fn new(wire: &Wire, path: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let correlation_id = format!("request-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let request = Self {
            wire: wire.clone(),
            path: path.to_owned(),
            method: Method::POST,
            parameters: Vec::new(),
            credentials: Credentials::None,
            headers: Vec::new(),
            content_type: Some("application/x-www-form-urlencoded".to_owned()),
            body: None,
        };
        request.header("x-correlation-id", correlation_id)
    }

    /// Sent to another server.
    #[must_use]
    pub fn over(self, wire: &Wire) -> Self {
        Self { wire: wire.clone(), ..self }
    }

    /// With a parameter that has this value, and no other of that name.
    #[must_use]
    pub fn set(self, name: &str, value: impl Into<String>) -> Self {
        self.without(name).add(name, value)
    }

    /// With one more parameter.
    #[must_use]
    pub fn add(mut self, name: &str, value: impl Into<String>) -> Self {
        self.parameters.push((name.to_owned(), value.into()));
        self
    }

    /// Without the parameters of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.parameters.retain(|(known, _)| known != name);
        self
    }

    /// With one header of this name.
    ///
    /// # Panics
    /// When it is no header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, HeaderValue::from_bytes(value.as_ref()).expect("a header's value")));
        self
    }

    /// With one more header of this name.
    ///
    /// # Panics
    /// When it is no header.
    #[must_use]
    pub fn another_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.parse().expect("a header's name"), value.parse().expect("a header's value")));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known.as_str() != name);
        self
    }

    /// With other credentials.
    #[must_use]
    pub fn authenticated(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// By another method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// To another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// To another server.
    #[must_use]
    pub fn at(mut self, wire: &Wire) -> Self {
        self.wire = wire.clone();
        self
    }

    /// With another content type, or none.
    #[must_use]
    pub fn content_type(mut self, content_type: Option<&str>) -> Self {
        self.content_type = content_type.map(str::to_owned);
        self
    }

    /// With a body of these bytes, in place of the form.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The form as it is sent.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&self.parameters);
        match &self.credentials {
            Credentials::None | Credentials::Basic(..) => {}
            Credentials::Post(id, secret) => {
                form.append_pair(CLIENT_ID, id).append_pair(CLIENT_SECRET, secret);
            }
            Credentials::Assertion(assertion) => {
                let kind = JWT_BEARER_ASSERTION;
                form.append_pair(CLIENT_ASSERTION, assertion).append_pair(CLIENT_ASSERTION_TYPE, kind);
            }
        }
        form.finish().into_bytes()
    }

    /// The correlation id that it bears; the empty text when it has none.
    #[must_use]
    pub fn correlation_id(&self) -> String {
        let header = self.headers.iter().find(|(name, _)| name == "x-correlation-id");
        header.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Sends it, and reads the answer.
    ///
    /// # Panics
    /// When there is no answer, or an error that repeats a token or a secret.
    pub async fn send(self) -> Answer {
        self.try_send().await.expect("an answer")
    }

    /// As [`Self::send`], to a server that may not be there.
    ///
    /// # Errors
    /// When no answer begins.
    ///
    /// # Panics
    /// When an answer is cut short, or is an error that repeats a token or a secret.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let seen = Arc::clone(&self.wire.seen);
        self.remember(&seen);
        let mut request = self.wire.http.request(self.method.clone(), format!("{}{}", self.wire.base, self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Credentials::Basic(id, secret) = &self.credentials {
            request = request.header("authorization", basic(id, secret));
        }
        if let Some(content_type) = &self.content_type {
            request = request.header("content-type", content_type);
        }
        let body = self.body.clone().unwrap_or_else(|| self.encoded());
        let answer = Answer::of(request.body(body).send().await?).await;
        match answer.json["access_token"].as_str() {
            Some(token) => seen.remember(token),
            None => seen.assert_not_in(&answer.text(), "an answer without a token"),
        }
        Ok(answer)
    }

    fn remember(&self, seen: &Seen) {
        const SECRETS: [&str; 5] = ["subject_token", "actor_token", "client_secret", "client_assertion", "token"];
        for (_, value) in self.parameters.iter().filter(|(name, _)| SECRETS.contains(&name.as_str())) {
            seen.remember(value);
        }
        match &self.credentials {
            Credentials::None => {}
            Credentials::Basic(id, secret) => {
                seen.remember(secret);
                seen.remember(basic(id, secret).trim_start_matches("Basic "));
            }
            Credentials::Post(_, secret) => seen.remember(secret),
            Credentials::Assertion(assertion) => seen.remember(assertion),
        }
    }
}

/// The header of RFC 6749 section 2.3.1, whose parts are form-encoded first.
fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}
