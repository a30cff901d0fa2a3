//! The request of a hop, parameter by parameter, and what spoils it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use proptest::sample::Index;
use serde_json::json;
use sts_tests::model::{Agent, Credential, Model, OUR_ISSUER};

use super::claims::thumbprint;
use super::journeys::{Hop, Naming, Proves, RequestFault};
use super::registries::TENANTS;
use super::sent::{ActorToken, Client, Proof, Sent};
use super::tokens::{CREDENTIAL_SECONDS, Held, fresh_name, workload_token};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request asks for, by the indices of the agents.
pub(super) struct Wish {
    pub(super) client: usize,
    pub(super) target: usize,
    pub(super) scope: Option<String>,
    /// What `X-Tenant-ID` says.
    pub(super) tenant: Option<String>,
}

/// The request of a hop, with the token that the client holds.
pub(super) fn draft(model: &Model, wish: Wish, held: &Held, hop: &Hop, now: Timestamp) -> Sent {
    let mut draft = Draft { model, client: wish.client, now, sent: blank() };
    draft.subject(held, hop.fault);
    draft.authenticate(hop);
    let is_bound = held.presented.claims.get("cnf").is_some();
    match hop.proves {
        Proves::Always => draft.prove(),
        Proves::IfBound if is_bound => draft.prove(),
        Proves::IfBound | Proves::Never => {}
    }
    if hop.certifies {
        draft.certify();
    }
    draft.name_target(wish.target, &hop.naming, hop.fault);
    if let Some(scope) = wish.scope {
        draft.set("scope", scope);
    }
    draft.sent.headers.extend(wish.tenant.map(|tenant| ("x-tenant-id", tenant)));
    if hop.requested_jwt {
        draft.set("requested_token_type", JWT);
    }
    if let Some(fault) = hop.fault {
        draft.spoil(fault, wish.target);
    }
    draft.sent
}

/// A request that grows.
struct Draft<'a> {
    model: &'a Model,
    client: usize,
    now: Timestamp,
    sent: Sent,
}

fn blank() -> Sent {
    let form = vec![("grant_type".to_owned(), EXCHANGE.to_owned())];
    Sent {
        form,
        headers: Vec::new(),
        client: Client::Unknown,
        subject: None,
        actor: ActorToken::None,
        proof: Proof::None,
        certificate: None,
    }
}

impl Draft<'_> {
    fn add(&mut self, name: &str, value: impl Into<String>) {
        self.sent.form.push((name.to_owned(), value.into()));
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.unset(name);
        self.add(name, value);
    }

    fn unset(&mut self, name: &str) {
        self.sent.form.retain(|(known, _)| known != name);
    }

    fn agent(&self) -> &Agent {
        &self.model.agents[self.client]
    }

    fn subject(&mut self, held: &Held, fault: Option<RequestFault>) {
        self.add("subject_token", held.token.clone());
        let declared = if fault == Some(RequestFault::DeclaredIdToken) { ID_TOKEN } else { ACCESS_TOKEN };
        self.add("subject_token_type", declared);
        self.sent.subject = Some(held.presented.clone());
    }

    fn authenticate(&mut self, hop: &Hop) {
        let agent = self.agent().clone();
        self.sent.client = Client::Agent(self.client);
        match agent.credential {
            Credential::None => self.sent.client = Client::Unknown,
            Credential::Secret if hop.other_method => {
                self.add("client_id", agent.id.clone());
                self.add("client_secret", agent.secret());
            }
            Credential::Secret => self.basic(&agent.id, &agent.secret()),
            Credential::Certificate => {
                self.add("client_id", agent.id.clone());
                self.certify();
            }
            Credential::Key => {
                let assertion = self.assertion(&agent);
                self.add("client_assertion_type", ASSERTION);
                self.add("client_assertion", assertion);
            }
            Credential::Workload(issuer) => {
                let token = workload_token(self.model, &agent, issuer, self.now);
                // Where anything else is unusual, the plain way: the credential is not what goes wrong then.
                if hop.other_method && hop.fault.is_none() {
                    self.sent.client = Client::ByActorToken(self.client);
                    self.add("actor_token", token);
                    self.add("actor_token_type", JWT);
                } else {
                    self.add("client_assertion_type", ASSERTION);
                    self.add("client_assertion", token);
                }
            }
        }
    }

    fn prove(&mut self) {
        let key = Agent::proof_key(self.client);
        let mut jwk = key.jwk();
        jwk.as_object_mut().expect("an object").retain(|name, _| !["kid", "alg", "use"].contains(&name.as_str()));
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        let uri = format!("{OUR_ISSUER}/oauth2/token");
        let claims = json!({ "jti": fresh_name(), "htm": "POST", "htu": uri, "iat": self.now.as_second() });
        self.sent.headers.push(("dpop", key.sign_with(&header, &claims)));
        self.sent.proof = Proof::Good(key.kid().to_owned());
    }

    /// Shows the certificate of the client, as a trusted proxy passes it on (RFC 9440).
    fn certify(&mut self) {
        if self.sent.certificate.is_none() {
            let certificate = Agent::certificate(self.client);
            self.sent.headers.push(("client-cert", format!(":{}:", STANDARD.encode(&certificate))));
            self.sent.certificate = Some(thumbprint(&certificate));
        }
    }

    fn basic(&mut self, id: &str, secret: &str) {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        self.sent.headers.push(("authorization", format!("Basic {pair}")));
    }

    fn assertion(&self, agent: &Agent) -> String {
        Agent::key().sign(&json!({
            "iss": agent.id, "sub": agent.id, "aud": OUR_ISSUER,
            "exp": self.now.as_second() + CREDENTIAL_SECONDS, "jti": fresh_name(),
        }))
    }

    fn name_target(&mut self, target: usize, naming: &Naming, fault: Option<RequestFault>) {
        let agent = &self.model.agents[target];
        let names: Vec<String> = agent.audience.iter().chain([&agent.id]).cloned().collect();
        let uri = names.iter().find(|name| name.contains("://")).cloned();
        let audience = |index: &Index| index.get(&names).clone();
        let names = match (naming, uri) {
            (Naming::Audience(index), _) => vec![("audience", audience(index))],
            (Naming::Resource, Some(uri)) => vec![("resource", uri)],
            (Naming::Resource, None) => vec![("audience", agent.id.clone())],
            (Naming::Both(index), Some(uri)) => vec![("audience", audience(index)), ("resource", uri)],
            (Naming::Both(index), None) => vec![("audience", audience(index)), ("audience", agent.id.clone())],
            (Naming::Default, _) => Vec::new(),
        };
        for (name, value) in names {
            self.add(name, value);
        }
        match fault {
            Some(RequestFault::UnknownTarget) => self.add("audience", "nobody"),
            Some(RequestFault::MalformedResource) => self.add("resource", "https://agent.example/#fragment"),
            Some(RequestFault::SeveralTargets) => {
                for agent in &self.model.agents[..2] {
                    self.sent.form.push(("audience".to_owned(), agent.id.clone()));
                }
            }
            _ => {}
        }
    }

    fn spoil(&mut self, fault: RequestFault, target: usize) {
        match fault {
            RequestFault::NoGrant => self.unset("grant_type"),
            RequestFault::OtherGrant => self.set("grant_type", "refresh_token"),
            RequestFault::ClientCredentials => self.become_service_account(),
            RequestFault::ForeignParameter => {
                self.become_service_account();
                self.add("actor_token_type", JWT);
            }
            RequestFault::NoSubjectToken => self.unset("subject_token"),
            RequestFault::NoSubjectTokenType => self.set("subject_token_type", ""),
            RequestFault::UnknownSubjectTokenType => {
                self.set("subject_token_type", "urn:ietf:params:oauth:token-type:saml2");
            }
            RequestFault::GarbageSubjectToken => {
                self.set("subject_token", "no token");
                self.sent.subject = None;
            }
            RequestFault::UnpairedActorToken => self.set("actor_token", "alone"),
            RequestFault::OwnActorToken => self.actor_token(self.client),
            RequestFault::ActorTokenOfAnother => {
                let another = (0..self.model.agents.len()).rev().find(|agent| *agent != self.client);
                self.actor_token(another.unwrap_or(target));
            }
            RequestFault::GarbageActorToken => {
                self.set("actor_token", "no token");
                self.set("actor_token_type", JWT);
                self.sent.actor = ActorToken::Garbage;
            }
            RequestFault::IdTokenRequested => self.set("requested_token_type", ID_TOKEN),
            RequestFault::Dpop => {
                self.sent.headers.push(("dpop", "proof".to_owned()));
                self.sent.proof = Proof::Bad;
            }
            RequestFault::AuthorizationDetails => self.set("authorization_details", "[]"),
            RequestFault::TenantHeaderMalformed => self.sent.headers.push(("x-tenant-id", "acme/eu".to_owned())),
            RequestFault::TenantHeaderTwice => {
                self.sent.headers.retain(|(name, _)| *name != "x-tenant-id");
                self.sent.headers.extend([TENANTS[0], TENANTS[0]].map(|tenant| ("x-tenant-id", tenant.to_owned())));
            }
            RequestFault::MalformedScope => self.set("scope", "stock:read  \"bin\""),
            RequestFault::WrongCredential => {
                self.forget_credential();
                let id = self.agent().id.clone();
                self.basic(&id, "another secret");
            }
            RequestFault::NoCredential => self.forget_credential(),
            RequestFault::TwoCredentials => {
                self.set("client_secret", "a secret");
                self.set("client_assertion", "an assertion");
                self.sent.client = Client::Contradictory;
            }
            RequestFault::ClientIdOfAnother => {
                let another = (0..self.model.agents.len()).find(|agent| *agent != self.client).unwrap_or(target);
                self.set("client_id", self.model.agents[another].id.clone());
                self.contradict();
            }
            RequestFault::Repeated => {
                self.add("subject_token_type", JWT);
                self.add("subject_token_type", JWT);
            }
            RequestFault::DeclaredIdToken
            | RequestFault::UnknownTarget
            | RequestFault::SeveralTargets
            | RequestFault::MalformedResource => {}
        }
    }

    /// A `client_id` beside a credential in the header or an assertion contradicts it; beside a secret in the body or a certificate it replaces the id.
    fn contradict(&mut self) {
        let Client::Agent(agent) = self.sent.client else { return };
        let entry = &self.model.agents[agent];
        let vouched = match entry.credential {
            Credential::Workload(issuer) => !self.model.issuers[issuer].disabled,
            Credential::None | Credential::Secret | Credential::Key | Credential::Certificate => true,
        };
        let in_body = self.sent.get("client_secret").is_some() || entry.credential == Credential::Certificate;
        let is_known = !in_body && !entry.disabled && vouched;
        self.sent.client = if is_known { Client::Contradictory } else { Client::Unknown };
    }

    fn become_service_account(&mut self) {
        for name in ["subject_token", "subject_token_type", "actor_token", "actor_token_type"] {
            self.unset(name);
        }
        self.set("grant_type", "client_credentials");
        self.sent.subject = None;
    }

    fn forget_credential(&mut self) {
        for name in [
            "client_id",
            "client_secret",
            "client_assertion",
            "client_assertion_type",
            "actor_token",
            "actor_token_type",
        ] {
            self.unset(name);
        }
        self.sent.headers.retain(|(name, _)| !["authorization", "client-cert"].contains(name));
        self.sent.certificate = None;
        self.sent.client = Client::Unknown;
    }

    /// A workload token of an agent, beside the credential; of one that has none, a token that nobody is.
    fn actor_token(&mut self, agent: usize) {
        let entry = &self.model.agents[agent];
        let (issuer, is) = match entry.credential {
            Credential::Workload(issuer) => (issuer, ActorToken::Of(agent)),
            Credential::None | Credential::Secret | Credential::Key | Credential::Certificate => {
                (0, ActorToken::Garbage)
            }
        };
        let token = workload_token(self.model, entry, issuer, self.now);
        self.set("actor_token", token);
        self.set("actor_token_type", JWT);
        self.sent.actor = is;
    }
}
