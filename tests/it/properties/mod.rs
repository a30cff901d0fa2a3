//! What holds in every registry and for every chain of exchanges.
//!
//! A case is a [`journeys::Scenario`]: a random registry, and random journeys through it, sent through the same code as HTTP requests.
//! What must come of each is worked out by an [`oracle`] of its own. A new property is a test here; a new kind of request is a variant
//! in [`journeys`].

mod announced;
mod bindings;
mod bounds;
mod chains;
mod claims;
mod draft;
mod explain;
mod faults;
mod journeys;
mod one_time;
mod oracle;
mod races;
mod registries;
mod replicas;
mod requests;
mod sent;
mod small;
mod tokens;
mod travel;
mod unreachable;

use std::sync::LazyLock;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestCaseResult, TestError, TestRunner};
use sts_tests::world::World;
use tokio::runtime::Runtime;

use journeys::{Scenario, scenario};
use travel::{Exchange, travel};

/// How many registries each property is tried in, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 16;
/// What chance begins with, unless `PROPTEST_RNG_SEED` says otherwise: a suite that fails by chance tells nobody what they broke.
const SEED: u64 = 8693;
/// How many journeys are made in each at most.
const JOURNEYS: usize = 24;
/// How long a failing case is made smaller.
const MAX_SHRINK_MILLISECONDS: u32 = 30_000;

fn config() -> Config {
    let said = |variable| std::env::var_os(variable).is_some();
    let default = Config::default();
    Config {
        cases: if said("PROPTEST_CASES") { default.cases } else { CASES },
        rng_seed: if said("PROPTEST_RNG_SEED") { default.rng_seed } else { RngSeed::Fixed(SEED) },
        source_file: Some(file!()),
        max_shrink_time: MAX_SHRINK_MILLISECONDS,
        ..default
    }
}

/// Tries a claim about every exchange of random scenarios.
fn for_every_exchange(claim: impl Fn(&Scenario, &Exchange) -> TestCaseResult) {
    for_every_scenario(async |scenario, _world, exchanges| {
        exchanges.iter().try_for_each(|exchange| {
            claim(scenario, exchange).map_err(|error| match error {
                TestCaseError::Fail(reason) => TestCaseError::fail(format!("{reason}\n{exchange}")),
                reject @ TestCaseError::Reject(_) => reject,
            })
        })
    });
}

/// Tries a claim about the end of random scenarios.
fn for_every_scenario(claim: impl AsyncFn(&Scenario, &World, &[Exchange]) -> TestCaseResult) {
    finish(TestRunner::new(config()).run(&scenario(JOURNEYS), |scenario| {
        runtime().block_on(async {
            let world = World::sqlite(&scenario.model).await;
            let node = world.node().await;
            let exchanges = travel(&scenario, &world, &node).await;
            claim(&scenario, &world, &exchanges).await
        })
    }));
}

/// Fails the test where a case has failed.
fn finish(outcome: Result<(), TestError<Scenario>>) {
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, scenario)) => panic!("{reason}\n{scenario}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

/// The runtime of all properties: a case of proptest is not async.
fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    });
    &RUNTIME
}
