//! The decisions of the running server, as they are made, and the registry file, as it is saved.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sts_jose::error_chain;
use tokio::sync::mpsc::Receiver;

use super::super::CliError;

use super::super::output::{Output, Style, Styled, read};
use crate::admin::{Administration, By};
use crate::record::{Event, event_of};
use crate::registry::{ApplyError, RegistryFile};
use crate::server::Foundation;
use crate::storage::{AuditFilter, StorageError, Store};
use crate::telemetry::LoggedRefusal;

/// The interval at which the audit log and the registry file are read.
const EVERY: Duration = Duration::from_millis(250);
/// The number of rows that are read at once.
const PAGE: u32 = 1000;

/// The events of the audit log from a moment on.
pub(super) struct Decisions {
    store: Arc<dyn Store>,
    filter: AuditFilter,
}

/// The registry file, its text when it was last applied, and its text when it was last read.
pub(super) struct WatchedRegistry {
    path: PathBuf,
    applied: Option<String>,
    seen: Option<String>,
    administration: Administration,
}

impl Decisions {
    /// Starts with the events from now on.
    pub(super) fn of(foundation: &Foundation) -> Self {
        let since = Some(foundation.surroundings.clock.now());
        Self { store: Arc::clone(&foundation.store), filter: AuditFilter { since, ..AuditFilter::default() } }
    }

    /// Returns the events since the last call.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>, StorageError> {
        let rows = self.store.audit(&self.filter, PAGE).await?.rows;
        if let Some(last) = rows.last() {
            self.filter.after_id = Some(last.id);
        }
        Ok(rows.iter().filter_map(|row| event_of(&row.row)).collect())
    }
}

impl WatchedRegistry {
    pub(super) fn new(path: PathBuf, administration: Administration) -> Self {
        Self { path, applied: None, seen: None, administration }
    }

    /// Applies the file if its text has changed and was the same at the last two reads. An editor
    /// may empty a file before it writes it.
    pub(super) async fn follow(&mut self, out: &mut Output) -> Result<(), CliError> {
        let text = read(&self.path).ok();
        let is_settled = text == self.seen;
        self.seen.clone_from(&text);
        match text.filter(|text| is_settled && self.applied.as_ref() != Some(text)) {
            Some(text) => self.apply(text, out).await,
            None => Ok(()),
        }
    }

    /// Applies the file at the start.
    pub(super) async fn begin(&mut self, out: &mut Output) -> Result<(), CliError> {
        let text = read(&self.path)?;
        self.seen = Some(text.clone());
        self.apply(text, out).await
    }

    /// Applies a text of the file. Prints its faults; the former registry then stays in force.
    async fn apply(&mut self, text: String, out: &mut Output) -> Result<(), CliError> {
        let file = RegistryFile::parse(&self.path, &text);
        self.applied = Some(text);
        let reason = match self.administration.apply(&file, &By::default()).await {
            Ok(plan) => return out.faults(&plan.warnings),
            Err(ApplyError::Faults(faults)) => {
                out.faults(&faults)?;
                "it has faults".to_owned()
            }
            Err(error) => error_chain(&error),
        };
        let path = self.path.display();
        out.line(&out.styled(Style::Bad, &format!("{path} is not applied, the former registry stays: {reason}")))
    }
}

/// Prints decisions and applies the registry file, without end. The refusals come from the log,
/// because a request whose agent did not authenticate leaves no event.
pub(super) async fn show(
    mut decisions: Decisions,
    mut refusals: Receiver<LoggedRefusal>,
    mut registry: WatchedRegistry,
    out: &mut Output,
) -> Result<(), CliError> {
    // Those of the demonstration are printed.
    while !decisions.next().await?.is_empty() {}
    while refusals.try_recv().is_ok() {}
    loop {
        registry.follow(out).await?;
        for event in decisions.next().await?.iter().filter(|event| event.reason.is_none()) {
            out.line(&line(event, out))?;
        }
        while let Ok(refusal) = refusals.try_recv() {
            out.line(&refused(&refusal, out))?;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Returns an event on one line.
fn line(event: &Event, out: &Output) -> Styled {
    let at = event.at.strftime("%H:%M:%S").to_string();
    let parts = [
        event.object(),
        event.sub.as_ref().filter(|_| event.target.is_some()).map(|sub| format!("for {sub}")),
        event.scope.as_ref().map(|scope| format!("scope {scope}")),
        event.detail.clone(),
        event.correlation_id.as_ref().map(|id| format!("[{id}]")),
    ];
    let text = parts.into_iter().flatten().map(|part| format!("  {part}")).collect::<String>();
    let kind = format!("  {:<8}", event.event.word());
    out.joined(&[(Style::Quiet, &at), (Style::Good, &kind), (Style::Plain, &text)])
}

/// Returns a refusal on one line.
fn refused(refusal: &LoggedRefusal, out: &Output) -> Styled {
    let LoggedRefusal { time, claimed_client_id, reason, detail, correlation_id } = refusal;
    let agent = claimed_client_id.as_deref().unwrap_or("no agent");
    let text = format!("  {agent}  {reason}: {detail}  [{correlation_id}]");
    out.joined(&[(Style::Quiet, time), (Style::Bad, &format!("  {:<8}", "refused")), (Style::Plain, &text)])
}
