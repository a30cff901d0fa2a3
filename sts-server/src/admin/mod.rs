//! The operations of operators, each implemented once for the commands and the admin API.
//!
//! What lives here: the operations on the registry file (`registry`), its entries (`entries`), the
//! signing keys (`keys`), the revocations (`revocations`), the approvals (`approvals`) and the audit
//! log (`audit`). Also here
//! are the explanation of the rules (`explain`) and the authentication of operators (`access`).
//! What must never: flags, requests and responses, which belong to `cli` and `http`. Another
//! operation is a method of [`Administration`]; if it changes data, it commits its audit event with
//! the change.

mod access;
mod approvals;
mod audit;
mod bodies;
mod denied;
mod entries;
mod entry_body;
mod explain;
mod keys;
mod known_names;
mod reach;
mod registry;
mod revocations;
mod session;
mod sign_in;
mod uses;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use sts_jose::{Clock, Entropy};
use thiserror::Error;

pub use crate::document::FieldFault;
pub use access::{Access, AccessError, NewToken, Operator};
pub use approvals::ApprovalDecision;
pub use audit::{AuditOutcome, AuditQuery, AuditTime};
pub use denied::{Denied, REVOKE_ANYWAY};
pub use entries::{Precondition, Put, PutEntry, SeenEntry};
pub use entry_body::WITHHELD;
pub use explain::ExplainRequest;
pub use keys::{ListedKey, RotateRequest};
pub use known_names::UnknownName;
pub use reach::Reached;
pub use registry::{ExportedEntry, ExportedRegistry};
pub use revocations::{Named, Names, NotRevoked, Reach, RevocationDone, RevokeRequest, StandingRevocation};
pub use session::Session;
pub use sign_in::{CALLBACK, PendingSignIn, Returned, SignIn, SignInError};
pub use uses::{LastUse, Unused, UnusedEntry, Uses};

use crate::config::Config;
use crate::environment;
use crate::keys::MasterKey;
use crate::record::{AuditWriter, DETAIL_CHARS, Event, EventKind, cut, cut_detail};
use crate::service::Parts;
use crate::storage::{AuditRow, StorageError, Store};

/// The operations that only read a database. They need no master key. Clones share the database.
#[derive(Debug, Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
}

/// The operations of operators on one database, with its keys and configuration. Clones share the
/// database.
#[derive(Debug, Clone)]
pub struct Administration {
    records: Records,
    master: Arc<MasterKey>,
    entropy: Arc<dyn Entropy>,
}

/// The party recorded in the audit event. Empty for the server itself.
#[derive(Debug, Clone, Default)]
pub struct By {
    /// The name of the admin token, or `SUB of ISS`.
    pub admin: Option<String>,
    /// The operating-system user and host of the command: `USER@HOST`.
    pub run_by: Option<String>,
    /// The `X-Correlation-ID` of the request.
    pub correlation_id: Option<String>,
    /// The address that sent the request.
    pub source: Option<IpAddr>,
}

/// A parameter of an operator's request is invalid.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{parameter}: {message}")]
pub struct Wrong {
    /// The parameter, as the admin API names it. A flag has hyphens in place of its underscores.
    pub parameter: &'static str,
    /// The fault of the parameter.
    pub message: String,
}

impl By {
    /// Returns the user who runs this process.
    #[must_use]
    pub fn this_user() -> Self {
        Self { run_by: Some(environment::user_and_host()), ..Self::default() }
    }
}

impl Administration {
    /// Creates the operations on a database.
    #[must_use]
    pub fn new(parts: Parts, config: &Config) -> Self {
        let Parts { store, master, clock, entropy } = parts;
        Self { records: Records::new(store, clock, config), master, entropy }
    }

    /// Returns one sealed audit row about an operation.
    fn audit_row(&self, kind: EventKind, by: &By, describe: impl FnOnce(&mut Event)) -> AuditRow {
        let mut event = self.event(kind, by);
        describe(&mut event);
        AuditWriter::seal_alone(self.master.audit(), &*self.entropy, &event)
    }

    /// Returns the sealed audit rows about many changes made at once: as few events as the lines
    /// need, in one chain.
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
        event.run_by.clone_from(&by.run_by);
        event
    }

    /// Records that a known operator was refused the request `asked`.
    ///
    /// # Errors
    /// [`StorageError`]; the refusal is answered anyway.
    pub async fn refused(&self, reason: &str, detail: &str, asked: &str, by: &By) -> Result<(), StorageError> {
        let row = self.audit_row(EventKind::AdminRefused, by, |event| {
            event.reason = Some(reason.to_owned());
            event.detail = Some(format!("{}: {detail}", cut(asked)));
        });
        self.store.append_audit(&[row]).await
    }
}

impl Deref for Administration {
    type Target = Records;

    fn deref(&self) -> &Records {
        &self.records
    }
}

impl Records {
    /// Creates the operations on a database.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: &Config) -> Self {
        Self { store, clock, config: Arc::new(config.clone()) }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the host of `admin.url`.
    #[must_use]
    pub fn admin_host(&self) -> Option<&str> {
        self.config.admin.url.as_ref()?.host_str()
    }

    /// Returns our issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }
}

/// Joins lines with semicolons. Each returned text fits into `detail`.
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
