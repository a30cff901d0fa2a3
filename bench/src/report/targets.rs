//! The targets, and whether they are met.

use std::fmt::Write as _;

use super::{ASSERTION, FAN_OUT, PLAIN, SQLITE, row};
use crate::measure::Figures;
use crate::measure::flatness::flatness;

/// The bound of a figure.
#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

/// The targets whose figures were measured, one a line.
pub(super) fn targets(table: &mut String, figures: &Figures) {
    let _ = writeln!(table, "\n{:<62} {:>8} {:>8} {:>8}", "target", "bound", "measured", "");
    for (name, measured, bound) in measured(figures) {
        let (limit, met) = match bound {
            Bound::AtMost(limit) => (limit, measured <= limit),
            Bound::Below(limit) => (limit, measured < limit),
            Bound::AtLeast(limit) => (limit, measured >= limit),
        };
        let _ = writeln!(table, "{name:<62} {limit:>8.2} {measured:>8.2} {:>8}", if met { "met" } else { "missed" });
    }
}

fn measured(figures: &Figures) -> Vec<(String, f64, Bound)> {
    let mut measured = Vec::new();
    let mut add = |name: &str, value: f64, bound: Bound| measured.push((name.to_owned(), value, bound));
    for (name, text, most) in [
        (PLAIN, "CPU on PostgreSQL, in floors, at most", 1.6),
        (SQLITE, "CPU on SQLite, in floors, at most", 2.2),
        (FAN_OUT, "CPU to eight targets, in floors, at most", 1.0),
        (ASSERTION, "CPU with an assertion, in floors of two checks, at most", 1.6),
    ] {
        if let Some(exchanges) = row(figures, name) {
            add(text, exchanges.ratio.median(), Bound::AtMost(most));
        }
    }
    if let Some(stored) = &figures.stored {
        add("write-ahead log of an exchange in KB, at most", stored.wal_bytes.median() / 1e3, Bound::AtMost(1.5));
        add("an exchange at rest in KB, at most", stored.bytes_at_rest / 1e3, Bound::AtMost(1.2));
    }
    if let Some(latencies) = &figures.latencies {
        let ratio = latencies.p99_over_idle_p50.median();
        add("p99 at half load, in p50 of an idle server, at most", ratio, Bound::AtMost(8.0));
    }
    if let Some(exchanges) = row(figures, PLAIN) {
        for peer in &figures.peers {
            let times = exchanges.per_second.median() / peer.per_second.median();
            let wanted = if peer.peer.stores == "nothing" { 2.5 } else { 20.0 };
            add(&format!("times the exchanges of {}, at least", peer.peer.name), times, Bound::AtLeast(wanted));
        }
    }
    if let Some(last) = figures.levels.last() {
        let flatness = flatness(&figures.levels);
        add("throughput at 1 million live tokens, of that at none, at least", flatness, Bound::AtLeast(0.9));
        add("memory at rest in MiB, at most", figures.idle_mib, Bound::AtMost(64.0));
        add("memory at 1 million live tokens in MiB, at most", last.resident_mib, Bound::AtMost(256.0));
    }
    if let Some(local) = &figures.local {
        add("p50 of a cached call by sts-agent in ms, below", local.p50_us.median() / 1e3, Bound::Below(0.2));
        add("p99 of a cached call by sts-agent in ms, below", local.p99_us.median() / 1e3, Bound::Below(1.0));
        let [before, after] = local.resident_mib;
        add("memory of sts-agent after a million calls, of that before", after / before, Bound::AtMost(1.05));
    }
    if let Some(registry) = &figures.registry {
        add("10,000 agents: check in s, at most", registry.check_s, Bound::AtMost(2.0));
        add("10,000 agents: apply without a change in s, at most", registry.apply_s, Bound::AtMost(3.0));
        add("10,000 agents: started in s, at most", registry.start_s, Bound::AtMost(5.0));
        add("10,000 agents: a change followed in s, at most", registry.followed_s, Bound::AtMost(1.0));
    }
    measured
}
