//! What operators do, each act once: the commands and the admin API call it here.
//!
//! What lives here: the acts on the registry as a file (`registry`) and entry by entry (`entries`), the signing keys (`keys`), the revocations (`revocations`) and the audit
//! log (`audit`), and what an operator may ask of the rules (`explain`); and who may use the admin API (`access`). What must never: flags, requests and answers, which are
//! `cli`'s and `http`'s. Another act is a method of [`Administration`]; if it changes something, it commits its audit event with it.

mod access;
mod audit;
mod bodies;
mod denied;
mod entries;
mod entry_body;
mod explain;
mod keys;
mod known_names;

mod registry;
mod revocations;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use sts_jose::{Clock, Entropy};
use thiserror::Error;

pub use crate::document::FieldFault;
pub use access::{Access, NewToken, Operator};
pub use audit::AuditQuery;
pub use denied::Denied;
pub use entries::{Precondition, Put, PutEntry, SeenEntry};
pub use entry_body::WITHHELD;
pub use explain::ExplainRequest;
pub use keys::{ListedKey, RotateRequest};
pub use known_names::UnknownName;
pub use revocations::{Named, Names, NotRevoked, Reach, RevocationDone, RevokeRequest, StandingRevocation};

use crate::config::Config;
use crate::keys::MasterKey;
use crate::record::{AuditWriter, DETAIL_CHARS, Event, EventKind, cut, cut_detail};
use crate::service::Parts;
use crate::storage::{AuditRow, StorageError, Store};

/// What an operator's acts go by: the database, the keys to it, and the configuration. Clones are the same.
#[derive(Debug, Clone)]
pub struct Administration {
    store: Arc<dyn Store>,
    master: Arc<MasterKey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    config: Arc<Config>,
}

/// Who does it, as the audit event tells it. Empty where nobody but the server itself, or a command, does.
#[derive(Debug, Clone, Default)]
pub struct By {
    /// The admin token's name, or `SUB of ISS`.
    pub admin: Option<String>,
    /// The `X-Correlation-ID` of the request.
    pub correlation_id: Option<String>,
    /// Where the request came from.
    pub source: Option<IpAddr>,
}

/// What an operator asked for makes no sense.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{parameter}: {message}")]
pub struct Wrong {
    /// The parameter, as the admin API names it; a flag has hyphens in place of its underscores.
    pub parameter: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl Administration {
    /// The acts on this database.
    #[must_use]
    pub fn new(parts: Parts, config: &Config) -> Self {
        let Parts { store, master, clock, entropy } = parts;
        Self { store, master, clock, entropy, config: Arc::new(config.clone()) }
    }

    /// The present.
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// One audit row about what an operator did.
    fn audit_row(&self, kind: EventKind, by: &By, describe: impl FnOnce(&mut Event)) -> AuditRow {
        let mut event = self.event(kind, by);
        describe(&mut event);
        AuditWriter::seal_alone(self.master.audit(), &*self.entropy, &event)
    }

    /// The audit rows about many changes made at once: as many events as the lines take, in one chain.
    fn audit_lines(&self, kind: EventKind, by: &By, lines: impl Iterator<Item = String>) -> Vec<AuditRow> {
        let described = |detail| Event { detail: Some(detail), ..self.event(kind, by) };
        let events: Vec<Event> = details(lines).into_iter().map(described).collect();
        AuditWriter::seal_together(self.master.audit(), &*self.entropy, &events)
    }

    fn event(&self, kind: EventKind, by: &By) -> Event {
        let mut event = Event::new(kind, self.now());
        event.correlation_id.clone_from(&by.correlation_id);
        event.source = by.source.map(|source| source.to_string());
        event.admin.clone_from(&by.admin);
        event
    }

    /// Records that a known operator was refused what they `asked` for.
    ///
    /// # Errors
    /// [`StorageError`]; the refusal stands all the same.
    pub async fn refused(&self, reason: &str, detail: &str, asked: &str, by: &By) -> Result<(), StorageError> {
        let row = self.audit_row(EventKind::AdminRefused, by, |event| {
            event.reason = Some(reason.to_owned());
            event.detail = Some(format!("{}: {detail}", cut(asked)));
        });
        self.store.append_audit(&[row]).await
    }

    /// Our issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }
}

/// Lines joined by semicolons, as many a text as `detail` takes.
fn details(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut details: Vec<String> = Vec::new();
    let mut chars = 0_usize;
    for line in lines {
        let line = cut_detail(line);
        let more = line.chars().count().saturating_add(2);
        match details.last_mut().filter(|_| chars.saturating_add(more) <= DETAIL_CHARS) {
            Some(detail) => {
                detail.push_str("; ");
                detail.push_str(&line);
                chars = chars.saturating_add(more);
            }
            None => {
                details.push(line);
                chars = more;
            }
        }
    }
    details
}

impl Wrong {
    fn new(parameter: &'static str, message: impl Into<String>) -> Self {
        Self { parameter, message: message.into() }
    }
}
