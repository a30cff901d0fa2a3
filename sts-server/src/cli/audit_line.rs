//! An audit event in words, as `audit list` and `audit follow` print it.

use super::output::{Output, Style, Styled, to_the_second};
use crate::record::{Event, EventKind};

/// The maximum width of a printed line. A single name may be longer.
const WIDTH: usize = 80;
/// The width of the longest kind but one, `revocation.refused`.
const KIND_WIDTH: usize = 18;

/// Returns an event on several lines: its time and kind, then its parts.
pub(super) fn lines(event: &Event, out: &Output) -> Vec<Styled> {
    let at = format!("{}  ", to_the_second(event.at));
    let kind = format!("{:<KIND_WIDTH$}", event.event.as_str());
    let mut rows = wrapped(&parts(event), at.len(), kind.len());
    // The detail of a change lists several.
    for detail in event.detail.iter().flat_map(|detail| detail.split("; ")) {
        let is_first = rows.iter().all(String::is_empty);
        let more = wrapped(&[detail.to_owned()], at.len(), if is_first { kind.len() } else { 0 });
        if is_first {
            rows.clear();
        }
        rows.extend(more);
    }
    let first = if rows.is_empty() { String::new() } else { rows.remove(0) };
    let style = if event.reason.is_some() { Style::Bad } else { Style::Good };
    let head = out.joined(&[(Style::Quiet, &at), (style, &kind), (Style::Plain, &first)]);
    let indent = " ".repeat(at.len().saturating_sub(2));
    let rest = rows.into_iter().map(|row| out.styled(Style::Plain, &format!("{indent}{row}")));
    std::iter::once(head).chain(rest).collect()
}

/// Returns all parts of an event, each a few words.
fn parts(event: &Event) -> Vec<String> {
    let is_revocation = matches!(event.event, EventKind::Revoked | EventKind::RevocationLifted);
    let main = event.object();
    let named = |name: &str, value: Option<String>| {
        value.map(|value| format!("{name} {value}")).filter(|part| main.as_ref() != Some(part))
    };
    let issuer = event.subject_issuer.as_ref().map(|issuer| format!(" of {issuer}")).unwrap_or_default();
    let user = event.sub.as_ref().filter(|_| !is_revocation).map(|sub| format!("for {sub}{issuer}"));
    // A chain of one is the client, which is named already.
    let chain = (event.actors.len() > 1 && !is_revocation).then(|| event.actors.join(" < "));
    let by = event.client_id.as_ref().or(event.admin.as_ref()).filter(|_| is_revocation);
    let parts = [
        main.clone(),
        named("reason", event.reason.clone()),
        user,
        named("by", by.cloned()),
        named("tenant", event.tenant_id.as_ref().map(ToString::to_string)),
        named("scope", event.scope.as_ref().map(ToString::to_string)),
        named("chain", chain),
        named("rule", event.delegation.clone()),
        named("count", event.count.map(|count| count.to_string())),
        named("jti", event.jti.clone()),
        named("txn", event.txn.clone()),
        named("correlation", event.correlation_id.clone()),
    ];
    parts.into_iter().flatten().collect()
}

/// Breaks parts into rows, each part preceded by two spaces. The first row has less space.
fn wrapped(parts: &[String], indent: usize, taken: usize) -> Vec<String> {
    let room = |rows: usize| WIDTH.saturating_sub(indent).saturating_sub(if rows == 1 { taken } else { 0 });
    let mut rows = vec![String::new()];
    for part in parts {
        for (index, word) in part.split(' ').enumerate() {
            let gap = if index == 0 { "  " } else { " " };
            // A part that fits on a row of its own is not broken.
            let needed = if index == 0 && part.chars().count() + 2 <= room(0) { part.as_str() } else { word };
            let is_within = |row: &String, rows: usize| {
                row.is_empty() || row.chars().count() + gap.len() + needed.chars().count() <= room(rows)
            };
            let count = rows.len();
            match rows.last_mut().filter(|row| is_within(row, count)) {
                Some(row) if index > 0 && row.is_empty() => row.push_str(&format!("  {word}")),
                Some(row) => row.push_str(&format!("{gap}{word}")),
                None => rows.push(format!("  {word}")),
            }
        }
    }
    rows
}
