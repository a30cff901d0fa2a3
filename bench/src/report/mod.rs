//! How the figures are shown.

mod plot;
mod table;
mod targets;

use serde_json::{Map, Value, json};

use crate::measure::Figures;
use crate::measure::exchange::Exchanges;
use crate::measure::flatness::flatness;
use crate::statistics::Rounds;

pub use plot::plot;
pub use table::table;

/// The rows that a target or a key of the JSON names.
const PLAIN: &str = "PostgreSQL, ES256, each token once";
const FAN_OUT: &str = "PostgreSQL, ES256, to eight targets";
const SQLITE: &str = "SQLite, ES256, each token once";
/// The row of clients with an assertion.
pub const ASSERTION: &str = "PostgreSQL, ES256, with an assertion";

/// The figures as one object. What was not measured is null.
#[must_use]
pub fn json(figures: &Figures) -> Value {
    let exchange = row(figures, PLAIN);
    let ratio = |name| row(figures, name).map(|exchange| exchange.ratio.median());
    let stored = figures.stored.as_ref();
    let registry = figures.registry.as_ref();
    let loaded = figures.levels.last();
    let median = |rounds: &Rounds| rounds.median();
    let peers: Map<String, Value> = figures
        .peers
        .iter()
        .map(|measured| (measured.peer.name.to_owned(), json!(measured.per_second.median())))
        .collect();
    json!({
        "floor_cpu_us": exchange.map(|exchange| exchange.floor_us.median()),
        "exchange_cpu_us": exchange.map(|exchange| exchange.cpu_us.median()),
        "cpu_ratio": ratio(PLAIN),
        "sqlite_cpu_ratio": ratio(SQLITE),
        "fan_out_cpu_ratio": ratio(FAN_OUT),
        "assertion_cpu_ratio": ratio(ASSERTION),
        "exchanges_per_second": exchange.map(|exchange| exchange.per_second.median()),
        "postgres_cpu_us": stored.map(|stored| median(&stored.cpu_us)),
        "wal_bytes_per_exchange": stored.map(|stored| median(&stored.wal_bytes)),
        "bytes_at_rest_per_exchange": stored.map(|stored| stored.bytes_at_rest),
        "p99_over_idle_p50": figures.latencies.as_ref().map(|latencies| latencies.p99_over_idle_p50.median()),
        "flatness": loaded.map(|_levels| flatness(&figures.levels)),
        "rss_idle_mib": figures.idle_mib,
        "rss_loaded_mib": loaded.map(|level| level.resident_mib),
        "cached_call_us": figures.calls.as_ref().map(|calls| calls.cached_us.median()),
        "registry_check_s": registry.map(|registry| registry.check_s),
        "registry_apply_s": registry.map(|registry| registry.apply_s),
        "registry_start_s": registry.map(|registry| registry.start_s),
        "registry_followed_s": registry.map(|registry| registry.followed_s),
        "local_p50_us": figures.local.as_ref().map(|local| local.p50_us.median()),
        "local_p99_us": figures.local.as_ref().map(|local| local.p99_us.median()),
        "peers": peers,
    })
}

/// The exchanges of a row.
fn row<'a>(figures: &'a Figures, name: &str) -> Option<&'a Exchanges> {
    figures.exchanges.iter().find(|named| named.name == name).map(|named| &named.exchanges)
}
