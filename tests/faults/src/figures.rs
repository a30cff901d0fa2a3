//! The figures of a run, and the page that keeps those of the last run of each scenario.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::SCENARIOS;
use crate::tally::Counts;

/// How the page begins.
const HEAD: &str = "# Faults\n
What a fault does to a service under load, tried with real servers, real databases and a network that fails on demand
(`tests/faults`). Clients ask all the while, in chains of two hops, with values that count once and with requests that must be
refused, and keep a ledger of every token whose answer they read to its end. Since 2026-11-30, half of the tokens are bound to a key, with
a proof for each request; the runs before that had bearer tokens alone. After each scenario: every token of the ledger stands in the
audit log and says what its event says; I1 to I6, I9 and I10 hold over all rows; no value was accepted twice (I7); no refusal was taken for
an outage nor an outage for a refusal, in any answer (I8); `audit verify` finds no fault; every server issues a clean chain, and ends with 0.
`failover-asynchronous` alone may lose the tokens of its gap, and the ends of audit chains.

```sh
cargo run --release -p sts-faults -- list
cargo run --release -p sts-faults -- kill-9-postgres disk-full-sqlite
cargo run --release -p sts-faults -- all --write docs/faults.md
cargo run --release -p sts-faults -- hostile --minutes 30
```

The scenarios that are marked *CI* run in a short form as part of `cargo test --workspace`. Some need root, `strace` or `libfaketime`;
where those are missing they say so.

## The last run of each

*tokens* are those that clients received whole, *lost* those of them that the audit log does not have. *503* and *429* were answered
while something failed; *no answer* counts connections that a fault took. *back after* is the longest time from the end of a fault until
every server issued a chain again.

";
const COLUMNS: &str = "| scenario | what is tried | run | requests | tokens | lost | refused | 503 | 429 | no answer | faults | back after | beside |\n\
                       |---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// The figures of a scenario that was not run.
const NEVER: &str = "never | | | | | | | | | | |";

/// What a scenario that held came to.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// How long it took.
    pub seconds: f64,
    /// What came of its requests.
    pub counts: Counts,
    /// Tokens that were received whole.
    pub received: usize,
    /// Tokens of the audit log.
    pub issued: usize,
    /// How often the servers recovered of a fault.
    pub recoveries: usize,
    /// The longest time from the end of a fault until all servers served again.
    pub slowest_recovery_ms: u64,
    /// What else was seen.
    pub notes: Vec<String>,
}

impl Figures {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let Counts { sent, refused, outages, limited, unanswered, truncated, elsewhere } = self.counts;
        let mut line = format!(
            "{:.0} s, {sent} requests, {} tokens received of {} issued, 0 lost, {refused} refused, {outages} × 503, {limited} × 429, \
             {unanswered} unanswered, {truncated} truncated, {elsewhere} answered elsewhere, {} faults, back after {} ms",
            self.seconds, self.received, self.issued, self.recoveries, self.slowest_recovery_ms
        );
        for note in &self.notes {
            let _ = write!(line, "; {note}");
        }
        line
    }

    fn row(&self, run: &str) -> String {
        let Counts { sent, refused, outages, limited, unanswered, .. } = self.counts;
        format!(
            "{run}, {:.0} s | {sent} | {} | 0 | {refused} | {outages} | {limited} | {unanswered} | {} | {} ms | {} |",
            self.seconds,
            self.received,
            self.recoveries,
            self.slowest_recovery_ms,
            self.notes.join("; ")
        )
    }
}

/// The page, with these scenarios in place of their former rows. `run` says when and on what. A row that is kept says what was tried then.
#[must_use]
pub fn page(former: &str, ran: &[(&str, Figures)], run: &str) -> String {
    let mut rows: BTreeMap<&str, String> = BTreeMap::new();
    for line in former.lines() {
        let name = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
        // Behind the name and its mark, which is that of today.
        if let (Some(name), Some((_, tried))) = (name, line.split_once(" | "))
            && !tried.ends_with(NEVER)
        {
            rows.insert(name, tried.to_owned());
        }
    }
    let mut page = format!("{HEAD}{COLUMNS}");
    for scenario in SCENARIOS {
        let ci = if scenario.in_ci { " *CI*" } else { "" };
        let of_today = |figures: &str| format!("{} | {figures}", scenario.about);
        let row = match ran.iter().find(|(name, _)| *name == scenario.name) {
            Some((_, figures)) => of_today(&figures.row(run)),
            None => rows.remove(scenario.name).unwrap_or_else(|| of_today(NEVER)),
        };
        let _ = writeln!(page, "| `{}`{ci} | {row}", scenario.name);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(seconds: f64) -> Figures {
        let (counts, notes) = (Counts { sent: 7, ..Counts::default() }, vec!["a note".to_owned()]);
        Figures { seconds, counts, received: 5, issued: 6, recoveries: 1, slowest_recovery_ms: 12, notes }
    }

    #[test]
    fn a_run_replaces_its_own_rows_and_keeps_the_others() {
        let [first, second] = [SCENARIOS[0].name, SCENARIOS[1].name];
        let before = page("", &[(first, figures(1.0)), (second, figures(2.0))], "then");
        let after = page(&before, &[(second, figures(3.0))], "now");
        assert!(after.contains("| then, 1 s |") && after.contains("| now, 3 s |"), "{after}");
        assert!(!after.contains("then, 2 s"), "{after}");
        assert_eq!(after.matches("| never |").count(), SCENARIOS.len() - 2);
    }

    #[test]
    fn a_row_that_is_kept_says_what_was_tried_in_its_run() {
        let (name, about) = (SCENARIOS[0].name, SCENARIOS[0].about);
        let former = page("", &[(name, figures(1.0))], "then").replace(about, "another load");
        assert!(page(&former, &[], "now").contains(&format!("`{name}` *CI* | another load | then, 1 s")));
        assert!(page(&former, &[(name, figures(2.0))], "now").contains(&format!("| {about} | now, 2 s")));
        let never = page("", &[], "then").replace(about, "another load");
        assert!(page(&never, &[], "now").contains(&format!("| {about} | never")));
    }
}
