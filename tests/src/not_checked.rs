//! Checks that a test does not make on this machine.

use std::io::Write as _;

/// The variable of the environment that names the report of `tests/run`.
const REPORT: &str = "STS_TESTS_NOT_CHECKED";

/// Says that a check was not made, and why. `tests/run` repeats that in its last line.
pub fn not_checked(what: &str) {
    eprintln!("not checked: {what}");
    let Some(report) = std::env::var_os(REPORT) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(report);
    // One write: other processes append to the same file.
    file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes())).expect("tests/run makes the report");
}
