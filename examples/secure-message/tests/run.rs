//! Plays the whole example, as its README says, and holds every line of it.

use std::process::{Command, Output};
use std::sync::LazyLock;

const EXPECTED: &str = include_str!("run.txt");
const README: &str = include_str!("../README.md");

/// What an operator's command says of a revocation, and when it ends.
fn is_of_the_operator(line: &str) -> bool {
    line.starts_with("revoked: ")
}

fn printed(run: &Output) -> String {
    let printed = String::from_utf8(run.stdout.clone()).expect("text");
    printed.lines().filter(|line| !is_of_the_operator(line)).map(|line| format!("{line}\n")).collect()
}

static RUN: LazyLock<Output> =
    LazyLock::new(|| Command::new(env!("CARGO_BIN_EXE_secure-message")).output().expect("the example is built"));

#[test]
fn all_goes_as_told_and_every_line_is_as_expected() {
    let printed = printed(&RUN);
    assert_eq!(printed, EXPECTED, "{}", String::from_utf8_lossy(&RUN.stderr));
    assert!(RUN.status.success());
}

#[test]
fn the_measures_can_be_had_alone() {
    let run =
        Command::new(env!("CARGO_BIN_EXE_secure-message")).arg("--measures").output().expect("the example is built");
    let printed = printed(&run);
    assert!(EXPECTED.ends_with(&printed) && printed.starts_with("The measures"), "{printed}");
    assert!(run.status.success());
}

#[test]
fn the_readme_quotes_what_it_prints() {
    let blocks: Vec<&str> = README.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    assert!(README.contains("cargo run --release -p secure-message\n"));
    for block in blocks {
        assert!(EXPECTED.contains(block), "this is not what it prints:\n{block}");
    }
}
