//! `audit`: lists, follows, verifies and exports the audit log.

use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sts_jose::hex;

use super::arguments::{AuditCommand, AuditFilterArguments, Options};
use super::output::{Output, Style, configuration, counted, read};
use super::serve::until_told;
use super::{CliError, audit_line, story};
use crate::admin::{Administration, AuditQuery};
use crate::keys;
use crate::record::{self, AuditFault, cut, event_of};
use crate::server::{Foundation, Surroundings};
use crate::storage::{AuditFilter, AuditHead, MAC_BYTES, StoredAuditRow, UncheckedAuditRow};

/// The number of rows that are read at once.
const PAGE: u32 = 1000;
/// The maximum number of events in a story.
const STORY: u32 = 1000;
/// The polling interval of `follow`.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(
    options: &Options,
    command: &AuditCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let foundation = Foundation::lay(&config, surroundings).await?;
    match command {
        AuditCommand::List(arguments) => list(&foundation.administration(&config), arguments, out).await,
        AuditCommand::Follow => tokio::select! {
            followed = follow(&foundation, out) => followed,
            told = until_told() => told.map(|()| ExitCode::SUCCESS),
        },
        AuditCommand::Verify { heads } => verify(&foundation, heads.as_deref(), out).await,
        AuditCommand::Export { heads: true } => export_heads(&foundation, out).await,
        AuditCommand::Export { heads: false } => export(&foundation, out).await,
    }
}

async fn list(
    administration: &Administration,
    arguments: &AuditFilterArguments,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let query = AuditQuery {
        correlation_id: arguments.correlation.clone(),
        txn: arguments.txn.clone(),
        jti: arguments.jti.clone(),
        since: arguments.since,
    };
    let mut filter = administration.audit_filter(&query);
    if let (Some(correlation_id), false) = (&arguments.correlation, out.is_json()) {
        return tell(administration, correlation_id, filter, out).await;
    }
    loop {
        let rows = administration.audit(&filter, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(ExitCode::SUCCESS) };
        filter.after_id = Some(last.id);
        for row in &rows {
            show(row, out)?;
        }
    }
}

/// Prints the story of one correlation id, from its first [`STORY`] events. The limit exists
/// because clients choose the id, and may send it with any number of requests.
async fn tell(
    administration: &Administration,
    correlation_id: &str,
    mut filter: AuditFilter,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let mut rows: Vec<StoredAuditRow> = Vec::new();
    while rows.len() <= STORY as usize {
        let page = administration.audit(&filter, STORY + 1).await?;
        let Some(last) = page.last() else { break };
        filter.after_id = Some(last.id);
        rows.extend(page);
    }
    let is_cut = rows.len() > STORY as usize;
    let mut events = Vec::new();
    for row in rows.iter().take(STORY as usize) {
        match event_of(&row.row) {
            Some(event) => events.push(event),
            None => show(row, out)?,
        }
    }
    if rows.is_empty() {
        out.line(&format!("no event has the correlation id {correlation_id}"))?;
        return Ok(ExitCode::FAILURE);
    }
    story::tell(correlation_id, &events, out)?;
    if is_cut {
        out.line(&out.styled(Style::Bad, &format!("these are the first {STORY} decisions; --json lists all")))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(foundation: &Foundation, out: &mut Output) -> Result<ExitCode, CliError> {
    let mut filter = AuditFilter { since: Some(foundation.surroundings.clock.now()), ..AuditFilter::default() };
    loop {
        let rows = foundation.store.audit(&filter, PAGE).await?;
        for row in &rows {
            show(row, out)?;
        }
        match rows.last() {
            Some(last) => filter.after_id = Some(last.id),
            None => tokio::time::sleep(FOLLOW_EVERY).await,
        }
    }
}

async fn verify(foundation: &Foundation, heads: Option<&Path>, out: &mut Output) -> Result<ExitCode, CliError> {
    let heads = heads.map(read_heads).transpose()?.unwrap_or_default();
    let keys = keys::audit_keys(&foundation.master, &foundation.store.audit_keys().await?)?;
    let report = record::verify(&*foundation.store, &keys, &heads).await?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        for fault in &report.faults {
            out.line(&out.styled(Style::Bad, &describe(fault)))?;
        }
        let (rows, chains) = (counted(report.rows, "row"), counted(report.writers, "chain"));
        let summary = format!("{rows} in {chains}, {}", counted(report.faults.len(), "fault"));
        let style = if report.faults.is_empty() { Style::Good } else { Style::Bad };
        out.line(&out.styled(style, &summary))?;
    }
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(fault: &AuditFault) -> String {
    match fault {
        AuditFault::Missing { writer, sequence } => format!("row {sequence} of {writer} is missing: removed or moved"),
        AuditFault::Altered { writer, sequence } => format!("row {sequence} of {writer} was edited, or is not ours"),
        AuditFault::Reordered { writer, sequence } => format!("row {sequence} of {writer} was moved"),
        AuditFault::Cut { writer, last: 0, head } => format!("all of {writer} is gone; it had {head} rows"),
        AuditFault::Cut { writer, last, head } => format!("{writer} ends at row {last}; it had {head} rows"),
        AuditFault::Replaced { writer, sequence } => format!("row {sequence} of {writer} is not the one of the head"),
    }
}

/// A head in the format of `export --heads`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportedHead {
    writer: String,
    writer_sequence: i64,
    mac: String,
}

async fn export_heads(foundation: &Foundation, out: &mut Output) -> Result<ExitCode, CliError> {
    for AuditHead { writer, writer_sequence, mac } in foundation.store.audit_heads().await? {
        out.json(&ExportedHead { writer, writer_sequence, mac: hex(&mac) })?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_heads(path: &Path) -> Result<Vec<AuditHead>, CliError> {
    let head = |(number, line): (usize, &str)| {
        let head = serde_json::from_str::<ExportedHead>(line).ok();
        let head = head.and_then(|ExportedHead { writer, writer_sequence, mac }| {
            Some(AuditHead { writer, writer_sequence, mac: mac_of(&mac)? })
        });
        head.ok_or_else(|| {
            let place = format!("{}:{}", path.display(), number + 1);
            CliError::Argument(format!("{place}: not a line that `sts-server audit export --heads` wrote"))
        })
    };
    let text = read(path)?;
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(head).collect()
}

async fn export(foundation: &Foundation, out: &mut Output) -> Result<ExitCode, CliError> {
    let mut after: Option<(String, i64)> = None;
    loop {
        let place = after.as_ref().map(|(writer, sequence)| (writer.as_str(), *sequence));
        let rows = foundation.store.audit_chain(place, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(ExitCode::SUCCESS) };
        let next = Some((last.row.writer.clone(), last.row.writer_sequence));
        for StoredAuditRow { row, .. } in &rows {
            out.json(&serde_json::json!({
                "writer": row.writer,
                "writer_sequence": row.writer_sequence,
                "body": row.body,
                "mac": hex(&row.mac),
            }))?;
        }
        // The name of a writer may contain bytes that are not text. Reading on from it would then
        // return it again.
        if after == next {
            return Ok(ExitCode::SUCCESS);
        }
        after = next;
    }
}

/// A row that is not a valid event, because it was edited.
#[derive(Debug, Serialize)]
struct MalformedRow<'a> {
    /// The id of the row in the database.
    malformed: i64,
    writer: Cow<'a, str>,
    writer_sequence: i64,
    body: Cow<'a, str>,
}

impl<'a> MalformedRow<'a> {
    fn of(row: &'a StoredAuditRow) -> Self {
        let UncheckedAuditRow { writer, writer_sequence, body, .. } = &row.row;
        Self { malformed: row.id, writer: cut(writer), writer_sequence: *writer_sequence, body: cut(body) }
    }
}

fn show(row: &StoredAuditRow, out: &mut Output) -> Result<(), CliError> {
    match event_of(&row.row) {
        Some(_) if out.is_json() => out.line(&row.row.body),
        Some(event) => audit_line::lines(&event, out).iter().try_for_each(|line| out.line(line)),
        None if out.is_json() => out.json(&MalformedRow::of(row)),
        None => {
            let MalformedRow { malformed, writer, writer_sequence, body } = MalformedRow::of(row);
            let line = format!("malformed: row {malformed}, {writer_sequence} of {writer}: {body}");
            out.line(&out.styled(Style::Bad, &line))
        }
    }
}

fn mac_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.collect::<Option<Vec<u8>>>().filter(|mac| mac.len() == MAC_BYTES)
}
