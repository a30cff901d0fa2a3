//! Operators: their tokens, and their requests to the admin API.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use sts_jose::SystemEntropy;
use sts_server::admin::NewToken;

use crate::Answer;

/// An admin token of each role, made once: hashing takes its time.
#[derive(Debug)]
pub struct Operators {
    tokens: Vec<(&'static str, String)>,
    /// The option `admin.tokens` that knows them.
    pub option: String,
}

impl Operators {
    /// The operators `reader`, `operator` and `admin`, each with the role of its name.
    #[must_use]
    pub fn all() -> &'static Self {
        static ALL: LazyLock<Operators> = LazyLock::new(|| {
            let roles = ["reader", "operator", "admin"];
            let made = roles.map(|role| (role, NewToken::make(role, &SystemEntropy).expect("a hash")));
            let known = |(role, made): &(&str, NewToken)| json!({ "name": role, "role": role, "hash": made.hash });
            let option = Value::Array(made.iter().map(known).collect()).to_string();
            let tokens = made.iter().map(|(role, made)| (*role, made.expose().to_owned())).collect();
            Operators { tokens, option }
        });
        &ALL
    }

    /// The token of an operator.
    ///
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn token(&self, name: &str) -> &str {
        let token = self.tokens.iter().find(|(known, _)| *known == name);
        token.map(|(_, token)| token.as_str()).expect("reader, operator or admin")
    }

    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|(_, token)| token.as_str())
    }
}

/// A request to the admin API.
#[derive(Debug, Clone)]
pub struct AdminRequest {
    http: reqwest::Client,
    method: Method,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl AdminRequest {
    /// A request of nobody, with a correlation id of its own.
    ///
    /// # Panics
    /// When `method` is none.
    #[must_use]
    pub fn new(http: &reqwest::Client, method: &str, url: String) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let correlation_id = format!("admin-request-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let method = method.parse().expect("a method");
        let request = Self { http: http.clone(), method, url, headers: Vec::new(), body: Vec::new() };
        request.header("x-correlation-id", &correlation_id)
    }

    /// With the token of one of the [`Operators`].
    #[must_use]
    pub fn by(self, operator: &str) -> Self {
        self.bearer(Operators::all().token(operator))
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// With one header of this name.
    ///
    /// # Panics
    /// When it is no header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.retain(|(known, _)| *known != name);
        self.another_header(name.as_str(), value)
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

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header(CONTENT_TYPE.as_str(), "application/json").body(body.to_string())
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// For an entry that is this.
    #[must_use]
    pub fn if_match(self, etag: &str) -> Self {
        self.header("if-match", etag)
    }

    /// For an entry that is new.
    #[must_use]
    pub fn if_new(self) -> Self {
        self.header("if-none-match", "*")
    }

    /// What joins it to its audit events.
    #[must_use]
    pub fn correlation_id(&self) -> String {
        let id = self.headers.iter().find(|(name, _)| name == "x-correlation-id");
        id.map(|(_, value)| value.to_str().expect("ASCII").to_owned()).unwrap_or_default()
    }

    /// The answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn send(&self) -> Answer {
        let mut request = self.http.request(self.method.clone(), &self.url).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Answer::of(request.send().await.expect("an answer")).await
    }
}
