//! Who asks for tokens: the registry of the suite, and every kind of request that its clients send, with what must come of it.
//!
//! ```text
//! coordinator ─┬─> inventory ──> warehouse, which only receives
//! robot ───────┘
//! ```
//!
//! `coordinator` and `inventory` have a random secret, `robot` a key, whose assertions count once. `coordinator` and `inventory` can bind
//! their tokens to keys of theirs.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sts_jose::{Algorithm, Clock as _, SystemClock};
use sts_tests::TestKey;

use crate::proof::{Proof, Prover, is_bound};

const IDP: &str = "https://login.example.com";
/// The secret of every agent that has one.
pub const SECRET: &str = "rJ0qv1Vd3J2cXyQm8m3a5nVf0y7pZ5t9oQwq4o1yG8E";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
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
id = "robot"
accepts = ["web-app"]
auth.jwks = {robot}

[[agents]]
id = "inventory"
auth.client_secret_sha256 = "{sha256}"

[[agents]]
id = "warehouse"

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read", "stock:write"]

[[delegations]]
actor = "robot"
target = "inventory"
scopes = ["stock:read"]

[[delegations]]
actor = "inventory"
target = "warehouse"
scopes = [{ scope = "bin:read", from = ["stock:read"] }]
"#;

const SERVICE: &str = r#"
[[agents]]
id = "{id}"
auth.client_secret_sha256 = "{sha256}"

[[delegations]]
actor = "{id}"
target = "inventory"
scopes = ["stock:read"]
service_account = true
"#;

/// An issuer of workloads whose key set no server can fetch, and the agent that its tokens would authenticate.
const SILENT: &str = "https://silent.example.com";
const SILENT_WORKLOAD: &str = r#"
[[issuers]]
issuer = "https://silent.example.com"
jwks_uri = "http://127.0.0.1:9/jwks"
allow_http = true

[[agents]]
id = "silent-workload"
auth.workload = [{ issuer = "https://silent.example.com", subject = "job" }]
"#;

/// The users' issuer and the agents, with their keys.
#[derive(Debug)]
pub struct Shop {
    /// The issuer identifier of the servers.
    pub issuer: String,
    idp: Arc<TestKey>,
    robot: Arc<TestKey>,
    stranger: Arc<TestKey>,
    coordinator: Prover,
    inventory: Prover,
    nonce: Arc<Mutex<Option<String>>>,
}

/// A form, and who sends it.
#[derive(Debug, Clone)]
pub struct Form {
    /// Id and secret of the header; none where the form authenticates.
    pub basic: Option<(&'static str, &'static str)>,
    /// The parameters.
    pub parameters: Vec<(&'static str, String)>,
    /// The proof of the key to which the token is bound; none where it is not.
    pub proof: Option<Proof>,
}

/// What a request must come to, when nothing stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owed {
    /// A token.
    Token,
    /// A refusal with this status and code.
    Refusal(u16, &'static str),
    /// A refusal with this status and code; or an outage, while the keys of the issuer cannot be read: nobody knows whether it has one more.
    RefusalOfKnownKeys(u16, &'static str),
    /// The refusal of a value that was spent, which only the database knows.
    Spent,
    /// A token, or the refusal of a value that was spent: nobody knows whether the first answer was lost.
    Either,
}

/// A request that must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// The secret is wrong.
    Secret,
    /// More scope than is allowed.
    Scope,
    /// The target is unknown.
    Target,
    /// The subject token is signed by nobody known, under a key that the issuer has.
    Signature,
    /// The subject token names a key that the issuer does not have.
    UnknownKid,
    /// The subject token was meant for another.
    Audience,
    /// The form repeats a parameter.
    Repeated,
}

impl Bad {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Secret, Self::Scope, Self::Target, Self::Signature, Self::UnknownKid, Self::Audience, Self::Repeated];

    /// What it must come to.
    #[must_use]
    pub fn owed(self) -> Owed {
        match self {
            Self::Secret => Owed::Refusal(401, "invalid_client"),
            Self::Scope => Owed::Refusal(400, "invalid_scope"),
            Self::Target => Owed::Refusal(400, "invalid_target"),
            Self::UnknownKid => Owed::RefusalOfKnownKeys(400, "invalid_request"),
            Self::Signature | Self::Audience | Self::Repeated => Owed::Refusal(400, "invalid_request"),
        }
    }
}

impl Shop {
    /// A shop whose tokens come from the servers of this issuer.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        let [idp, robot, stranger] = std::array::from_fn(|_| TestKey::new(Algorithm::Es256));
        let nonce = Arc::default();
        let [coordinator, inventory] = std::array::from_fn(|_| Prover::new(issuer, &nonce));
        Self { issuer: issuer.to_owned(), idp, robot, stranger, coordinator, inventory, nonce }
    }

    /// Takes the nonce of an answer for the next proofs.
    pub fn learn_nonce(&self, nonce: &str) {
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.to_owned());
    }

    /// The registry file.
    #[must_use]
    pub fn registry(&self) -> String {
        let key = self.robot.jwk();
        let members: Vec<String> =
            key.as_object().into_iter().flatten().map(|(name, value)| format!("{name} = {value}")).collect();
        let jwks = format!("{{ keys = [{{ {} }}] }}", members.join(", "));
        REGISTRY.replace("{sha256}", &sha256(SECRET)).replace("{robot}", &jwks)
    }

    /// The registry text of a workload of the issuer whose keys are out of reach.
    #[must_use]
    pub fn silent_workload() -> &'static str {
        SILENT_WORKLOAD
    }

    /// A request with a made-up token of that workload, which no server can verify.
    #[must_use]
    pub fn by_silent_workload(&self) -> Form {
        let now = SystemClock.now().as_second();
        let claims = json!({
            "iss": SILENT, "sub": "job", "aud": self.issuer, "iat": now, "exp": now + 240, "jti": name(),
        });
        let mut form = exchange(&self.user_token(), "inventory");
        form.parameters.push(("client_assertion_type", JWT_BEARER.to_owned()));
        form.parameters.push(("client_assertion", self.stranger.sign(&claims)));
        form
    }

    /// The users' issuer's key set.
    #[must_use]
    pub fn idp_jwks(&self) -> String {
        json!({ "keys": [self.idp.jwk()] }).to_string()
    }

    /// A token of the user alice, of the tenant acme, for an hour.
    #[must_use]
    pub fn user_token(&self) -> String {
        self.idp.sign(&user_claims("web-app"))
    }

    /// The registry text of a further agent with the secret of the others. It requests tokens for the inventory on its own behalf.
    #[must_use]
    pub fn service(id: &str) -> String {
        SERVICE.replace("{id}", id).replace("{sha256}", &sha256(SECRET))
    }

    /// The first hop: the coordinator asks for a token for the inventory.
    #[must_use]
    pub fn first_hop(&self) -> Form {
        exchange(&self.user_token(), "inventory").by("coordinator")
    }

    /// The first hop, whose token is bound to the key of the coordinator.
    #[must_use]
    pub fn bound_first_hop(&self) -> Form {
        Form { proof: Some(Proof::Fresh(self.coordinator.clone())), ..self.first_hop() }
    }

    /// The first hop of another user of the tenant acme.
    #[must_use]
    pub fn first_hop_of(&self, user: &str) -> Form {
        let mut claims = user_claims("web-app");
        claims["sub"] = json!(user);
        exchange(&self.idp.sign(&claims), "inventory").by("coordinator")
    }

    /// The second hop: the inventory, with the token that it received, asks for one for the warehouse. It is bound if that one is.
    #[must_use]
    pub fn second_hop(&self, token: &str) -> Form {
        if is_bound(token) {
            return self.bound_second_hop(token);
        }
        exchange(token, "warehouse").by("inventory")
    }

    /// The second hop, whose token is bound to the key of the inventory.
    #[must_use]
    pub fn bound_second_hop(&self, token: &str) -> Form {
        Form { proof: Some(Proof::Fresh(self.inventory.clone())), ..exchange(token, "warehouse").by("inventory") }
    }

    /// A name for a value that counts once, and a first hop of the robot that spends it.
    #[must_use]
    pub fn one_time(&self) -> (String, Form) {
        let (now, jti) = (SystemClock.now().as_second(), name());
        let assertion = self.robot.sign(&json!({
            "iss": "robot", "sub": "robot", "aud": self.issuer, "iat": now, "exp": now + 240, "jti": jti,
        }));
        let mut form = exchange(&self.user_token(), "inventory");
        form.parameters.push(("client_assertion_type", JWT_BEARER.to_owned()));
        form.parameters.push(("client_assertion", assertion));
        (jti, form)
    }

    /// A name for a proof, which counts once, and a first hop that spends it.
    #[must_use]
    pub fn one_time_proof(&self) -> (String, Form) {
        let jti = name();
        let proof = self.coordinator.prove(&jti);
        (jti, Form { proof: Some(Proof::Fixed(proof)), ..self.first_hop() })
    }

    /// A request that must be refused.
    #[must_use]
    pub fn bad(&self, bad: Bad) -> Form {
        let mut form = self.first_hop();
        match bad {
            Bad::Secret => form.basic = Some(("coordinator", "not-the-secret-of-the-coordinator")),
            Bad::Scope => form.parameters.push(("scope", "stock:burn".to_owned())),
            Bad::Target => form.set("audience", "nobody"),
            Bad::Signature => {
                let header = json!({ "alg": "ES256", "kid": self.idp.kid() });
                form.set("subject_token", &self.stranger.sign_with(&header, &user_claims("web-app")));
            }
            Bad::UnknownKid => form.set("subject_token", &self.stranger.sign(&user_claims("web-app"))),
            Bad::Audience => form.set("subject_token", &self.idp.sign(&user_claims("another-app"))),
            Bad::Repeated => form.parameters.push(("grant_type", EXCHANGE.to_owned())),
        }
        form
    }
}

impl Form {
    fn by(mut self, agent: &'static str) -> Self {
        self.basic = Some((agent, SECRET));
        self
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.parameters.retain(|(known, _)| *known != name);
        self.parameters.push((name, value.to_owned()));
    }

    /// A request that sends the form.
    pub fn put_into(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(self.encoded());
        let request = match self.basic {
            Some((id, secret)) => request.basic_auth(id, Some(secret)),
            None => request,
        };
        match &self.proof {
            Some(Proof::Fresh(prover)) => request.header("dpop", prover.prove(&name())),
            Some(Proof::Fixed(proof)) => request.header("dpop", proof),
            None => request,
        }
    }

    fn encoded(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.parameters).finish()
    }
}

fn exchange(subject_token: &str, audience: &str) -> Form {
    let parameters = vec![
        ("grant_type", EXCHANGE.to_owned()),
        ("subject_token", subject_token.to_owned()),
        ("subject_token_type", ACCESS_TOKEN.to_owned()),
        ("audience", audience.to_owned()),
    ];
    Form { basic: None, parameters, proof: None }
}

/// A request of an agent of [`Shop::service`] for a token on its own behalf.
#[must_use]
pub fn service_request(id: &'static str) -> Form {
    let parameters = vec![("grant_type", "client_credentials".to_owned()), ("audience", "inventory".to_owned())];
    Form { basic: None, parameters, proof: None }.by(id)
}

/// The SHA-256 digest of a secret in hexadecimal, as the registry has it.
#[must_use]
pub fn sha256(secret: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    sts_jose::hex(digest.as_ref())
}

/// Asks, as the agent that received a first hop, whether that token is active.
#[must_use]
pub fn introspection(token: &str) -> Form {
    Form { basic: None, parameters: vec![("token", token.to_owned())], proof: None }.by("inventory")
}

fn user_claims(audience: &str) -> Value {
    let now = SystemClock.now().as_second();
    json!({
        "iss": IDP, "sub": "alice", "aud": audience, "org_id": "acme", "iat": now, "exp": now + 3600, "jti": name(),
    })
}

/// A name that nobody else has.
fn name() -> String {
    uuid::Uuid::from_u64_pair(random(), random()).simple().to_string()
}

/// Any number.
#[must_use]
pub fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _, RandomState};
    RandomState::new().build_hasher().finish()
}
