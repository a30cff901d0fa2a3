//! `audit`: lists, follows, verifies, archives and exports the audit log.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::arguments::Options;
use super::audit_arguments::{AuditCommand, AuditFilterArguments, AuditListArguments};
use super::backend::{ListedRow, OpenDatabase, ReadBackend, RowContent};
use super::output::{Output, Style, counted, read};
use super::serve::until_told;
use super::{CliError, audit_line, story};
use crate::admin::{Administration, AuditQuery, AuditTime, By};
use crate::keys;
use crate::record::{self, AuditFault, AuditReport, ExportedHead};
use crate::server::{Foundation, Surroundings};
use crate::storage::{AuditHead, AuditOrder};
use crate::ttl::Ttl;

/// The maximum number of events in a list for people and in a story, unless a limit is given.
const LISTED: u32 = 100;
const STORY: u32 = 1000;
/// The polling interval of `follow`.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(
    options: &Options,
    command: &AuditCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    match command {
        AuditCommand::List(arguments) => {
            let now = surroundings.clock.now();
            list(&ReadBackend::of(options, surroundings, out).await?, arguments, now, out).await
        }
        AuditCommand::Follow { after, filter } => {
            let backend = ReadBackend::of(options, surroundings, out).await?;
            tokio::select! {
                followed = follow(&backend, *after, filter, out) => followed,
                told = until_told() => told.map(|()| ExitCode::SUCCESS),
            }
        }
        AuditCommand::Verify { heads, archive: None } => {
            let database = OpenDatabase::of(options, surroundings, out).await?;
            verify(&database.foundation, heads.as_deref(), out).await
        }
        AuditCommand::Verify { archive: Some(file), .. } => {
            let database = OpenDatabase::of(options, surroundings, out).await?;
            verify_archive(&database.administration, file, out).await
        }
        AuditCommand::Archive { file, older_than } => {
            archive(&OpenDatabase::of(options, surroundings, out).await?, file, *older_than, out).await
        }
        AuditCommand::Acknowledge { row, why, heads } => {
            let database = OpenDatabase::of(options, surroundings, out).await?;
            acknowledge(&database.administration, row, why, heads.as_deref(), out).await
        }
        AuditCommand::Export { heads } => {
            let backend = ReadBackend::of(options, surroundings, out).await?;
            if *heads { export_heads(&backend, out).await } else { export(&backend, out).await }
        }
    }
}

async fn list(
    backend: &ReadBackend,
    AuditListArguments { filter, since, until, limit }: &AuditListArguments,
    now: Timestamp,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let fixed = |time: &Option<AuditTime>| time.map(|time| time.fixed(now));
    let query = AuditQuery { since: fixed(since), until: fixed(until), ..query(filter) };
    if let (Some(correlation_id), false) = (&filter.correlation, out.is_json()) {
        return tell(backend, correlation_id, &query, limit.unwrap_or(STORY), out).await;
    }
    let limit = limit.unwrap_or(if out.is_json() { u32::MAX } else { LISTED });
    let (mut left, mut after) = (limit, None);
    let mut is_missing = query.correlation_id.is_some();
    loop {
        let page = backend.audit(&query, AuditOrder::NewestFirst, after, left).await?;
        for row in &page.rows {
            show(row, out)?;
        }
        is_missing &= page.rows.is_empty();
        left = left.saturating_sub(u32::try_from(page.rows.len()).unwrap_or(u32::MAX));
        after = page.next;
        match page.next {
            Some(_) if left > 0 => {}
            Some(_) if !out.is_json() => {
                let hint = format!("these are the latest {limit} events; --limit shows more");
                out.line(&out.styled(Style::Bad, &hint))?;
                return Ok(ExitCode::SUCCESS);
            }
            None if is_missing => return Ok(ExitCode::FAILURE),
            Some(_) | None => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn query(arguments: &AuditFilterArguments) -> AuditQuery {
    AuditQuery {
        sub: arguments.sub.clone(),
        agent: arguments.agent.clone(),
        tenant: arguments.tenant.clone(),
        target: arguments.target.clone(),
        outcome: arguments.outcome,
        correlation_id: arguments.correlation.clone(),
        txn: arguments.txn.clone(),
        jti: arguments.jti.clone(),
        since: None,
        until: None,
    }
}

/// Prints the story of one correlation id, from its first `limit` events. The limit exists because
/// clients choose the id, and may send it with any number of requests.
async fn tell(
    backend: &ReadBackend,
    correlation_id: &str,
    query: &AuditQuery,
    limit: u32,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let limit = limit as usize;
    let (mut rows, mut after) = (Vec::<ListedRow>::new(), None);
    while rows.len() <= limit {
        let page = backend.audit(query, AuditOrder::OldestFirst, after, u32::MAX).await?;
        rows.extend(page.rows);
        after = page.next;
        if page.next.is_none() {
            break;
        }
    }
    let (is_cut, is_empty) = (rows.len() > limit, rows.is_empty());
    let mut events = Vec::new();
    for row in rows.into_iter().take(limit) {
        match row.content {
            RowContent::Event(event, _) => events.push(*event),
            RowContent::Malformed { .. } => show(&row, out)?,
        }
    }
    if is_empty {
        out.line(&format!(
            "no event has the correlation id {correlation_id}: a request whose agent did not authenticate leaves no \
             event, only a line in the service's log"
        ))?;
        return Ok(ExitCode::FAILURE);
    }
    story::tell(correlation_id, &events, out)?;
    if is_cut {
        out.line(&out.styled(Style::Bad, &format!("these are the first {limit} events; --limit shows more")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints events in the order of their commits, without end. During an outage of the database it
/// tries again, and continues after the last event that it printed.
async fn follow(
    backend: &ReadBackend,
    after: Option<i64>,
    arguments: &AuditFilterArguments,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let query = query(arguments);
    let mut after = match after {
        Some(after) => after,
        None => retried(async || latest(backend).await).await?,
    };
    loop {
        let page =
            retried(async || backend.audit(&query, AuditOrder::OldestFirst, Some(after), u32::MAX).await).await?;
        for row in &page.rows {
            show_with_cursor(row, out)?;
        }
        let last = page.rows.last().map(|row| row.id);
        after = page.next.or(last).unwrap_or(after);
        if page.next.is_none() {
            tokio::time::sleep(FOLLOW_EVERY).await;
            after = retried(async || within(backend, after).await).await?;
        }
    }
}

/// Returns this cursor, or that of the latest event if the log ends before the cursor.
async fn within(backend: &ReadBackend, cursor: i64) -> Result<i64, CliError> {
    let latest = latest(backend).await?;
    if cursor <= latest {
        return Ok(cursor);
    }
    tracing::warn!(
        cursor,
        latest,
        "the log ends before the cursor: the database was restored or lost events; continuing after the latest event"
    );
    Ok(latest)
}

/// Returns the cursor of the latest event, 0 for an empty log.
async fn latest(backend: &ReadBackend) -> Result<i64, CliError> {
    let newest = backend.audit(&AuditQuery::default(), AuditOrder::NewestFirst, None, 1).await?;
    Ok(newest.rows.first().map_or(0, |row| row.id))
}

/// Repeats a read until the database or the server answers it. Logs the first failure in a row.
async fn retried<T>(read: impl AsyncFn() -> Result<T, CliError>) -> Result<T, CliError> {
    let mut is_logged = false;
    loop {
        match read().await {
            Err(error) if error.is_outage() => {
                if !is_logged {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the audit log is unreachable: retrying until it answers");
                }
                is_logged = true;
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
            answer => return answer,
        }
    }
}

async fn verify(foundation: &Foundation, heads: Option<&Path>, out: &mut Output) -> Result<ExitCode, CliError> {
    let heads = heads.map(read_heads).transpose()?.unwrap_or_default();
    let keys = keys::audit_keys(&foundation.master, &foundation.store.audit_keys().await?)?;
    let report = record::verify(&*foundation.store, &keys, &heads).await?;
    show_report(&report, out)
}

fn show_report(report: &AuditReport, out: &mut Output) -> Result<ExitCode, CliError> {
    if out.is_json() {
        out.json(report)?;
    } else {
        for fault in &report.faults {
            out.line(&out.styled(Style::Bad, &describe(fault)))?;
        }
        let (rows, chains) = (counted(report.rows, "row"), counted(report.writers, "chain"));
        let mut summary = format!("{rows} in {chains}, {}", counted(report.faults.len(), "fault"));
        if !report.acknowledged.is_empty() {
            summary.push_str(&format!(", {} acknowledged", report.acknowledged.len()));
        }
        let style = if report.faults.is_empty() { Style::Good } else { Style::Bad };
        out.line(&out.styled(style, &summary))?;
    }
    Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the archive, then verifies the written file.
async fn archive(
    OpenDatabase { foundation, administration, .. }: &OpenDatabase,
    path: &Path,
    older_than: Option<Ttl>,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let keys = administration.chain_keys().await?;
    let now = foundation.surroundings.clock.now();
    let before =
        older_than.map(|span| now.checked_sub(SignedDuration::from_secs(span.as_seconds())).unwrap_or(Timestamp::MIN));
    let mut file = BufWriter::new(keys::create_private(path).map_err(|source| file_error(path, source))?);
    record::archive(&*foundation.store, &keys, administration.issuer(), (now, before), &mut file).await?;
    let file = file.into_inner().map_err(|error| file_error(path, error.into_error()))?;
    file.sync_all().map_err(|source| file_error(path, source))?;
    verify_archive(administration, path, out).await
}

async fn verify_archive(administration: &Administration, path: &Path, out: &mut Output) -> Result<ExitCode, CliError> {
    let keys = administration.chain_keys().await?;
    let file = File::open(path).map_err(|source| file_error(path, source))?;
    show_report(&record::verify_archive(&keys, &mut BufReader::new(file))?, out)
}

fn file_error(path: &Path, source: std::io::Error) -> CliError {
    CliError::File { path: path.to_owned(), source }
}

async fn acknowledge(
    administration: &Administration,
    row: &str,
    why: &str,
    heads: Option<&Path>,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let wrong = || CliError::Argument("the row must be WRITER:SEQUENCE, as `audit verify` names it".to_owned());
    let (writer, sequence) = row.rsplit_once(':').ok_or_else(wrong)?;
    let place = (writer, sequence.parse().ok().ok_or_else(wrong)?);
    if why.trim().is_empty() {
        return Err(CliError::Argument("--why must not be empty".to_owned()));
    }
    let heads = heads.map(read_heads).transpose()?.unwrap_or_default();
    let Some(fault) = administration.acknowledge_audit(place, &heads, why, &By::this_user()).await? else {
        return Err(CliError::Argument(format!("the row {row} has no fault that is not acknowledged")));
    };
    if out.is_json() {
        out.json(&fault)?;
    } else {
        out.line(&format!("acknowledged: {}", describe(&fault)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Describes a fault. The row is named as `audit acknowledge` takes it.
fn describe(fault: &AuditFault) -> String {
    let (writer, sequence) = fault.row();
    let row = format!("row {sequence} of {writer}");
    let what = match fault {
        AuditFault::Missing { .. } => format!("{row} is missing: removed or moved"),
        AuditFault::Altered { .. } => format!("{row} was edited, or is not ours"),
        AuditFault::Reordered { .. } => format!("{row} was moved"),
        AuditFault::Cut { last: 0, head, .. } => format!("all rows of {writer} are missing; it had {head} rows"),
        AuditFault::Cut { last, head, .. } => format!("{writer} ends at row {last}; it had {head} rows"),
        AuditFault::Replaced { .. } => format!("{row} is not the one of the head"),
    };
    format!("{what} ({writer}:{sequence})")
}

async fn export_heads(backend: &ReadBackend, out: &mut Output) -> Result<ExitCode, CliError> {
    for head in backend.audit_heads().await? {
        out.json(&head)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_heads(path: &Path) -> Result<Vec<AuditHead>, CliError> {
    let head = |(number, line): (usize, &str)| {
        let head = serde_json::from_str(line).ok().and_then(ExportedHead::head);
        head.ok_or_else(|| {
            let place = format!("{}:{}", path.display(), number + 1);
            CliError::Argument(format!("{place}: not a line that `sts-server audit export --heads` wrote"))
        })
    };
    let text = read(path)?;
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(head).collect()
}

async fn export(backend: &ReadBackend, out: &mut Output) -> Result<ExitCode, CliError> {
    let mut after = None;
    loop {
        let (rows, next) = backend.audit_rows(after.as_ref()).await?;
        for row in &rows {
            out.json(row)?;
        }
        if rows.is_empty() || next.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
        after = next;
    }
}

/// A row that is not a valid event, as JSON.
#[derive(Debug, Serialize)]
struct MalformedRow<'a> {
    /// The id of the row in the database.
    malformed: i64,
    writer: &'a str,
    writer_sequence: i64,
    body: &'a str,
}

fn show(row: &ListedRow, out: &mut Output) -> Result<(), CliError> {
    match &row.content {
        RowContent::Event(_, json) if out.is_json() => out.line(json),
        RowContent::Event(event, _) => audit_line::lines(event, out).iter().try_for_each(|line| out.line(line)),
        RowContent::Malformed { writer, writer_sequence, body } => {
            let (malformed, writer_sequence) = (row.id, *writer_sequence);
            if out.is_json() {
                return out.json(&MalformedRow { malformed, writer, writer_sequence, body });
            }
            let line = format!("malformed: row {malformed}, {writer_sequence} of {writer}: {body}");
            out.line(&out.styled(Style::Bad, &line))
        }
    }
}

/// Shows a row, followed by the cursor that continues after it.
fn show_with_cursor(row: &ListedRow, out: &mut Output) -> Result<(), CliError> {
    match &row.content {
        RowContent::Event(_, json) if out.is_json() => {
            let rest = json.strip_prefix('{').unwrap_or_default();
            out.line(&format!("{{\"cursor\":{},{rest}", row.id))
        }
        RowContent::Event(..) => {
            show(row, out)?;
            out.line(&out.styled(Style::Quiet, &format!("cursor {}", row.id)))
        }
        RowContent::Malformed { .. } => show(row, out),
    }
}
