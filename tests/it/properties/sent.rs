//! A request as it was sent, with what its maker knows of it and the server must find out.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// A request to the token endpoint.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) form: Vec<(String, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) client: Client,
    /// What stands in `subject_token`, if anything.
    pub(super) subject: Option<Presented>,
    /// What stands in `actor_token`, if anything.
    pub(super) actor: ActorToken,
    pub(super) proof: Proof,
    /// The SHA-256 of the client certificate, in base64url.
    pub(super) certificate: Option<String>,
}

/// What stands in the `DPoP` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    None,
    /// A good proof of the key with this thumbprint.
    Good(String),
    Bad,
}

/// Who sends a request, and whether it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// The agent of this index, with a good credential.
    Agent(usize),
    /// The agent of this index, by nothing but its `actor_token`.
    ByActorToken(usize),
    /// A wrong credential or none.
    Unknown,
    /// Two credentials, or a `client_id` that is another's.
    Contradictory,
}

/// What stands in `actor_token` besides what authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActorToken {
    None,
    /// A workload token of the agent of this index.
    Of(usize),
    Garbage,
}

/// A token in `subject_token`.
#[derive(Debug, Clone)]
pub(super) struct Presented {
    pub(super) typ: Option<String>,
    pub(super) claims: Value,
    pub(super) signature: Signature,
}

/// Who signed a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// Whoever `iss` says.
    Genuine,
    /// Somebody else.
    Forged,
    /// It is no token at all.
    None,
}

impl Sent {
    /// The value of a parameter; an empty one counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Whether it is an exchange with an actor token and without client authentication.
    pub(super) fn is_unauthenticated_exchange(&self) -> bool {
        let credentials = ["client_secret", "client_assertion", "client_assertion_type"];
        let is_exchange = self.get("grant_type") == Some("urn:ietf:params:oauth:grant-type:token-exchange");
        is_exchange
            && self.get("actor_token").is_some()
            && credentials.iter().all(|name| self.get(name).is_none())
            && self.header("authorization").next().is_none()
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.form
            .iter()
            .filter(move |(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The values of a header.
    pub(super) fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The headers as they are sent.
    pub(super) fn header_map(&self) -> HeaderMap {
        let pair = |(name, value): &(&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"))
        };
        let mut map = HeaderMap::new();
        for (name, value) in self.headers.iter().map(pair) {
            map.append(name, value);
        }
        map
    }
}
