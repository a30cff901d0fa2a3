//! How the figures are shown.

use serde_json::{Value, json};

use crate::measure::exchange::Exchanges;

/// One row of the table: what was measured, and how.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The figures.
    pub exchanges: Exchanges,
}

/// The table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{:<34} {:>8} {:>8} {:>6} {:>9} {:>7} {:>7}\n",
        "", "floor µs", "CPU µs", "ratio", "per s", "p50 ms", "p99 ms"
    );
    for Row { name, exchanges } in rows {
        table.push_str(&format!(
            "{name:<34} {:>8.1} {:>8.1} {:>6.2} {:>9.0} {:>7.2} {:>7.2}   ±{:.0} %\n",
            exchanges.floor_us.median(),
            exchanges.cpu_us.median(),
            exchanges.ratio.median(),
            exchanges.per_second.median(),
            exchanges.p50_us.median() / 1e3,
            exchanges.p99_us.median() / 1e3,
            exchanges.per_second.spread_percent() / 2.0,
        ));
    }
    table
}

/// The same as one object.
#[must_use]
pub fn json(rows: &[Row]) -> Value {
    let first = rows.first().map(|row| row.exchanges.clone()).unwrap_or_default();
    json!({
        "floor_cpu_us": first.floor_us.median(),
        "exchange_cpu_us": first.cpu_us.median(),
        "cpu_ratio": first.ratio.median(),
        "exchanges_per_second": first.per_second.median(),
    })
}
