//! The scenarios that are part of every run of the tests, in their short form.

use sts_faults::{Length, Outcome, Run, SCENARIOS, figures};

async fn holds(name: &str) {
    let run = Run { length: Length::Short, minutes: 0.0, program: None, former: None };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario of that name");
    match (scenario.run)(run).await {
        Ok(Outcome::Held(figures)) => eprintln!("{name}: {}", figures.line()),
        Ok(Outcome::NotHere(why)) => panic!("a scenario of every run must be possible everywhere: {why}"),
        Err(breach) => panic!("{breach:#}"),
    }
}

#[test]
fn the_page_has_a_row_for_each_scenario_and_is_as_it_is_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/faults.md");
    let page = std::fs::read_to_string(path).expect("docs/faults.md");
    assert_eq!(figures::page(&page, &[], ""), page, "write it anew with --write docs/faults.md");
}

/// One test for each scenario. A macro, because a test has to be an item of its own name.
macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                holds($name).await;
            }
        )*

        #[test]
        fn every_scenario_of_ci_is_tried() {
            let marked: Vec<&str> =
                SCENARIOS.iter().filter(|scenario| scenario.in_ci).map(|scenario| scenario.name).collect();
            assert_eq!(marked, [$($name),*]);
        }
    };
}

scenarios! {
    kill_9_sqlite: "kill-9-sqlite",
    kill_9_postgres: "kill-9-postgres",
    kill_9_replicas: "kill-9-replicas",
    start_together: "start-together",
    connections_cut: "connections-cut",
    database_killed: "database-killed",
    sqlite_locked: "sqlite-locked",
    pool_of_two: "pool-of-two",
    one_time_values: "one-time-values",
    drain: "drain",
    descriptors_sqlite: "descriptors-sqlite",
    descriptors_postgres: "descriptors-postgres",
    reader_flood: "reader-flood",
    registry_rollout: "registry-rollout",
    unreadable_row: "unreadable-row",
}
