//! How the figures are shown.

mod plot;
mod table;

use serde_json::{Map, Value, json};

use crate::measure::Figures;
use crate::measure::flatness::flatness;

pub use plot::plot;
pub use table::table;

/// The figures as one object.
#[must_use]
pub fn json(figures: &Figures) -> Value {
    let exchange = figures.exchanges.first().map(|named| named.exchanges.clone()).unwrap_or_default();
    let latencies = figures.latencies.clone().unwrap_or_default();
    let peers: Map<String, Value> = figures
        .peers
        .iter()
        .map(|measured| (measured.peer.name.to_owned(), json!(measured.per_second.median())))
        .collect();
    json!({
        "floor_cpu_us": exchange.floor_us.median(),
        "exchange_cpu_us": exchange.cpu_us.median(),
        "cpu_ratio": exchange.ratio.median(),
        "exchanges_per_second": exchange.per_second.median(),
        "p99_over_idle_p50": latencies.p99_over_idle_p50.median(),
        "flatness": flatness(&figures.levels),
        "rss_idle_mib": figures.idle_mib,
        "rss_loaded_mib": figures.levels.last().map_or(0.0, |level| level.resident_mib),
        "cached_call_us": figures.calls.as_ref().map_or(0.0, |calls| calls.cached_us.median()),
        "peers": peers,
    })
}
