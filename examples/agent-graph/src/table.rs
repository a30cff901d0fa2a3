//! The tables of the first call: the token of each hop beside the user's own, and the audit trail.

use anyhow::Context as _;
use serde_json::{Map, Value};
use sts_protocol::Act;
use sts_server::record::Event;

use crate::Graph;
use crate::acts::Stage;

/// The rows of the first table: a title, and the claim or claims that it shows.
const CLAIMS: [(&str, &[&str]); 5] = [
    ("sub", &["sub"]),
    ("act", &["act"]),
    ("aud", &["aud"]),
    ("scope", &["scope"]),
    ("tenant", &["tenant_id", "org_id"]),
];
const TOKENS: [&str; 4] = ["", "alice's own token", "to inventory", "to warehouse"];
const KEYS: [&str; 4] = ["", "bound to", "held by", "sent as"];
const TRAIL: [&str; 6] = ["event", "sub", "actors", "target", "scope", "tenant"];

/// Prints the tables of the first call.
pub(crate) async fn print(graph: &Graph, stage: &Stage) -> anyhow::Result<()> {
    let [user, inventory, warehouse] = stage.first_call.as_slice() else { anyhow::bail!("there was no call") };
    let tokens = [user.claims()?, inventory.claims()?, warehouse.claims()?];
    println!("alice asks her coordinator, which asks the inventory, which asks the warehouse.");
    println!("What her own token says, and what the token of each hop says:\n");
    print_columns(&TOKENS, CLAIMS.map(|(title, claims)| row(title, claims, &tokens)).to_vec());
    let txn = tokens[1].get("txn").and_then(Value::as_str).context("no transaction")?;
    println!("\nThe audit trail of the transaction {txn}:\n");
    let trail = graph.sts.audit(txn).await?;
    print_columns(&TRAIL, trail.iter().map(event).collect::<anyhow::Result<_>>()?);
    Ok(())
}

/// Prints who holds which key, in the act with bound tokens.
pub(crate) fn print_keys(stage: &Stage) {
    println!("\nWho holds which key, where tokens are bound:\n");
    print_columns(&KEYS, stage.keys.clone());
}

fn row(title: &str, claims: &[&str], tokens: &[Map<String, Value>; 3]) -> [String; 4] {
    let cell = |token: &Map<String, Value>| {
        let claim = claims.iter().find_map(|claim| token.get(*claim));
        claim.map_or_else(|| "-".to_owned(), text)
    };
    let [user, inventory, warehouse] = tokens.each_ref().map(cell);
    [title.to_owned(), user, inventory, warehouse]
}

/// A claim as a cell: of actors their names, the acting one first.
fn text(claim: &Value) -> String {
    match (claim, Act::from_value(claim)) {
        (Value::String(text), _) => text.clone(),
        (_, Ok(act)) => act.actors().map(|actor| actor.sub).collect::<Vec<_>>().join(" < "),
        (other, Err(_)) => other.to_string(),
    }
}

fn event(event: &Event) -> anyhow::Result<[String; 6]> {
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
    ])
}

/// Prints rows under a heading, each column as wide as its widest cell.
fn print_columns<const N: usize>(heading: &[&str; N], rows: Vec<[String; N]>) {
    let heading = heading.map(str::to_owned);
    let all: Vec<&[String; N]> = std::iter::once(&heading).chain(&rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    for row in all {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
