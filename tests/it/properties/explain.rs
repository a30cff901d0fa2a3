//! `explain` against the endpoint: the same request, at the same moment.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};
use sts_server::exchange::{Asker, Explained, Supposition};
use sts_server::record::{Event, EventKind};
use sts_tests::model::Model;
use sts_tests::world::{Node, World, encode};

use super::bindings::proven;
use super::journeys::{Scenario, scenario};
use super::sent::{Client, Proof, Sent};
use super::travel::{Exchange, Traveller};
use super::{JOURNEYS, config, finish, runtime};

/// How many requests are compared at least, and how many different reasons refuse some.
const MIN_REQUESTS: usize = 1000;
const MIN_REASONS: usize = 15;

#[test]
fn explain_says_what_the_endpoint_does() {
    let outcomes: Mutex<BTreeMap<String, usize>> = Mutex::default();
    finish(TestRunner::new(config()).run(&scenario(JOURNEYS), |scenario| {
        runtime().block_on(compare(&scenario, &|outcome| {
            *outcomes.lock().unwrap().entry(outcome.to_owned()).or_default() += 1;
        }))
    }));
    let outcomes = outcomes.into_inner().unwrap();
    assert!(outcomes.values().sum::<usize>() >= MIN_REQUESTS && outcomes.len() > MIN_REASONS, "{outcomes:?}");
    assert!(outcomes.contains_key("allowed"), "{outcomes:?}");
}

async fn compare(scenario: &Scenario, count: &(dyn Fn(&str) + Sync)) -> TestCaseResult {
    let world = World::sqlite(&scenario.model).await;
    let node = world.node().await;
    for journey in &scenario.journeys {
        let mut traveller = Traveller::begin(&scenario.model, journey, &world);
        for hop in &journey.hops {
            world.clock.advance(std::time::Duration::from_millis(hop.wait_ms));
            let sent = traveller.request(hop, world.now());
            let explained = explain(&scenario.model, &node, &sent).await;
            let exchange = traveller.send(sent, &world, &node).await;
            let event = world.event(&exchange.correlation_id).await;
            let Some(explained) = explained else { continue };
            match agree(&explained, &exchange, event.as_ref()) {
                Ok(outcome) => count(outcome),
                Err(error) => {
                    return Err(TestCaseError::fail(format!("{error}\n{explained:#?}\n{event:#?}\n{exchange}")));
                }
            }
        }
    }
    Ok(())
}

/// What would come of it, where it is known who asks.
async fn explain(model: &Model, node: &Node, sent: &Sent) -> Option<Explained> {
    let (Client::Agent(client) | Client::ByActorToken(client)) = sent.client else { return None };
    // What is supposed is that a proof is good.
    if sent.proof == Proof::Bad {
        return None;
    }
    let proven = proven(&model.agents[client], sent);
    let supposition = Supposition { actor: Asker::Supposed(&model.agents[client].id), subject: None, proven };
    Some(sts_server::exchange::explain(&node.sts, &encode(&sent.form), &sent.header_map(), supposition).await.outcome)
}

/// Whether both say the same; the name of what they say.
fn agree<'a>(explained: &'a Explained, exchange: &Exchange, event: Option<&Event>) -> Result<&'a str, TestCaseError> {
    // Who asks is not authenticated here: a request that fails at that is refused for less, and nothing is recorded of it.
    let Some(event) = event else {
        prop_assert!(exchange.issued.is_none());
        return Ok("not authenticated");
    };
    match explained {
        Explained::Refused { error, reason, detail } => {
            prop_assert_eq!(exchange.answer.error(), error.as_ref());
            prop_assert_eq!(event.event, EventKind::TokenRefused);
            prop_assert_eq!(event.reason.as_deref(), Some(reason.as_ref()));
            prop_assert_eq!(event.detail.as_ref(), Some(detail));
            Ok(reason)
        }
        Explained::Allowed {
            delegation,
            sub,
            audience,
            scope,
            authorization_details: _,
            roles,
            tenant_id,
            actors,
            bound_to,
            expires_at,
        } => {
            prop_assert_eq!(exchange.answer.status, 200);
            prop_assert_eq!(event.event, EventKind::TokenIssued);
            prop_assert_eq!(event.delegation.as_ref(), Some(delegation));
            prop_assert_eq!(event.sub.as_ref(), Some(sub));
            prop_assert_eq!(event.audience.as_ref(), Some(audience));
            prop_assert_eq!(event.scope.as_ref().map(ToString::to_string), Some(scope.clone()));
            prop_assert_eq!(&event.roles, roles);
            prop_assert_eq!(event.tenant_id.as_ref().map(ToString::to_string), tenant_id.clone());
            prop_assert_eq!(&event.actors, actors);
            prop_assert_eq!(event.exp, Some(expires_at.as_second()));
            let claims = &exchange.issued.as_ref().ok_or_else(|| TestCaseError::fail("no token"))?.claims;
            prop_assert_eq!(event.jti.as_deref(), claims["jti"].as_str());
            prop_assert_eq!(event.exp, claims["exp"].as_i64());
            for (kind, member) in [("dpop", "jkt"), ("certificate", "x5t#S256")] {
                prop_assert_eq!(
                    bound_to.iter().any(|own| own == kind),
                    claims["cnf"].get(member).is_some(),
                    "{}",
                    kind
                );
            }
            prop_assert_eq!(claims["sub"].as_str(), Some(sub.as_str()));
            prop_assert_eq!(claims["aud"].as_str(), Some(audience.as_str()));
            prop_assert_eq!(claims["scope"].as_str(), Some(scope.as_str()));
            Ok("allowed")
        }
        Explained::ApprovalRequired { .. } => Err(TestCaseError::fail("no delegation demands an approval")),
        Explained::Authenticated { .. } => Err(TestCaseError::fail("more was asked than who asks")),
    }
}
