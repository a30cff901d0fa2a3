//! What must become of a request, worked out from the registry file by the words of the specification alone.
//!
//! The first step that fails names the error. Which of several faults of one step names it is not specified: all of them may.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_protocol::Confirmation;
use sts_tests::model::{Agent, Credential, Delegation, Model, OUR_ISSUER, ScopeSource, TenantSource};

use super::bindings::binding;
use super::claims::{
    NANOS, actors, is_name, is_outside_act, is_scope, is_tenant, moment, single, split, strings, text, typ_fits, words,
};
use super::sent::{ActorToken, Client, Presented, Proof, Sent, Signature};

/// The error codes that a refusal may bear.
pub(super) type Codes = BTreeSet<&'static str>;

const REQUEST: &str = "invalid_request";
const TARGET: &str = "invalid_target";
const SCOPE: &str = "invalid_scope";
const DETAILS: &str = "invalid_authorization_details";
const CLIENT: &str = "invalid_client";
const PROOF: &str = "invalid_dpop_proof";
const GRANT: &str = "unauthorized_client";

const AHEAD_SECONDS: i128 = 30;
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// A token that must be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) sub: String,
    pub(super) sub_id: Option<Value>,
    pub(super) audience: String,
    pub(super) client_id: String,
    pub(super) scope: BTreeSet<String>,
    pub(super) roles: BTreeSet<String>,
    pub(super) tenant: Option<String>,
    pub(super) tenants: Option<BTreeSet<String>>,
    pub(super) act: Option<Value>,
    pub(super) expires_at: i64,
    /// The transaction, where the subject has one.
    pub(super) transaction: Option<String>,
    pub(super) algorithm: String,
    /// The keys that it is bound to.
    pub(super) cnf: Option<Confirmation>,
}

/// What a subject token says.
struct Subject {
    issuer: usize,
    principal: String,
    sub: String,
    /// None for all plain scopes of the delegation.
    scope: Option<BTreeSet<String>>,
    roles: BTreeSet<String>,
    tenant: Option<String>,
    act: Option<Value>,
    expires_at: i128,
    transaction: Option<String>,
    is_bound: bool,
}

/// What must become of a request.
pub(super) fn decide(model: &Model, now: Timestamp, sent: &Sent) -> Result<Expected, Codes> {
    let oracle = Oracle { model, now: now.as_nanosecond() };
    oracle.form(sent)?;
    let client = oracle.client(sent)?;
    refuse_if(sent.proof == Proof::Bad, PROOF)?;
    let target = oracle.request(sent, client)?;
    if sent.get("grant_type") == Some("client_credentials") {
        return oracle.service_account(sent, client, target);
    }
    let subject = oracle.subject(sent, client)?;
    let act = oracle.actor(sent, client, &subject)?;
    oracle.policy(sent, (client, target), &subject, act)
}

struct Oracle<'a> {
    model: &'a Model,
    now: i128,
}

fn one(code: &'static str) -> Codes {
    Codes::from([code])
}

fn unless(codes: Codes) -> Result<(), Codes> {
    if codes.is_empty() { Ok(()) } else { Err(codes) }
}

fn refuse_if(condition: bool, code: &'static str) -> Result<(), Codes> {
    if condition { Err(one(code)) } else { Ok(()) }
}

/// None stands for every tenant, and for tokens without one.
fn contains(tenants: Option<&BTreeSet<String>>, tenant: Option<&String>) -> bool {
    tenants.is_none_or(|tenants| tenant.is_some_and(|tenant| tenants.contains(tenant)))
}

impl Oracle<'_> {
    /// Step 1.
    fn form(&self, sent: &Sent) -> Result<(), Codes> {
        let repeats = |name: &String| sent.form.iter().filter(|(known, _)| known == name).count() > 1;
        let names = sent.form.iter().map(|(name, _)| name);
        let repeated = names.filter(|name| !["audience", "resource"].contains(&name.as_str())).any(repeats);
        refuse_if(repeated, REQUEST)
    }

    /// Step 2.
    fn client(&self, sent: &Sent) -> Result<usize, Codes> {
        let by_actor_token = |agent| (agent, REQUEST);
        let (agent, code) = match (sent.client, sent.actor) {
            // Without client authentication, whatever stands in actor_token is the credential.
            (Client::Unknown, ActorToken::Of(agent)) if sent.is_unauthenticated_exchange() => by_actor_token(agent),
            (Client::Unknown, _) if sent.is_unauthenticated_exchange() => return Err(one(REQUEST)),
            (Client::Unknown, _) => return Err(one(CLIENT)),
            (Client::Contradictory, _) => return Err(one(REQUEST)),
            (Client::Agent(agent), _) => (agent, CLIENT),
            (Client::ByActorToken(agent), _) => by_actor_token(agent),
        };
        let entry = &self.model.agents[agent];
        let vouched = match entry.credential {
            Credential::None => false,
            Credential::Secret | Credential::Key | Credential::Certificate => code == CLIENT,
            Credential::Workload(issuer) => !self.model.issuers[issuer].disabled,
        };
        refuse_if(entry.disabled || !vouched, code)?;
        Ok(agent)
    }

    /// Step 3.
    fn request(&self, sent: &Sent, client: usize) -> Result<usize, Codes> {
        let mut codes = Codes::new();
        let exchange = match sent.get("grant_type") {
            Some("urn:ietf:params:oauth:grant-type:token-exchange") => true,
            Some("client_credentials") => false,
            Some(_) => return Err(one("unsupported_grant_type")),
            None => return Err(one(REQUEST)),
        };
        let kind =
            |name: &str| sent.get(name).and_then(|value| value.strip_prefix("urn:ietf:params:oauth:token-type:"));
        let token =
            ["subject_token", "subject_token_type", "actor_token", "actor_token_type"].map(|name| sent.get(name));
        let wrong = if exchange {
            token[0].is_none()
                || !matches!(kind("subject_token_type"), Some("jwt" | "access_token" | "id_token"))
                || token[2].is_some() != token[3].is_some()
                || token[3].is_some() && !matches!(kind("actor_token_type"), Some("jwt" | "access_token"))
        } else {
            token.iter().any(Option::is_some)
        };
        let asked = sent.get("requested_token_type").is_some();
        let asks_wrong = asked && !matches!(kind("requested_token_type"), Some("jwt" | "access_token"));
        let headers: Vec<&str> = sent.header("x-tenant-id").collect();
        let header_wrong = headers.len() > 1 || headers.iter().any(|header| !is_tenant(header));
        if wrong || asks_wrong || header_wrong {
            codes.insert(REQUEST);
        }
        if sent.get("authorization_details") == Some("[]") {
            codes.insert(DETAILS);
        }
        if sent.get("scope").is_some_and(|scope| !is_scope(scope)) {
            codes.insert(SCOPE);
        }
        let target = self.target(sent, client);
        if target.is_none() {
            codes.insert(TARGET);
        }
        unless(codes)?;
        target.ok_or_else(|| one(TARGET))
    }

    fn target(&self, sent: &Sent, client: usize) -> Option<usize> {
        if sent.all("resource").any(|uri| !uri.contains("://") || uri.contains('#')) {
            return None;
        }
        let mut names: Vec<&str> = sent.all("audience").chain(sent.all("resource")).collect();
        if names.is_empty() {
            names.push(self.model.agents[client].default_target.as_deref()?);
        }
        let named = |name: &str| {
            self.model.agents.iter().position(|agent| agent.id == name || agent.audience.iter().any(|own| own == name))
        };
        let targets: Option<BTreeSet<usize>> = names.into_iter().map(named).collect();
        let targets = targets?;
        targets.first().copied().filter(|_| targets.len() == 1)
    }

    /// Step 4. Whatever is wrong with the token, the code is the same.
    fn subject(&self, sent: &Sent, client: usize) -> Result<Subject, Codes> {
        let token = sent.subject.as_ref().filter(|token| token.signature == Signature::Genuine);
        let declared = sent.get("subject_token_type").unwrap_or_default();
        let subject = token.and_then(|token| {
            let client = &self.model.agents[client];
            let is_bound = |cnf: &Value| cnf.as_object().is_some_and(|members| !members.is_empty());
            let fits = typ_fits(token.typ.as_deref(), declared) && token.claims.get("cnf").is_none_or(is_bound);
            let subject =
                if token.claims["iss"] == OUR_ISSUER { self.own(token, client) } else { self.outside(token, client) };
            subject.filter(|_| fits)
        });
        let is_agent = |subject: &Subject| self.model.agents.iter().any(|agent| agent.id == subject.sub);
        subject.filter(|subject| !is_agent(subject)).ok_or_else(|| one(REQUEST))
    }

    fn own(&self, token: &Presented, client: &Agent) -> Option<Subject> {
        let claims = &token.claims;
        let expires_at = self.expires_at(claims)?;
        let addressed = client.audience.iter().any(|own| claims["aud"] == *own);
        // A service account's token has no act.
        let act = claims.get("act")?.clone();
        let issuer = self.issuer(&claims["sub_id"]["iss"])?;
        let tenant = text(&claims["tenant_id"]);
        let stands = addressed && contains(self.model.issuers[issuer].tenants.as_ref(), tenant.as_ref());
        stands.then_some(Subject {
            issuer,
            principal: text(&claims["sub_id"]["sub"])?,
            sub: text(&claims["sub"])?,
            scope: Some(words(&claims["scope"])?),
            roles: words(&claims["roles"]).unwrap_or_default(),
            tenant,
            act: Some(act),
            expires_at,
            transaction: text(&claims["txn"]),
            is_bound: claims.get("cnf").is_some(),
        })
    }

    fn outside(&self, token: &Presented, client: &Agent) -> Option<Subject> {
        let claims = &token.claims;
        let index = self.issuer(&claims["iss"])?;
        let issuer = &self.model.issuers[index];
        let expires_at = self.expires_at(claims)?;
        let age = NANOS * i128::from(issuer.max_token_age);
        let young = match moment(&claims["iat"]) {
            Some(iat) => self.now - iat <= age,
            None => expires_at - self.now <= age,
        };
        let audience = strings(&claims[issuer.audience_claim.as_str()]).unwrap_or_default();
        let addressed = audience.iter().any(|aud| client.audience.contains(aud) || client.accepts.contains(aud));
        let named = text(&claims["sub"])?;
        let sub = format!("{}{named}", issuer.subject_prefix);
        let tenant = match &issuer.tenant {
            TenantSource::Fixed(tenant) => Some(tenant.clone()),
            TenantSource::None => None,
            TenantSource::Claim(claim) => Some(single(&claims[claim.as_str()]).filter(|tenant| is_tenant(tenant))?),
        };
        let scope = match &issuer.scopes {
            ScopeSource::Delegation => None,
            ScopeSource::Claim(claim) => Some(words(&claims[claim.as_str()])?),
        };
        let listed =
            |delegation: &Delegation| delegation.issuers.as_ref().is_some_and(|issuers| issuers.contains(&index));
        let names_users = !self.names_workloads(index) || self.model.delegations.iter().any(listed);
        let good = young
            && names_users
            && addressed
            && is_name(&named)
            && is_name(&sub)
            && contains(issuer.tenants.as_ref(), tenant.as_ref())
            && claims.get("jti").is_none_or(|jti| text(jti).is_some_and(|jti| is_name(&jti)))
            && claims.get("act").is_none_or(is_outside_act)
            && claims.get("may_act").is_none_or(|may_act| may_act["sub"].is_string());
        good.then_some(Subject {
            issuer: index,
            principal: named,
            sub,
            scope,
            roles: strings(&claims["roles"]).unwrap_or_default().into_iter().collect(),
            tenant,
            act: claims.get("act").cloned(),
            expires_at,
            transaction: None,
            is_bound: claims.get("cnf").is_some(),
        })
    }

    /// Returns true if a workload of an agent is of the issuer.
    fn names_workloads(&self, issuer: usize) -> bool {
        self.model.agents.iter().any(|agent| agent.credential == Credential::Workload(issuer))
    }

    fn issuer(&self, name: &Value) -> Option<usize> {
        self.model.issuers.iter().position(|issuer| *name == issuer.name && !issuer.disabled)
    }

    /// `exp` of a token that is alive.
    fn expires_at(&self, claims: &Value) -> Option<i128> {
        let ahead = |claim: &str| moment(&claims[claim]).is_some_and(|at| at > self.now + AHEAD_SECONDS * NANOS);
        moment(&claims["exp"]).filter(|exp| *exp > self.now && !ahead("iat") && !ahead("nbf"))
    }

    /// Step 5: the chain grows by the client.
    fn actor(&self, sent: &Sent, client: usize, subject: &Subject) -> Result<Value, Codes> {
        let agent = &self.model.agents[client];
        let claims = sent.subject.as_ref().map(|token| &token.claims);
        let may_act = claims.and_then(|claims| claims.get("may_act")).filter(|_| subject.transaction.is_none());
        let named =
            |may_act: &Value| may_act["sub"] == agent.id && may_act.get("iss").is_none_or(|iss| iss == OUR_ISSUER);
        let vouched = match sent.actor {
            ActorToken::None => true,
            ActorToken::Of(other) => other == client && self.vouches(other),
            ActorToken::Garbage => false,
        };
        refuse_if(!vouched || !may_act.is_none_or(named), REQUEST)?;
        let mut act = json!({ "sub": agent.id, "iss": OUR_ISSUER });
        if let Some(prior) = &subject.act {
            act["act"] = prior.clone();
        }
        refuse_if(actors(&act).len() > self.model.chain_depth, REQUEST)?;
        Ok(act)
    }

    fn vouches(&self, agent: usize) -> bool {
        match self.model.agents[agent].credential {
            Credential::Workload(issuer) => !self.model.issuers[issuer].disabled && !self.model.agents[agent].disabled,
            Credential::None | Credential::Secret | Credential::Key | Credential::Certificate => false,
        }
    }

    /// Step 6.
    fn policy(
        &self,
        sent: &Sent,
        (client, target): (usize, usize),
        subject: &Subject,
        act: Value,
    ) -> Result<Expected, Codes> {
        let (actor, receiver) = (&self.model.agents[client], &self.model.agents[target]);
        let tenant = subject.tenant.as_ref();
        let mut codes = Codes::new();
        if receiver.disabled {
            codes.insert(TARGET);
        }
        let header_differs = sent.header("x-tenant-id").any(|header| tenant.is_none_or(|tenant| tenant != header));
        let agents_exclude = [actor, receiver].iter().any(|agent| !contains(agent.tenants.as_ref(), tenant));
        if header_differs || agents_exclude {
            codes.insert(REQUEST);
        }
        let covers = |delegation: &&Delegation| match &delegation.issuers {
            Some(issuers) => issuers.contains(&subject.issuer),
            None => !self.names_workloads(subject.issuer),
        };
        let of_pair = self.delegations(client, target).filter(covers);
        let of_pair: Vec<&Delegation> = of_pair.collect();
        if of_pair.is_empty() {
            codes.insert(TARGET);
            return Err(codes);
        }
        let Some(delegation) = of_pair.into_iter().find(|delegation| contains(delegation.tenants.as_ref(), tenant))
        else {
            codes.insert(REQUEST);
            return Err(codes);
        };
        let stood = actors(&act)[1..].iter().any(|(iss, sub)| iss.as_deref() == Some(OUR_ISSUER) && *sub == actor.id);
        let latest = self.latest(receiver, delegation).min(subject.expires_at);
        if stood && !delegation.reentrant || latest.div_euclid(NANOS) <= self.now.div_euclid(NANOS) {
            codes.insert(REQUEST);
        }
        let cnf = binding((actor, receiver), subject.is_bound, sent).unwrap_or_else(|code| {
            codes.insert(code);
            None
        });
        let entitled = entitled(delegation, subject.scope.as_ref());
        let scope = sent.get("scope").map_or_else(|| entitled.clone(), split);
        if entitled.is_empty() || !scope.is_subset(&entitled) {
            codes.insert(SCOPE);
        }
        unless(codes)?;
        let sub_id =
            json!({ "format": "iss_sub", "iss": self.model.issuers[subject.issuer].name, "sub": subject.principal });
        let expected = Expected {
            sub: subject.sub.clone(),
            sub_id: Some(sub_id),
            audience: receiver.audience[0].clone(),
            client_id: actor.id.clone(),
            scope,
            roles: &subject.roles & &delegation.roles,
            tenant: subject.tenant.clone(),
            tenants: None,
            act: Some(act),
            expires_at: i64::try_from(latest.div_euclid(NANOS)).unwrap(),
            transaction: subject.transaction.clone(),
            algorithm: receiver.signing_alg.to_string(),
            cnf,
        };
        refuse_if(token_bytes(&expected) > MAX_TOKEN_BYTES, REQUEST)?;
        Ok(expected)
    }

    /// Step 6 of a request for a token of the agent's own.
    fn service_account(&self, sent: &Sent, client: usize, target: usize) -> Result<Expected, Codes> {
        let (actor, receiver) = (&self.model.agents[client], &self.model.agents[target]);
        let header = sent.header("x-tenant-id").next().map(str::to_owned);
        refuse_if(receiver.disabled || self.delegations(client, target).next().is_none(), TARGET)?;
        let own: Vec<&Delegation> =
            self.delegations(client, target).filter(|delegation| delegation.service_account).collect();
        refuse_if(own.is_empty(), GRANT)?;
        let covers = |tenants: Option<&BTreeSet<String>>| header.is_none() || contains(tenants, header.as_ref());
        let covering: Vec<&Delegation> =
            own.into_iter().filter(|delegation| covers(delegation.tenants.as_ref())).collect();
        let delegation = match covering.as_slice() {
            [delegation] => *delegation,
            [] => return Err(one(REQUEST)),
            _ => return Err(one(TARGET)),
        };
        let within = |tenant: &&String| {
            let sets = [receiver.tenants.as_ref(), delegation.tenants.as_ref()];
            sets.into_iter().all(|set| contains(set, Some(tenant)))
                && header.as_ref().is_none_or(|named| named == *tenant)
        };
        let tenants: BTreeSet<String> = actor.forward_tenants.iter().filter(within).cloned().collect();
        let mut codes = Codes::new();
        // A token without any tenant fits only where every tenant does.
        let somewhere_only = receiver.tenants.is_some() || delegation.tenants.is_some();
        if tenants.is_empty() && (somewhere_only || header.is_some()) {
            codes.insert(REQUEST);
        }
        let cnf = binding((actor, receiver), false, sent).unwrap_or_else(|code| {
            codes.insert(code);
            None
        });
        let entitled = entitled(delegation, None);
        let scope = sent.get("scope").map_or_else(|| entitled.clone(), split);
        if entitled.is_empty() || !scope.is_subset(&entitled) {
            codes.insert(SCOPE);
        }
        unless(codes)?;
        Ok(Expected {
            sub: actor.id.clone(),
            sub_id: None,
            audience: receiver.audience[0].clone(),
            client_id: actor.id.clone(),
            scope,
            roles: BTreeSet::new(),
            tenant: None,
            tenants: Some(tenants),
            act: None,
            expires_at: i64::try_from(self.latest(receiver, delegation).div_euclid(NANOS)).unwrap(),
            transaction: None,
            algorithm: receiver.signing_alg.to_string(),
            cnf,
        })
    }

    fn delegations(&self, actor: usize, target: usize) -> impl Iterator<Item = &Delegation> {
        self.model
            .delegations
            .iter()
            .filter(move |delegation| delegation.actor == actor && delegation.target == target && !delegation.disabled)
    }

    fn latest(&self, target: &Agent, delegation: &Delegation) -> i128 {
        let spans = [Some(target.token_ttl), delegation.max_ttl, Some(self.model.max_ttl)];
        let shortest = spans.into_iter().flatten().min().unwrap();
        self.now + i128::from(shortest) * NANOS
    }
}

/// What a delegation lets a holder of `scope` have; none holds all of its plain scopes.
pub(super) fn entitled(delegation: &Delegation, scope: Option<&BTreeSet<String>>) -> BTreeSet<String> {
    let held = scope.unwrap_or(&delegation.plain);
    let plain = delegation.plain.intersection(held).cloned();
    let derived = delegation.derived.iter().filter(|(_, from)| !from.is_disjoint(held)).map(|(scope, _)| scope.clone());
    plain.chain(derived).collect()
}

/// How long a token will be, of a user whose tokens say how and when they authenticated.
fn token_bytes(expected: &Expected) -> usize {
    let base64 = |bytes: usize| (bytes * 4).div_ceil(3);
    let name = "0".repeat(36);
    let scope: Vec<&str> = expected.scope.iter().map(String::as_str).collect();
    let mut claims = json!({
        "iss": OUR_ISSUER, "sub": expected.sub, "aud": expected.audience, "client_id": expected.client_id,
        "iat": expected.expires_at, "exp": expected.expires_at, "jti": name, "txn": name, "scope": scope.join(" "),
        "act": expected.act, "sub_id": expected.sub_id, "auth_time": expected.expires_at, "acr": "2",
    });
    if let Some(cnf) = &expected.cnf {
        claims["cnf"] = json!(cnf);
    }
    if let Some(tenant) = &expected.tenant {
        claims["tenant_id"] = json!(tenant);
    }
    if !expected.roles.is_empty() {
        claims["roles"] = json!(expected.roles);
    }
    let header = json!({ "alg": expected.algorithm, "typ": "at+jwt", "kid": "0".repeat(43) });
    let signature = if expected.algorithm == "RS256" { 256 } else { 64 };
    [header.to_string().len(), claims.to_string().len(), signature].map(base64).iter().sum::<usize>() + 2
}
