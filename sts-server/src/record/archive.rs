//! Archives of the audit log: files that verify by themselves.
//!
//! An archive is a file of JSON lines. The first line names the format. A line `chain` says after
//! which row a chain continues that was cut before. A line for each row follows, in the order of the
//! ids, with its search columns where they contradict its event. A line `acknowledged` names a fault
//! that an operator had explained. The last line has the number of rows, and a code over all lines before it.

use std::collections::HashSet;
use std::io::{BufRead, Write};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_jose::{hex, unhex};
use thiserror::Error;

use super::chain_check::{ChainChecks, Finding};
use super::retention::is_recent;
use super::verify::{acknowledged, checkpoints};
use super::{AuditReport, Event};
use crate::storage::{AuditFilter, MAC_BYTES, StorageError, Store, StoredAuditRow, UncheckedAuditRow};

const FORMAT: &str = "agent-sts audit archive 1";
const DOMAIN: &[u8] = b"agent-sts audit archive 1";
/// The number of rows that are read at once.
const PAGE: u32 = 1000;
/// The longest line of an archive, in bytes.
const LINE_BYTES: u64 = 16 * 1024 * 1024;

/// An archive cannot be written or read.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The database failed.
    #[error("the audit log cannot be read")]
    Storage(#[from] StorageError),
    /// The file cannot be written or read.
    #[error("the archive cannot be written or read")]
    File(#[from] std::io::Error),
    /// A line is no line of an archive.
    #[error("line {line} is no line of an archive")]
    Line {
        /// The number of the line, from 1.
        line: u64,
        /// The cause.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The last line is missing, or its code is wrong.
    #[error("the archive was cut off or edited, or another master key wrote it")]
    Seal,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ArchiveLine {
    Archive {
        format: String,
        issuer: String,
        made_at: Timestamp,
    },
    Chain {
        writer: String,
        writer_sequence: i64,
        mac: String,
    },
    Row {
        id: i64,
        writer: String,
        writer_sequence: i64,
        body: String,
        mac: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        columns: Option<SearchColumns>,
    },
    Acknowledged {
        evidence: String,
    },
    End {
        rows: u64,
        seal: String,
    },
}

/// The columns of a row that the code does not cover. Rows of this version have the time alone; those of
/// earlier versions repeat their event. Other columns were edited.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchColumns {
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

impl SearchColumns {
    /// Returns the columns that repeat an event, for a row whose columns the archive leaves out.
    fn of(body: &str) -> Self {
        let event: Option<Event> = serde_json::from_str(body).ok();
        event.map_or_else(Self::default, |event| Self {
            at: event.at.as_millisecond(),
            correlation_id: event.correlation_id,
            txn: event.txn,
            jti: event.jti,
        })
    }
}

/// Writes the rows at the beginning of the log whose events are older than `before`, as
/// [`shorten`](super::shorten) removes them, or all rows. Returns the number of rows.
///
/// # Errors
/// [`ArchiveError`]; the file is then incomplete.
pub async fn archive(
    store: &dyn Store,
    keys: &[hmac::Key],
    issuer: &str,
    (now, before): (Timestamp, Option<Timestamp>),
    file: &mut (dyn Write + Send),
) -> Result<u64, ArchiveError> {
    let Some(key) = keys.first() else { return Err(ArchiveError::Seal) };
    let mut chains = ChainChecks::after(keys, &checkpoints(store).await?);
    let mut file = ArchiveFile { file, code: sealing(key), rows: 0, begun: HashSet::new() };
    file.line(&ArchiveLine::Archive { format: FORMAT.to_owned(), issuer: issuer.to_owned(), made_at: now })?;
    let mut filter = AuditFilter::default();
    let mut known: Option<HashSet<String>> = None;
    loop {
        let page = store.audit(&filter, PAGE).await?;
        for stored in page.rows {
            let cut = chains.end(&stored.row.writer);
            let finding = chains.row(&stored);
            if before.is_some_and(|before| is_recent(&stored, finding.as_ref(), before)) {
                return file.end();
            }
            file.row(stored, cut)?;
            if let Some(Finding { evidence, .. }) = finding {
                let known = match &known {
                    Some(known) => known,
                    None => known.insert(acknowledged(store, keys).await?),
                };
                if known.contains(&evidence) {
                    file.line(&ArchiveLine::Acknowledged { evidence })?;
                }
            }
        }
        filter.after_id = page.next;
        if page.next.is_none() {
            return file.end();
        }
    }
}

struct ArchiveFile<'a> {
    file: &'a mut (dyn Write + Send),
    code: hmac::Context,
    rows: u64,
    /// The chains of the rows.
    begun: HashSet<String>,
}

impl ArchiveFile<'_> {
    /// Writes a row. The first row of a chain follows the place after which the chain was cut.
    fn row(
        &mut self,
        StoredAuditRow { id, row }: StoredAuditRow,
        cut: Option<(i64, [u8; MAC_BYTES])>,
    ) -> Result<(), ArchiveError> {
        let UncheckedAuditRow { writer, writer_sequence, at, correlation_id, txn, jti, body, mac } = row;
        let columns = SearchColumns { at, correlation_id, txn, jti };
        let columns = Some(columns).filter(|columns| *columns != SearchColumns::of(&body));
        if self.begun.insert(writer.clone())
            && let Some((writer_sequence, mac)) = cut
        {
            self.line(&ArchiveLine::Chain { writer: writer.clone(), writer_sequence, mac: hex(&mac) })?;
        }
        self.line(&ArchiveLine::Row { id, writer, writer_sequence, body, mac: hex(&mac), columns })?;
        self.rows += 1;
        Ok(())
    }

    fn line(&mut self, line: &ArchiveLine) -> Result<(), ArchiveError> {
        let mut text = serde_json::to_vec(line).map_err(std::io::Error::from)?;
        text.push(b'\n');
        self.code.update(&text);
        Ok(self.file.write_all(&text)?)
    }

    fn end(mut self) -> Result<u64, ArchiveError> {
        let rows = self.rows;
        let seal = hex(self.code.clone().sign().as_ref());
        self.line(&ArchiveLine::End { rows, seal })?;
        self.file.flush()?;
        Ok(rows)
    }
}

/// Verifies an archive: the code over the file, and every chain. An archive may end within a chain.
///
/// # Errors
/// [`ArchiveError`] if the file is no whole archive.
pub fn verify_archive(keys: &[hmac::Key], file: &mut dyn BufRead) -> Result<AuditReport, ArchiveError> {
    let mut codes: Vec<hmac::Context> = keys.iter().map(sealing).collect();
    let mut chains = ChainChecks::after(keys, &[]);
    let (mut findings, mut known, mut rows) = (Vec::new(), HashSet::new(), 0_u64);
    let mut number = 0_u64;
    loop {
        let mut text = Vec::new();
        std::io::Read::take(&mut *file, LINE_BYTES).read_until(b'\n', &mut text)?;
        number += 1;
        if text.is_empty() {
            return Err(ArchiveError::Seal);
        }
        let malformed = |source| ArchiveError::Line { line: number, source };
        let line: ArchiveLine = serde_json::from_slice(&text).map_err(|error| malformed(Some(error)))?;
        match line {
            ArchiveLine::Archive { format, .. } if number == 1 && format == FORMAT => {}
            ArchiveLine::Chain { writer, writer_sequence, mac } if number > 1 => {
                let mac = unhex(&mac).and_then(|mac| mac.try_into().ok()).ok_or_else(|| malformed(None))?;
                chains.begin(writer, (writer_sequence, mac));
            }
            ArchiveLine::Row { id, writer, writer_sequence, body, mac, columns } if number > 1 => {
                let mac = unhex(&mac).ok_or_else(|| malformed(None))?;
                let SearchColumns { at, correlation_id, txn, jti } =
                    columns.unwrap_or_else(|| SearchColumns::of(&body));
                let row = UncheckedAuditRow { writer, writer_sequence, at, correlation_id, txn, jti, body, mac };
                findings.extend(chains.row(&StoredAuditRow { id, row }));
                rows += 1;
            }
            ArchiveLine::Acknowledged { evidence } if number > 1 => {
                known.insert(evidence);
            }
            ArchiveLine::End { rows: written, seal } if number > 1 => {
                let seal = unhex(&seal).unwrap_or_default();
                let is_sealed = codes.drain(..).any(|code| code.sign().as_ref() == seal);
                let mut rest = [0_u8; 1];
                let is_end = std::io::Read::read(&mut *file, &mut rest)? == 0;
                if !is_sealed || !is_end || written != rows {
                    return Err(ArchiveError::Seal);
                }
                return Ok(report(chains.count(), rows, findings, &known));
            }
            ArchiveLine::Archive { .. }
            | ArchiveLine::Chain { .. }
            | ArchiveLine::Row { .. }
            | ArchiveLine::Acknowledged { .. }
            | ArchiveLine::End { .. } => {
                return Err(malformed(None));
            }
        }
        codes.iter_mut().for_each(|code| code.update(&text));
    }
}

fn report(writers: usize, rows: u64, findings: Vec<Finding>, known: &HashSet<String>) -> AuditReport {
    let (acknowledged, unknown): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| known.contains(&finding.evidence));
    let acknowledged = acknowledged.into_iter().map(|finding| finding.fault).collect();
    let (faults, evidence) = unknown.into_iter().map(|finding| (finding.fault, finding.evidence)).unzip();
    AuditReport { writers, rows, faults, acknowledged, evidence }
}

fn sealing(key: &hmac::Key) -> hmac::Context {
    let mut context = hmac::Context::with_key(key);
    context.update(DOMAIN);
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_whole_archive_is_an_error() {
        let keys = [hmac::Key::new(hmac::HMAC_SHA256, &[1; 32])];
        let head = format!(r#"{{"archive":{{"format":"{FORMAT}","issuer":"i","made_at":"2026-01-01T00:00:00Z"}}}}"#);
        let end = format!(r#"{{"end":{{"rows":0,"seal":"{}"}}}}"#, hex(&[0; MAC_BYTES]));
        for text in ["", "{}\n", &end, &format!("{head}\n"), &format!("{head}\n{head}\n"), &format!("{head}\n{end}\n")]
        {
            assert!(verify_archive(&keys, &mut text.as_bytes()).is_err(), "{text}");
        }
    }
}
