//! The client against an STS in trouble: thousands of runs, each following from its seed alone, in virtual time.
//!
//! A run that breaks a rule is named by its seed; [`SEED`] is where to put it to see it again.

mod cast;
mod chance;
mod oracle;
mod run;
mod sts;

use std::sync::LazyLock;
use std::thread;

use self::cast::CAST;
use self::run::run;

const SEEDS: u64 = 10_000;
/// The first seed.
const SEED: u64 = 0;

#[test]
fn whatever_befalls_the_sts_no_call_leaves_with_a_credential_that_is_not_its_own() {
    LazyLock::force(&CAST);
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let judge = |first: u64| {
        (first..SEED + SEEDS).step_by(usize::try_from(threads).unwrap()).find_map(|seed| {
            let broken = oracle::judge(&run(seed)).err()?;
            Some(format!("seed {seed}: {broken}"))
        })
    };
    let broken: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|worker| scope.spawn(move || judge(SEED + worker))).collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("a run that ends")).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_seed_lives_through_the_same_each_time() {
    LazyLock::force(&CAST);
    let told = |seed| {
        let run = run(seed);
        let askings = run.sts.lock().askings.clone();
        let seen: Vec<_> = run.seen.iter().map(|seen| (seen.ended, format!("{:?}", seen.outcome))).collect();
        format!("{askings:?} {seen:?}")
    };
    for seed in 0..20 {
        assert_eq!(told(seed), told(seed), "seed {seed}");
    }
}
