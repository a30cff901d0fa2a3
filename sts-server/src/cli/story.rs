//! The story of one user request: all decisions with one correlation id, for a person at a
//! terminal.
//!
//! A user request may start several transactions, because every first hop starts one. The story has
//! a paragraph for each transaction, and a line or two for each of its decisions.

use std::fmt::Write as _;

use jiff::Timestamp;
use sts_protocol::Scope;

use super::CliError;
use super::output::{Output, Style, counted, to_the_second};
use crate::record::Event;

/// Prints the events of one correlation id. `events` is in the order of recording.
pub(super) fn tell(correlation_id: &str, events: &[Event], out: &mut Output) -> Result<(), CliError> {
    let (Some(first), Some(last)) =
        (events.iter().map(|event| event.at).min(), events.iter().map(|event| event.at).max())
    else {
        return Ok(());
    };
    let transactions = transactions(events);
    let refused = events.iter().filter(|event| event.reason.is_some()).count();
    let known = transactions.iter().filter(|(txn, _)| txn.is_some()).count();
    // One decision takes no time between events, and a refusal at a first hop has no transaction.
    let within = [
        (known > 0).then(|| counted(known, "transaction")),
        (events.len() > 1).then(|| milliseconds((last.as_microsecond() - first.as_microsecond()).unsigned_abs())),
    ];
    let within: Vec<String> = within.into_iter().flatten().collect();
    let within = if within.is_empty() { String::new() } else { format!(", in {}", within.join(" and ")) };
    let head = format!("{correlation_id}: {}, {refused} refused{within}", counted(events.len(), "decision"));
    out.line(&out.styled(Style::Heading, &head))?;
    for (txn, events) in transactions {
        out.line("")?;
        out.line(&out.styled(Style::Heading, &heading(txn, &events)))?;
        for event in events {
            let style = if event.reason.is_some() { Style::Bad } else { Style::Good };
            let at = format!("  {}  ", event.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"));
            let (kind, decision) = (format!("{:<7}", event.event.word()), format!("  {}", decision(event)));
            out.line(&out.joined(&[(Style::Plain, &at), (style, &kind), (Style::Plain, &decision)]))?;
            for line in [chain(event), tokens(event), event.detail.as_deref().map(str::to_owned)].into_iter().flatten()
            {
                out.line(&out.styled(Style::Quiet, &format!("      {line}")))?;
            }
        }
    }
    Ok(())
}

/// Groups the events by transaction, in the order in which each started. A request that was refused
/// at its first hop has no transaction.
fn transactions(events: &[Event]) -> Vec<(Option<&str>, Vec<&Event>)> {
    let mut transactions: Vec<(Option<&str>, Vec<&Event>)> = Vec::new();
    for event in events {
        let txn = event.txn.as_deref();
        match transactions.iter_mut().find(|(known, _)| *known == txn) {
            Some((_, events)) => events.push(event),
            None => transactions.push((txn, vec![event])),
        }
    }
    transactions
}

/// Returns the heading of a transaction: its id and its user, who is the same for all hops.
fn heading(txn: Option<&str>, events: &[&Event]) -> String {
    let Some(txn) = txn else { return "no transaction: refused at a first hop".to_owned() };
    let mut text = format!("transaction {}", txn);
    // A refusal may have come before the user was known, so the heading uses the event with the
    // most data.
    if let Some(event) = events.iter().max_by_key(|event| usize::from(event.sub.is_some())) {
        append(&mut text, " ", subject(event));
    }
    text
}

/// Returns the user of an event, with issuer and tenant.
fn subject(event: &Event) -> [(&'static str, Option<String>); 3] {
    [
        ("for", event.sub.as_deref().map(str::to_owned)),
        ("of", event.subject_issuer.as_deref().map(str::to_owned)),
        ("in tenant", event.tenant_id.as_ref().map(ToString::to_string)),
    ]
}

/// Returns the caller and the target, the rule or the reason for refusal, and the duration.
fn decision(event: &Event) -> String {
    let who = event.client_id.as_deref().unwrap_or("an operator").to_owned();
    let mut text = match &event.target {
        Some(target) => format!("{who} -> {}", target),
        None => who,
    };
    if event.txn.is_none() {
        append(&mut text, " ", subject(event));
    }
    let parts = [
        ("scope", event.scope.as_ref().or(event.requested_scope.as_ref()).map(Scope::to_string)),
        ("rule", event.delegation.as_deref().map(str::to_owned)),
        ("reason", event.reason.as_deref().map(str::to_owned)),
        ("took", event.duration_micros.map(milliseconds)),
    ];
    append(&mut text, "  ", parts);
    text
}

/// Returns the actors, the last first.
fn chain(event: &Event) -> Option<String> {
    let actors: Vec<String> = event.actors.clone();
    (!actors.is_empty()).then(|| format!("chain {}", actors.join(" < ")))
}

/// Returns the id of the token, its expiry, and the id of its parent.
fn tokens(event: &Event) -> Option<String> {
    let mut text = String::new();
    let until = event.exp.and_then(|exp| Timestamp::from_second(exp).ok());
    let parts = [
        ("jti", event.jti.as_deref().map(str::to_owned)),
        ("expires", until.map(to_the_second)),
        ("from", event.parent_jti.as_deref().map(str::to_owned)),
    ];
    append(&mut text, "  ", parts);
    (!text.is_empty()).then(|| text.trim_start().to_owned())
}

fn append<const N: usize>(text: &mut String, between: &str, parts: [(&str, Option<String>); N]) {
    for (name, value) in parts {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(text, "{between}{name} {value}");
        }
    }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03} ms", microseconds / 1000, microseconds % 1000)
}
