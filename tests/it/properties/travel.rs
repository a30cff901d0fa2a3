//! A journey, resolved in its registry and sent hop by hop.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use proptest::sample::Index;
use serde_json::{Value, json};
use sts_tests::Answer;
use sts_tests::model::{Agent, Credential, Model, OUR_ISSUER, ScopeSource, TenantSource, key_of_a_stranger};
use sts_tests::world::{Node, World};

use super::journeys::{
    Address, AskedScope, Hop, Journey, MayAct, Naming, RequestFault, Scenario, Target, TenantClaim, TenantHeader,
    TokenFault, UserToken,
};
use super::registries::TENANTS;
use super::sent::{ActorToken, Client, Presented, Sent, Signature};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long workload tokens and assertions live, in seconds.
const CREDENTIAL_SECONDS: i64 = 60;

/// A request, when it was sent, and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) at: Timestamp,
    pub(super) sent: Sent,
    pub(super) correlation_id: String,
    pub(super) answer: Answer,
    /// The token that came of it.
    pub(super) issued: Option<Presented>,
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const TOKENS: [&str; 3] = ["subject_token", "actor_token", "client_assertion"];
        writeln!(f, "at {} by {:?}, {:?} as actor_token", self.at, self.sent.client, self.sent.actor)?;
        for (name, value) in self.sent.form.iter().filter(|(name, _)| !TOKENS.contains(&name.as_str())) {
            writeln!(f, "  {name}={value}")?;
        }
        writeln!(f, "  {:?}", self.sent.headers)?;
        if let Some(Presented { typ, claims, signature }) = &self.sent.subject {
            writeln!(f, "subject token, {signature:?}, typ {typ:?}: {claims}")?;
        }
        let claims = self.issued.as_ref().map(|issued| &issued.claims);
        writeln!(f, "answer {} {}: {claims:?}", self.answer.status, self.answer.error())
    }
}

/// A token with what it says.
#[derive(Debug, Clone)]
struct Held {
    token: String,
    presented: Presented,
}

/// Sends every journey of a scenario, one after the other; all exchanges, in their order.
pub(super) async fn travel(scenario: &Scenario, world: &World, node: &Node) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    for journey in &scenario.journeys {
        let mut traveller = Traveller::begin(&scenario.model, journey, world);
        for hop in &journey.hops {
            world.clock.advance(std::time::Duration::from_millis(hop.wait_ms));
            let sent = traveller.request(hop, world.now());
            exchanges.push(traveller.send(sent, world, node).await);
        }
    }
    exchanges
}

/// A user's request on its way.
pub(super) struct Traveller<'a> {
    model: &'a Model,
    /// The agent that the token is for.
    holder: usize,
    held: Held,
}

impl<'a> Traveller<'a> {
    /// At the first agent, with the token of the user.
    pub(super) fn begin(model: &'a Model, journey: &Journey, world: &World) -> Self {
        let askers: Vec<usize> =
            (0..model.agents.len()).filter(|index| model.agents[*index].credential != Credential::None).collect();
        let holder = if askers.is_empty() { 0 } else { *journey.first.get(&askers) };
        let held = user_token(model, holder, &journey.token, world.now());
        Self { model, holder, held }
    }

    /// Sends a request; whoever receives a token goes on with it.
    pub(super) async fn send(&mut self, mut sent: Sent, world: &World, node: &Node) -> Exchange {
        let correlation_id = fresh_name();
        sent.headers.push(("x-correlation-id", correlation_id.clone()));
        let at = world.now();
        let answer = node.post("/oauth2/token", &sent.form, &sent.header_map()).await;
        let held =
            answer.json["access_token"].as_str().map(|token| Held { token: token.to_owned(), presented: read(token) });
        let issued = held.as_ref().map(|held| held.presented.clone());
        if let Some(held) = held.filter(|held| held.presented.claims.get("act").is_some()) {
            let audience = &held.presented.claims["aud"];
            let receiver = self.model.agents.iter().position(|agent| *audience == agent.audience[0]);
            let receiver = receiver.expect("a token is for an agent");
            // The token of one that only receives goes no further: then the one before tries again.
            if self.model.agents[receiver].credential != Credential::None {
                (self.holder, self.held) = (receiver, held);
            }
        }
        Exchange { at, sent, correlation_id, answer, issued }
    }

    /// The request of a hop.
    pub(super) fn request(&self, hop: &Hop, now: Timestamp) -> Sent {
        let client = hop.intruder.as_ref().map_or(self.holder, |index| index.index(self.model.agents.len()));
        let target = self.target(client, &hop.target);
        let mut draft = Draft { model: self.model, client, now, sent: blank() };
        draft.subject(&self.held, hop.fault);
        draft.authenticate(hop);
        draft.name_target(target, &hop.naming, hop.fault);
        if let Some(scope) = self.scope(client, target, hop) {
            draft.set("scope", scope);
        }
        match &hop.tenant_header {
            TenantHeader::Absent => {}
            TenantHeader::OfToken => {
                let tenant = self.tenant();
                draft.sent.headers.extend(tenant.map(|tenant| ("x-tenant-id", tenant)));
            }
            TenantHeader::Named(tenant) => draft.sent.headers.push(("x-tenant-id", (*tenant).to_owned())),
        }
        if hop.requested_jwt {
            draft.set("requested_token_type", JWT);
        }
        if let Some(fault) = hop.fault {
            draft.spoil(fault, target);
        }
        draft.sent
    }

    fn target(&self, client: usize, target: &Target) -> usize {
        let any = |index: &Index| index.index(self.model.agents.len());
        match target {
            Target::Any(index) => any(index),
            Target::Delegated(index) => {
                let of_client = self.model.delegations.iter().filter(|delegation| delegation.actor == client);
                let targets: Vec<usize> = of_client.map(|delegation| delegation.target).collect();
                if targets.is_empty() { any(index) } else { *index.get(&targets) }
            }
        }
    }

    fn scope(&self, client: usize, target: usize, hop: &Hop) -> Option<String> {
        let scope = match &hop.scope {
            AskedScope::All => return None,
            AskedScope::Exactly(scope) => scope.clone(),
            AskedScope::Within(set) => {
                let delegation = self
                    .model
                    .delegations
                    .iter()
                    .find(|delegation| delegation.actor == client && delegation.target == target)?;
                let held = super::oracle::words(&self.held.presented.claims["scope"])?;
                let within = delegation.plain.intersection(&held).filter(|scope| set.contains(*scope));
                within.cloned().collect()
            }
        };
        (!scope.is_empty()).then(|| scope.into_iter().collect::<Vec<_>>().join(" "))
    }

    /// The tenant of the held token, as well as one can tell without its issuer.
    fn tenant(&self) -> Option<String> {
        let claims = &self.held.presented.claims;
        if claims["iss"] == OUR_ISSUER {
            return claims["tenant_id"].as_str().map(str::to_owned);
        }
        let issuer = self.model.issuers.iter().find(|issuer| claims["iss"] == issuer.name)?;
        match &issuer.tenant {
            TenantSource::Claim(claim) => {
                let claim = &claims[claim.as_str()];
                claim.as_str().or_else(|| claim[0].as_str()).map(str::to_owned)
            }
            TenantSource::Fixed(tenant) => Some(tenant.clone()),
            TenantSource::None => None,
        }
    }
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
    Sent { form, headers: Vec::new(), client: Client::Unknown, subject: None, actor: ActorToken::None }
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
            RequestFault::Dpop => self.sent.headers.push(("dpop", "proof".to_owned())),
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

    /// A `client_id` beside a credential in the header or an assertion contradicts it; beside a secret in the body it replaces the id.
    fn contradict(&mut self) {
        let Client::Agent(agent) = self.sent.client else { return };
        let entry = &self.model.agents[agent];
        let vouched = match entry.credential {
            Credential::Workload(issuer) => !self.model.issuers[issuer].disabled,
            Credential::None | Credential::Secret | Credential::Key => true,
        };
        let in_body = self.sent.get("client_secret").is_some();
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
        self.sent.headers.retain(|(name, _)| *name != "authorization");
        self.sent.client = Client::Unknown;
    }

    /// A workload token of an agent, beside the credential; of one that has none, a token that nobody is.
    fn actor_token(&mut self, agent: usize) {
        let entry = &self.model.agents[agent];
        let (issuer, is) = match entry.credential {
            Credential::Workload(issuer) => (issuer, ActorToken::Of(agent)),
            Credential::None | Credential::Secret | Credential::Key => (0, ActorToken::Garbage),
        };
        let token = workload_token(self.model, entry, issuer, self.now);
        self.set("actor_token", token);
        self.set("actor_token_type", JWT);
        self.sent.actor = is;
    }
}

/// A workload token of an agent.
fn workload_token(model: &Model, agent: &Agent, issuer: usize, now: Timestamp) -> String {
    let issuer = &model.issuers[issuer];
    issuer.signer().sign(&json!({
        "iss": issuer.name, "sub": agent.workload(), "aud": [OUR_ISSUER, "https://another.example"],
        "iat": now.as_second(), "exp": now.as_second() + CREDENTIAL_SECONDS,
    }))
}

/// The token of a user, for the agent `holder`.
fn user_token(model: &Model, holder: usize, token: &UserToken, now: Timestamp) -> Held {
    let issuer = token.issuer.get(&model.issuers);
    let holder = &model.agents[holder];
    let quarters = now.as_second() * 4 + token.lifetime_quarters;
    let exp = if quarters % 4 == 0 { json!(quarters / 4) } else { json!(quarters as f64 / 4.0) };
    let mut claims = json!({
        "iss": issuer.name, "sub": format!("user-{}", token.user), "exp": exp, "roles": token.roles,
        "auth_time": now.as_second() - 60, "acr": "2",
    });
    if let Some(age) = token.age {
        claims["iat"] = json!(now.as_second() - age);
    }
    if token.has_jti {
        claims["jti"] = json!(fresh_name());
    }
    let names: Vec<&String> = holder.audience.iter().chain(&holder.accepts).collect();
    let audience = match &token.address {
        Address::One(index) => json!(index.get(&names)),
        Address::Among(index) => json!(["somebody", index.get(&names)]),
        Address::Elsewhere => json!("somebody"),
        Address::Absent => Value::Null,
    };
    set(&mut claims, &issuer.audience_claim, audience);
    if let TenantSource::Claim(claim) = &issuer.tenant {
        set(&mut claims, claim, tenant(&token.tenant));
    }
    let scope: Vec<&String> = token.scope.iter().collect();
    let text = token.scope.iter().cloned().collect::<Vec<_>>().join(" ");
    let claim = match &issuer.scopes {
        ScopeSource::Claim(claim) => claim,
        ScopeSource::Delegation => "scope",
    };
    claims[claim] = if token.scope_is_array { json!(scope) } else { json!(text) };
    if let Some(act) = outside_act(token, &issuer.name) {
        claims["act"] = act;
    }
    if let Some(may_act) = &token.may_act {
        claims["may_act"] = match may_act {
            MayAct::First => json!({ "sub": holder.id }),
            MayAct::FirstOfUs => json!({ "sub": holder.id, "iss": OUR_ISSUER, "email": "informative" }),
            MayAct::FirstOfAnother => json!({ "sub": holder.id, "iss": issuer.name }),
            MayAct::Other => json!({ "sub": "somebody" }),
            MayAct::Malformed => json!({ "iss": OUR_ISSUER }),
        };
    }
    let mut header = issuer.signer().header();
    if let Some(typ) = token.typ {
        header["typ"] = json!(typ);
    }
    let mut signature = Signature::Genuine;
    let mut key = issuer.signer();
    match token.fault {
        None => {}
        Some(TokenFault::Garbage) => {
            return Held {
                token: "not.a.token".to_owned(),
                presented: Presented { typ: None, claims, signature: Signature::None },
            };
        }
        Some(TokenFault::Stranger) => {
            key = key_of_a_stranger();
            signature = Signature::Forged;
        }
        Some(TokenFault::OtherKind) => header["typ"] = json!("logout+jwt"),
        Some(fault) => spoil(&mut claims, fault, (holder, &issuer.scopes), now),
    }
    let typ = header["typ"].as_str().map(str::to_owned);
    Held { token: key.sign_with(&header, &claims), presented: Presented { typ, claims, signature } }
}

fn spoil(claims: &mut Value, fault: TokenFault, (holder, scopes): (&Agent, &ScopeSource), now: Timestamp) {
    match fault {
        TokenFault::Garbage | TokenFault::Stranger | TokenFault::OtherKind => {}
        TokenFault::UnknownIssuer => claims["iss"] = json!("https://unknown.example"),
        TokenFault::NotYetValid => claims["nbf"] = json!(now.as_second() + 4000),
        TokenFault::Expired => claims["exp"] = json!(now.as_second()),
        TokenFault::NoExp => set(claims, "exp", Value::Null),
        TokenFault::Bound => claims["cnf"] = json!({ "jkt": "thumbprint" }),
        TokenFault::SubIsAnAgent => claims["sub"] = json!(holder.id),
        TokenFault::SubEmpty => claims["sub"] = json!(""),
        TokenFault::SubControl => claims["sub"] = json!("user\n0"),
        TokenFault::ScopeMalformed => {
            let claim = match scopes {
                ScopeSource::Claim(claim) => claim,
                ScopeSource::Delegation => "scope",
            };
            claims[claim] = json!("stock:read  bin:read");
        }
        TokenFault::ActMalformed => {
            claims["act"] = json!({ "sub": "outside", "act": { "iss": "https://other.example" } })
        }
        TokenFault::ActClaimsUs => {
            claims["act"] = json!({ "sub": "outside", "act": { "sub": holder.id, "iss": OUR_ISSUER } });
        }
        TokenFault::JtiEmpty => claims["jti"] = json!(""),
    }
}

/// Sets a member, or leaves it out where the value is null.
fn set(claims: &mut Value, name: &str, value: Value) {
    let members = claims.as_object_mut().expect("claims are an object");
    match value {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value)),
    }
}

fn tenant(claim: &TenantClaim) -> Value {
    match claim {
        TenantClaim::Text(tenant) => json!(tenant),
        TenantClaim::ArrayOfOne(tenant) => json!([tenant]),
        TenantClaim::ArrayOfTwo => json!(TENANTS[..2]),
        TenantClaim::Number => json!(7),
        TenantClaim::Malformed => json!("acme/eu"),
        TenantClaim::Absent => Value::Null,
    }
}

fn outside_act(token: &UserToken, issuer: &str) -> Option<Value> {
    token.act.iter().enumerate().fold(None, |prior, (index, has_iss)| {
        let mut act = json!({ "sub": format!("gateway-{index}"), "extra": [index] });
        if *has_iss {
            act["iss"] = json!(issuer);
        }
        match prior {
            Some(prior) => act["act"] = prior,
            None => act["ballast"] = json!("x".repeat(token.ballast_bytes)),
        }
        Some(act)
    })
}

/// A name that nothing else of this run has.
fn fresh_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    format!("name-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// What a token of ours says.
fn read(token: &str) -> Presented {
    let segment = |index: usize| -> Value {
        let segment = token.split('.').nth(index).expect("three segments");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).expect("base64url")).expect("JSON")
    };
    let typ = segment(0)["typ"].as_str().map(str::to_owned);
    Presented { typ, claims: segment(1), signature: Signature::Genuine }
}

/// The algorithm that a token was signed with.
pub(super) fn algorithm(answer: &Answer) -> String {
    answer.token_header()["alg"].as_str().unwrap_or_default().to_owned()
}
