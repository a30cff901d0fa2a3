//! The end of the run: hop by hop what each agent was told, beside what it would have been told, and what the STS wrote down.

use anyhow::Context as _;
use serde_json::{Map, Value};
use sts_protocol::Act;
use sts_server::record::Event;

use crate::Graph;
use crate::acts::Stage;
use crate::wiretap::Heard;

const HOPS: [&str; 2] = ["coordinator -> inventory", "inventory -> warehouse"];
const COLUMNS: [&str; 7] = ["hop", "", "sub", "act", "aud", "scope", "tenant"];
const TRAIL: [&str; 7] = ["event", "sub", "actors", "target", "scope", "tenant", "delegation"];

/// Prints the tables of the first call.
pub(crate) async fn print(graph: &Graph, stage: &Stage) -> anyhow::Result<()> {
    let [user, hops @ ..] = stage.first_call.as_slice() else { anyhow::bail!("there was no call") };
    println!("\nHop by hop. Before: what a raw pass-through would have shown. After: what the agent was shown.\n");
    print_columns(&COLUMNS.map(str::to_owned), rows(user, hops)?);
    let txn = hops.first().context("no hop")?.claims()?;
    let txn = txn.get("txn").and_then(Value::as_str).context("no transaction")?;
    println!("\nThe audit trail of the transaction {txn}\n");
    let trail = graph.sts.audit(txn).await?;
    print_columns(&TRAIL.map(str::to_owned), trail.iter().map(event).collect::<anyhow::Result<_>>()?);
    Ok(())
}

fn rows(user: &Heard, hops: &[Heard]) -> anyhow::Result<Vec<[String; 7]>> {
    let mut rows = Vec::new();
    for (hop, heard) in HOPS.iter().zip(hops) {
        rows.push(row(hop, "before", &user.claims()?)?);
        rows.push(row("", "after", &heard.claims()?)?);
    }
    Ok(rows)
}

fn row(hop: &str, when: &str, claims: &Map<String, Value>) -> anyhow::Result<[String; 7]> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let tenant = if claims.contains_key("tenant_id") { text("tenant_id") } else { text("org_id") };
    let act = claims.get("act").map(Act::from_value).transpose()?;
    let actors: Vec<&str> = act.iter().flat_map(Act::actors).map(|actor| actor.sub).collect();
    let act = if actors.is_empty() { "-".to_owned() } else { actors.join(" < ") };
    Ok([hop.to_owned(), when.to_owned(), text("sub"), act, text("aud"), text("scope"), tenant])
}

fn event(event: &Event) -> anyhow::Result<[String; 7]> {
    let kind = serde_json::to_value(event.event)?;
    let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let scope = event.scope.as_ref().map(ToString::to_string);
    Ok([
        or_none(kind.as_str()),
        or_none(event.sub.as_deref()),
        event.actors.join(" < "),
        or_none(event.target.as_deref()),
        or_none(scope.as_deref()),
        or_none(event.tenant_id.as_ref().map(|tenant| tenant.as_str())),
        or_none(event.delegation.as_deref()),
    ])
}

/// Prints rows under a heading, each column as wide as its widest cell.
fn print_columns<const N: usize>(heading: &[String; N], rows: Vec<[String; N]>) {
    let all: Vec<&[String; N]> = std::iter::once(heading).chain(&rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    for row in all {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
