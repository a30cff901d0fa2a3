//! I1 and I8, and all invariants over the whole database, while the store fails at random moments.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseResult, TestError, TestRunner};
use sts_tests::faulty_store::{FaultyStore, StoreFault};
use sts_tests::invariants::check_invariants;
use sts_tests::model::OUR_ISSUER;
use sts_tests::world::World;

use super::journeys::{Scenario, scenario};
use super::oracle::decide;
use super::travel::{Exchange, Traveller};
use super::{JOURNEYS, config, finish, for_every_scenario, runtime};

#[test]
fn i1_every_received_token_has_a_committed_audit_event() {
    let received = AtomicUsize::new(0);
    for_every_scenario(async |_scenario, world, exchanges| {
        let tokens = exchanges.iter().filter(|exchange| exchange.issued.is_some());
        received.fetch_add(tokens.count(), Ordering::Relaxed);
        // Nothing failed, so what was committed was received too.
        are_recorded(world, exchanges).await.and_then(|issued| {
            let received = exchanges.iter().filter(|exchange| exchange.issued.is_some()).count();
            prop_assert_eq!(issued, received);
            Ok(())
        })
    });
    assert!(received.into_inner() > 0);
}

/// Checks the database, and that every token of the exchanges is in it; how many tokens it has.
async fn are_recorded(world: &World, exchanges: &[Exchange]) -> Result<usize, TestCaseError> {
    let issued = check_invariants(&*world.store, &world.master, OUR_ISSUER).await;
    let issued = issued.map_err(|breaches| TestCaseError::fail(breaches.to_string()))?;
    for exchange in exchanges {
        let Some(token) = &exchange.issued else { continue };
        let event = token.claims["jti"].as_str().and_then(|jti| issued.get(jti));
        prop_assert!(event.is_some(), "nothing is recorded of {}", token.claims);
        let event = event.unwrap();
        prop_assert_eq!(event.correlation_id.as_ref(), Some(&exchange.correlation_id));
        prop_assert_eq!(event.sub.as_deref(), token.claims["sub"].as_str());
    }
    Ok(issued.len())
}

/// How the store fails at each hop, in turns.
fn faults() -> impl Strategy<Value = Vec<Option<StoreFault>>> {
    let fault =
        select(vec![StoreFault::Everything, StoreFault::Record, StoreFault::RecordUnheard, StoreFault::Versions]);
    vec(prop_oneof![2 => Just(None), 1 => fault.prop_map(Some)], 1..40)
}

#[test]
fn i8_a_refusal_is_never_an_outage_nor_an_outage_a_refusal() {
    let (outages, refusals) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcome = TestRunner::new(config()).run(&(scenario(JOURNEYS), faults()), |(scenario, faults)| {
        runtime().block_on(fail_on_the_way(&scenario, &faults, &|status| match status {
            503 => drop(outages.fetch_add(1, Ordering::Relaxed)),
            400 | 401 => drop(refusals.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }))
    });
    finish(outcome.map_err(|error| match error {
        TestError::Fail(reason, (scenario, _faults)) => TestError::Fail(reason, scenario),
        TestError::Abort(reason) => TestError::Abort(reason),
    }));
    let (outages, refusals) = (outages.into_inner(), refusals.into_inner());
    assert!(outages >= 10 && refusals >= 50, "{outages} outages, {refusals} refusals while the store failed");
}

async fn fail_on_the_way(
    scenario: &Scenario,
    faults: &[Option<StoreFault>],
    count: &(dyn Fn(u16) + Sync),
) -> TestCaseResult {
    let world = World::sqlite(&scenario.model).await;
    let store = FaultyStore::new(Arc::clone(&world.store));
    let node = world.node_on(Arc::new(store.clone())).await;
    let mut turns = faults.iter().copied().cycle();
    let mut exchanges = Vec::new();
    for journey in &scenario.journeys {
        let mut traveller = Traveller::begin(&scenario.model, journey, &world);
        for hop in &journey.hops {
            world.clock.advance(std::time::Duration::from_millis(hop.wait_ms));
            let fault = turns.next().flatten();
            store.fail(fault);
            let sent = traveller.request(hop, world.now());
            let exchange = traveller.send(sent, &world, &node).await;
            if fault.is_some() {
                count(exchange.answer.status);
            }
            as_it_must(scenario, &exchange, fault)
                .map_err(|error| TestCaseError::fail(format!("{error}\nwhile {fault:?} failed, {exchange}")))?;
            exchanges.push(exchange);
        }
    }
    store.fail(None);
    are_recorded(&world, &exchanges).await.map(drop)
}

/// What is refused is refused whether or not that can be recorded; what is allowed is an outage when it cannot.
fn as_it_must(scenario: &Scenario, exchange: &Exchange, fault: Option<StoreFault>) -> TestCaseResult {
    let answer = &exchange.answer;
    let retry = answer.headers.contains_key("retry-after");
    let fails = matches!(fault, Some(StoreFault::Everything | StoreFault::Record | StoreFault::RecordUnheard));
    match decide(&scenario.model, exchange.at, &exchange.sent) {
        Err(codes) => {
            prop_assert!(
                matches!(answer.status, 400 | 401 | 403) && codes.contains(answer.error()),
                "{}",
                answer.text()
            );
            prop_assert!(!retry);
        }
        Ok(_) if fails => {
            prop_assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"));
            prop_assert!(retry && answer.json.get("access_token").is_none());
        }
        // A view that could not be confirmed for half a minute issues nothing.
        Ok(_) if fault == Some(StoreFault::Versions) && answer.status == 503 => prop_assert!(retry),
        Ok(_) => prop_assert_eq!(answer.status, 200),
    }
    Ok(())
}
