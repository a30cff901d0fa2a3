//! A journey, resolved in its registry and sent hop by hop.

use std::fmt;

use jiff::Timestamp;
use proptest::sample::Index;
use sts_tests::Answer;
use sts_tests::model::{Credential, Model, OUR_ISSUER, TenantSource};
use sts_tests::world::{Node, World};

use super::claims::words;
use super::draft::{Wish, draft};
use super::journeys::{AskedScope, Hop, Journey, Scenario, Target, TenantHeader};
use super::sent::{Presented, Sent};
use super::tokens::{Held, fresh_name, read, user_token};

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
        let scope = self.scope(client, target, hop);
        let tenant = match &hop.tenant_header {
            TenantHeader::Absent => None,
            TenantHeader::OfToken => self.tenant(),
            TenantHeader::Named(tenant) => Some((*tenant).to_owned()),
        };
        draft(self.model, Wish { client, target, scope, tenant }, &self.held, hop, now)
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
                let held = words(&self.held.presented.claims["scope"])?;
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
