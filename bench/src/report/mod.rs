//! How the figures are shown.

mod plot;
mod table;

use serde_json::{Map, Value, json};

use crate::measure::Figures;
use crate::measure::flatness::flatness;

pub use plot::plot;
pub use table::table;

/// The figures as one object. What was not measured is null.
#[must_use]
pub fn json(figures: &Figures) -> Value {
    let exchange = figures.exchanges.first().map(|named| &named.exchanges);
    let loaded = figures.levels.last();
    let peers: Map<String, Value> = figures
        .peers
        .iter()
        .map(|measured| (measured.peer.name.to_owned(), json!(measured.per_second.median())))
        .collect();
    json!({
        "floor_cpu_us": exchange.map(|exchange| exchange.floor_us.median()),
        "exchange_cpu_us": exchange.map(|exchange| exchange.cpu_us.median()),
        "cpu_ratio": exchange.map(|exchange| exchange.ratio.median()),
        "exchanges_per_second": exchange.map(|exchange| exchange.per_second.median()),
        "p99_over_idle_p50": figures.latencies.as_ref().map(|latencies| latencies.p99_over_idle_p50.median()),
        "flatness": loaded.map(|_levels| flatness(&figures.levels)),
        "rss_idle_mib": figures.idle_mib,
        "rss_loaded_mib": loaded.map(|level| level.resident_mib),
        "cached_call_us": figures.calls.as_ref().map(|calls| calls.cached_us.median()),
        "local_p50_us": figures.local.as_ref().map(|local| local.p50_us.median()),
        "local_p99_us": figures.local.as_ref().map(|local| local.p99_us.median()),
        "peers": peers,
    })
}
