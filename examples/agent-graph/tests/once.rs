//! Plays the whole example, as its README says, and holds every line of it.

use std::process::{Command, Output};
use std::sync::LazyLock;

/// The printed output, but for names and times that differ from run to run; and with `-v`.
const EXPECTED: &str = include_str!("once.txt");
const DETAILS: &str = include_str!("details.txt");
const README: &str = include_str!("../README.md");

static RUN: LazyLock<Output> = LazyLock::new(|| run(&["--once"]));
static RUN_IN_DETAIL: LazyLock<Output> = LazyLock::new(|| run(&["--once", "-v"]));

fn run(arguments: &[&str]) -> Output {
    let run = Command::new(env!("CARGO_BIN_EXE_agent-graph")).args(arguments).output();
    run.expect("the example is built")
}

fn printed(run: &Output) -> String {
    String::from_utf8(run.stdout.clone()).expect("text")
}

/// A line without what differs from run to run.
fn redacted(line: &str) -> String {
    let before = "The audit trail of the transaction ";
    if line.starts_with(before) { format!("{before}…:") } else { line.to_owned() }
}

#[test]
fn every_act_goes_as_expected_and_every_line_of_acts_and_tables_too() {
    for (run, expected) in [(&*RUN, EXPECTED), (&*RUN_IN_DETAIL, DETAILS)] {
        let printed = printed(run);
        let lines: Vec<String> = printed.lines().map(redacted).collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(lines, expected, "{printed}\n{}", String::from_utf8_lossy(&run.stderr));
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
fn no_token_is_printed() {
    let all = printed(&RUN) + &printed(&RUN_IN_DETAIL) + &String::from_utf8_lossy(&RUN.stderr);
    // `{"`, with which the header of every token begins, in base64url.
    assert!(!all.contains("eyJ"), "{all}");
}

#[test]
fn the_readme_quotes_what_it_prints() {
    let blocks: Vec<&str> = README.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    assert!(README.contains(concat!("cargo run --release -p ", env!("CARGO_PKG_NAME"), "\n")));
    for block in blocks {
        assert!(EXPECTED.contains(block) || DETAILS.contains(block), "this is not what it prints:\n{block}");
    }
}
