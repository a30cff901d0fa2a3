//! What came back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::Value;

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The body as JSON; null where it is none.
    pub json: Value,
}

/// The names of an object's members, sorted: which order a map has is for the features of its crate to say.
///
/// # Panics
/// When it is no object.
#[must_use]
pub fn members(object: &Value) -> Vec<&str> {
    let mut members: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    members.sort_unstable();
    members
}

impl Answer {
    /// Reads an answer whole.
    ///
    /// # Panics
    /// When the body ends early.
    pub async fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await.expect("a whole body").to_vec();
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Self { status, headers, body, json }
    }

    /// A header; the empty text when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header of ASCII"))
    }

    /// The error code; the empty text when there is none.
    #[must_use]
    pub fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The token of a success.
    ///
    /// # Panics
    /// When it is none.
    #[expect(clippy::must_use_candidate, reason = "a test that only asks for success calls it too")]
    pub fn token(&self) -> &str {
        assert_eq!(self.status, 200, "{} {:?}", self.text(), self.headers);
        self.json["access_token"].as_str().expect("an access token")
    }

    /// The claims of the token of a success, unverified.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn claims(&self) -> Value {
        segment(self.token(), 1)
    }

    /// The header of the token of a success, unverified.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn token_header(&self) -> Value {
        segment(self.token(), 0)
    }
}

fn segment(token: &str, index: usize) -> Value {
    let segment = token.split('.').nth(index).expect("three segments");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).expect("base64url")).expect("JSON")
}
