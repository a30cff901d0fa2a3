//! One table, for a terminal.

use std::fmt::Write as _;

use crate::measure::Figures;
use crate::measure::client::WAITERS;
use crate::measure::exchange::Exchanges;
use crate::measure::local::{CALLS, PER_SECOND};
use crate::measure::registry::{AGENTS, LargeRegistry};
use crate::measure::stored::Stored;
use crate::statistics::Rounds;

use super::targets::targets;

/// The table, with the targets and whether they are met at its end.
#[must_use]
pub fn table(figures: &Figures) -> String {
    let mut table = String::new();
    exchanges(&mut table, figures);
    stored(&mut table, figures);
    requests(&mut table, figures);
    calls(&mut table, figures);
    registry(&mut table, figures);
    local(&mut table, figures);
    peers(&mut table, figures);
    targets(&mut table, figures);
    table
}

fn exchanges(table: &mut String, figures: &Figures) {
    let _ = writeln!(
        table,
        "{:<38} {:>8} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8}",
        "exchange", "floor µs", "CPU µs", "ratio", "per s", "±%", "p50 ms", "p99 ms"
    );
    let mut row = |name: &str, exchanges: &Exchanges| {
        let _ = writeln!(
            table,
            "{name:<38} {:>8.1} {:>8.1} {:>6.2} {:>8.0} {:>8.0} {:>8.2} {:>8.2}",
            exchanges.floor_us.median(),
            exchanges.cpu_us.median(),
            exchanges.ratio.median(),
            exchanges.per_second.median(),
            exchanges.per_second.spread_percent() / 2.0,
            exchanges.p50_us.median() / 1e3,
            exchanges.p99_us.median() / 1e3,
        );
    };
    for named in &figures.exchanges {
        row(&named.name, &named.exchanges);
    }
    for level in &figures.levels {
        row(&format!("PostgreSQL, {} live tokens", level.live_tokens), &level.exchanges);
    }
    for level in &figures.levels {
        let _ = writeln!(table, "memory at {} live tokens: {:.0} MiB", level.live_tokens, level.resident_mib);
    }
}

fn stored(table: &mut String, figures: &Figures) {
    let Some(Stored { cpu_us, wal_bytes, bytes_at_rest }) = &figures.stored else { return };
    let _ = writeln!(
        table,
        "PostgreSQL, per exchange: CPU {:.1} µs ±{:.0} %, write-ahead log {:.0} B ±{:.0} %, at rest {bytes_at_rest:.0} B",
        cpu_us.median(),
        cpu_us.spread_percent() / 2.0,
        wal_bytes.median(),
        wal_bytes.spread_percent() / 2.0,
    );
}

fn registry(table: &mut String, figures: &Figures) {
    let Some(LargeRegistry { check_s, first_apply_s, apply_s, start_s, followed_s }) = figures.registry else { return };
    let _ = writeln!(
        table,
        "{AGENTS} agents: check {check_s:.2} s, first apply {first_apply_s:.2} s, apply without a change {apply_s:.2} s, start {start_s:.2} s, \
         a change followed {followed_s:.2} s"
    );
}

fn requests(table: &mut String, figures: &Figures) {
    for endpoint in &figures.endpoints {
        let _ = writeln!(
            table,
            "{:<38} {:>8} {:>8.1} {:>6} {:>8.0} {:>8.0}",
            endpoint.name,
            "",
            endpoint.cpu_us.median(),
            "",
            endpoint.per_second.median(),
            endpoint.per_second.spread_percent() / 2.0,
        );
    }
    if let Some(latencies) = &figures.latencies {
        row_ms(table, "latency, idle server, p50", &latencies.idle_p50);
        row_ms(table, "latency, half load, p50", &latencies.half_p50);
        row_ms(table, "latency, half load, p99", &latencies.half_p99);
    }
}

fn calls(table: &mut String, figures: &Figures) {
    let Some(calls) = &figures.calls else { return };
    let _ = writeln!(table, "{:<38} {:>8.2} µs", "agent's call, cached", calls.cached_us.median());
    row_ms(table, "agent's call, cold", &calls.cold_us);
    row_ms(table, &format!("{WAITERS} calls that wait for one token"), &calls.waiters_us);
}

fn local(table: &mut String, figures: &Figures) {
    let Some(local) = &figures.local else { return };
    row_ms(table, &format!("by sts-agent, {PER_SECOND} a second, p50"), &local.p50_us);
    row_ms(table, &format!("by sts-agent, {PER_SECOND} a second, p99"), &local.p99_us);
    let [before, after] = local.resident_mib;
    let _ = writeln!(table, "memory of sts-agent before and after {CALLS} calls: {before:.1} and {after:.1} MiB");
}

fn row_ms(table: &mut String, name: &str, microseconds: &Rounds) {
    let (median, spread) = (microseconds.median() / 1e3, microseconds.spread_percent() / 2.0);
    let _ = writeln!(table, "{name:<38} {median:>8.2} ms ±{spread:.0} %");
}

fn peers(table: &mut String, figures: &Figures) {
    let ours = figures.exchanges.first().map_or(0.0, |named| named.exchanges.per_second.median());
    for measured in &figures.peers {
        let per_second = measured.per_second.median();
        let _ = writeln!(
            table,
            "{:<38} {:>8} {:>8} {:>6} {per_second:>8.0} {:>8.0} {:>8.2} {:>8.2}   1/{:.1} of ours; {}",
            measured.peer.name,
            "",
            "",
            "",
            measured.per_second.spread_percent() / 2.0,
            measured.p50_us.median() / 1e3,
            measured.p99_us.median() / 1e3,
            ours / per_second,
            measured.peer.lacks,
        );
    }
}
