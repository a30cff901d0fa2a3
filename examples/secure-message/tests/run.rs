//! Plays the whole example, as its README says, and holds every line of it.

use std::process::{Command, Output};
use std::sync::LazyLock;

/// The printed output; and with `-v`.
const EXPECTED: &str = include_str!("run.txt");
const DETAILS: &str = include_str!("details.txt");
const README: &str = include_str!("../README.md");

static RUN: LazyLock<Output> = LazyLock::new(|| run(&[]));
static RUN_IN_DETAIL: LazyLock<Output> = LazyLock::new(|| run(&["-v"]));

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_secure-message")).args(arguments).output().expect("the example is built")
}

fn printed(run: &Output) -> String {
    String::from_utf8(run.stdout.clone()).expect("text")
}

#[test]
fn all_goes_as_expected_and_every_line_too() {
    for (run, expected) in [(&*RUN, EXPECTED), (&*RUN_IN_DETAIL, DETAILS)] {
        assert_eq!(printed(run), expected, "{}", String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success());
    }
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    for line in printed(&RUN).lines().chain(printed(&RUN_IN_DETAIL).lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_measures_can_be_had_alone() {
    let run = run(&["--measures"]);
    let printed = printed(&run);
    let (table, _acts) = EXPECTED.split_once("\nThe acts").expect("the acts follow the table");
    assert_eq!(printed, format!("{table}\nall as expected\n"));
    assert!(run.status.success());
}

#[test]
fn the_readme_quotes_what_it_prints() {
    let blocks: Vec<&str> = README.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    assert!(README.contains("cargo run --release -p secure-message\n"));
    for block in blocks {
        assert!(EXPECTED.contains(block) || DETAILS.contains(block), "this is not what it prints:\n{block}");
    }
}
