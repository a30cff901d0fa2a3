//! Plays the whole example, as its README says, and holds every line of it.

use std::process::{Command, Output};
use std::sync::LazyLock;

/// What it prints, but for names and times that differ from run to run.
const EXPECTED: &str = include_str!("once.txt");
const README: &str = include_str!("../README.md");

static RUN: LazyLock<Output> = LazyLock::new(|| {
    let run = Command::new(env!("CARGO_BIN_EXE_agent-graph")).arg("--once").output();
    run.expect("the example is built")
});

fn printed() -> String {
    String::from_utf8(RUN.stdout.clone()).expect("text")
}

/// A line without what differs from run to run.
fn redacted(line: &str) -> String {
    for before in ["The audit trail of the transaction ", "revoked: 1 entry, until "] {
        if line.starts_with(before) {
            return format!("{before}…");
        }
    }
    line.to_owned()
}

#[test]
fn every_act_goes_as_told_and_every_line_of_acts_and_tables_is_as_expected() {
    let printed = printed();
    let lines: Vec<String> = printed.lines().map(redacted).collect();
    let expected: Vec<&str> = EXPECTED.lines().collect();
    assert_eq!(lines, expected, "{printed}\n{}", String::from_utf8_lossy(&RUN.stderr));
    assert!(RUN.status.success());
}

#[test]
fn no_token_is_printed() {
    let all = printed() + &String::from_utf8_lossy(&RUN.stderr);
    // `{"`, with which the header of every token begins, in base64url.
    assert!(!all.contains("eyJ"), "{all}");
}

#[test]
fn the_readme_quotes_what_it_prints() {
    let blocks: Vec<&str> = README.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    assert!(README.contains(concat!("cargo run --release -p ", env!("CARGO_PKG_NAME"), "\n")));
    for block in blocks {
        assert!(EXPECTED.contains(block), "this is not what it prints:\n{block}");
    }
}
