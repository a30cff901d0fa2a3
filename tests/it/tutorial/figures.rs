//! The figures of the README are those of the pages that they come from: each is made from its cell, and the README has no other.

use super::links::{read, root};

/// Numbers of the README's section that are no measurements.
const NOT_MEASURED: [&str; 2] = ["99th percentile", "`kill -9`"];

#[test]
fn the_readme_has_the_figures_of_the_last_measurements_and_no_other() {
    let readme = read(&root().join("README.md"));
    let performance = read(&root().join("docs/performance.md"));
    let cell = |row: &str, column: usize| cell(&performance, row, column);
    let per_second = |row| thousands(cell(row, 4).parse().expect("exchanges a second"));
    let measured = |target| numbers(&cell(target, 1));
    let latency = measured("p99 at half load at most 10 times the p50 of an idle server");
    let memory = measured("memory at rest at most 64 MiB, there at most 256 MiB");
    let [keycloak, provider] = [
        "at least 5 times the exchanges of Keycloak, which stores sessions",
        "at least 1.5 times the exchanges of oidc-provider, which stores nothing",
    ]
    .map(|target| measured(target)[0]);
    let (scenarios, tokens) = faults();
    let expected = [
        format!("**{} exchanges a second**", per_second("PostgreSQL, ES256, each token once")),
        format!("{} on SQLite", per_second("SQLite, ES256, each token once")),
        format!("**{:.1} ms** for one exchange on an idle server", latency[2]),
        format!("{:.0} ms at the 99th percentile of half load", latency[1]),
        format!("**{} MiB** of memory at rest; {} MiB with a million live tokens", memory[0], memory[1]),
        format!("**{keycloak} times** the exchanges of Keycloak"),
        format!("{provider} times those of oidc-provider"),
        format!("**{scenarios} kinds of fault**"),
        format!("{} tokens that clients received", thousands(tokens)),
    ];
    let (_, section) = readme.split_once("## Measured\n").expect("the figures");
    let (section, _) = section.split_once("\n## ").expect("a next section");
    let mut rest = section.replace('\n', " ").replace("  ", " ");
    for expected in expected {
        assert!(rest.contains(&expected), "the README does not say: {expected}");
        rest = rest.replace(&expected, "");
    }
    for known in NOT_MEASURED {
        rest = rest.replace(known, "");
    }
    assert!(!rest.contains(|char: char| char.is_ascii_digit()), "a figure of no page: {rest}");
}

/// The number of scenarios of the page on faults, and of the tokens that clients received. None of them was lost.
fn faults() -> (u64, u64) {
    let page = read(&root().join("docs/faults.md"));
    let rows = page.lines().filter(|row| row.starts_with("| `")).map(|row| row.split('|').collect::<Vec<_>>());
    let (mut scenarios, mut tokens) = (0, 0);
    for row in rows {
        // | scenario | what is tried | run | requests | tokens | lost | …
        if let [_, scenario, _, _, _, issued, lost, ..] = row.as_slice()
            && let (Ok(issued), Ok(lost)) = (issued.trim().parse::<u64>(), lost.trim().parse::<u64>())
        {
            assert_eq!(lost, 0, "{scenario}");
            scenarios += 1;
            tokens += issued;
        }
    }
    (scenarios, tokens)
}

/// A cell of the only row that begins with this text.
fn cell(page: &str, row: &str, column: usize) -> String {
    let start = format!("| {row} |");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with(&start)).collect();
    let [row] = rows.as_slice() else { panic!("not one row: {row}") };
    row.trim_matches('|').split('|').nth(column).unwrap_or_else(|| panic!("no cell {column}: {row}")).trim().to_owned()
}

/// The numbers of a text, without their separators.
fn numbers(text: &str) -> Vec<f64> {
    let text = text.replace(',', "");
    let words = text.split(|char: char| !char.is_ascii_digit() && char != '.');
    words.filter_map(|word| word.parse().ok()).collect()
}

fn thousands(number: u64) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}
