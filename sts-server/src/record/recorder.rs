//! The recorder: collects waiting decisions, commits them as a single transaction, and only then
//! releases the responses.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use sts_jose::Entropy;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::{AuditWriter, Event, Revocations, SingleUse, SingleUseKind, Standing};
use crate::error_kind::ErrorKind;
use crate::storage::{
    AuditRow, Fresh, FreshState, OneTimeValue, RecordRows, RevocationKind, StorageError, Store, TokenRow, Version,
    Versions,
};
use crate::telemetry::{Metrics, Stopwatch};

/// The maximum number of decisions in a transaction.
const BATCH: usize = 256;
/// The maximum number of waiting decisions. Requests beyond it are rejected at once.
const QUEUE: usize = 4096;

/// A decision to commit.
#[derive(Debug)]
pub struct Submission {
    /// The versions of the snapshot that the decision was made under.
    pub known: Versions,
    /// The values that must all be unspent still.
    pub single_use: Vec<SingleUse>,
    /// The credentials of the request, none of which may be revoked at the commit. Empty if no
    /// token is issued.
    pub standings: Vec<Standing>,
    /// The token; `None` for a refusal.
    pub token: Option<TokenRow>,
    /// The event; `None` if the submission only spends a value.
    pub event: Option<Event>,
}

/// The finding of the transaction. In every case the transaction has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The decision was recorded as submitted.
    Committed,
    /// A value was already spent. A refusal was recorded instead.
    Replayed(SingleUseKind),
    /// A credential of the chain was revoked meanwhile. A refusal was recorded instead.
    Revoked(RevocationKind),
    /// The decision is out of date: decide again.
    ///
    /// The registry or the keys changed, or a possible ancestor of the token was revoked. The
    /// transaction recorded neither token nor event, but it spent the one-time value.
    Outdated,
}

/// A decision that is not known to be committed. The same request may succeed later.
#[derive(Debug, Clone, Error)]
pub enum RecordError {
    /// Too many decisions wait for the database, or this decision waited too long.
    #[error("too many decisions are waiting for the database")]
    Overloaded,
    /// The database failed, or its answer was lost.
    #[error("the decision could not be committed")]
    Storage(#[source] Arc<StorageError>),
    /// The task of the recorder has ended.
    #[error("the recorder has stopped")]
    Ended,
}

impl RecordError {
    /// Returns the kind of error. After an outage a client may fall back to a weaker credential, but
    /// load must not permit that.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Overloaded => ErrorKind::TooMany,
            Self::Storage(_) | Self::Ended => ErrorKind::Unavailable,
        }
    }

    /// The stable name, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Storage(_) | Self::Ended => "not_recorded",
        }
    }
}

/// The entry point that commits decisions. Clones share a queue and an audit chain.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    submission: Submission,
    answer: oneshot::Sender<Result<Verdict, RecordError>>,
    waiting: Stopwatch,
}

impl Recorder {
    /// Starts the writer's task. It ends when the last clone is dropped and the queue is empty.
    #[must_use]
    pub fn start(writer: Writer) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(jobs));
        Self { queue }
    }

    /// Waits until the writer's task has ended and no decision can be committed any more.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }

    /// Returns the number of waiting decisions.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Returns the maximum number of waiting decisions.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.queue.max_capacity()
    }

    /// Commits a decision. The caller may send the response after this returns.
    ///
    /// # Errors
    /// [`RecordError`]: the decision may or may not have been committed, and the caller must not
    /// act on it.
    pub async fn record(&self, submission: Submission) -> Result<Verdict, RecordError> {
        let (answer, committed) = oneshot::channel();
        let job = Job { submission, answer, waiting: Stopwatch::start() };
        self.queue.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RecordError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => RecordError::Ended,
        })?;
        committed.await.unwrap_or(Err(RecordError::Ended))
    }
}

/// The writing task of a recorder.
#[derive(Debug)]
pub struct Writer {
    /// The database to write to.
    pub store: Arc<dyn Store>,
    /// The key of the audit chain.
    pub key: hmac::Key,
    /// The source of randomness for the chain's name.
    pub entropy: Arc<dyn Entropy>,
    /// The metrics that the writer updates.
    pub metrics: Metrics,
    /// The time that a decision may wait while others are committed. A decision that waits longer
    /// is rejected as overload. Its client would otherwise exceed its deadline, and take that for
    /// an outage.
    pub patience: Duration,
}

impl Writer {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut chain = AuditWriter::new(self.key.clone(), &*self.entropy);
        let mut batch = Vec::with_capacity(BATCH);
        let mut commits = true;
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            // Yields once so that ready tasks can join this batch: a commit of many costs hardly
            // more than a commit of one. The yield is free when the runtime is idle.
            tokio::task::yield_now().await;
            batch.extend(std::iter::from_fn(|| jobs.try_recv().ok()).take(BATCH.saturating_sub(batch.len())));
            // Decisions behind a failed commit waited for an outage, so they are still tried.
            let is_late = |job: &Job| commits && job.waiting.elapsed() > self.patience;
            for job in batch.extract_if(.., |job| is_late(job)) {
                let _gone = job.answer.send(Err(RecordError::Overloaded));
            }
            if batch.is_empty() {
                continue;
            }
            let (submissions, answers): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|job| (job.submission, job.answer)).unzip();
            let watch = Stopwatch::start();
            let outcome = commit(&*self.store, &mut chain, &submissions).await;
            self.metrics.batch(submissions.len(), watch.elapsed());
            commits = outcome.is_ok();
            if !commits {
                // The rows may or may not have been written, so the end of the chain is unknown.
                // Start a new chain.
                chain = AuditWriter::new(self.key.clone(), &*self.entropy);
                self.metrics.batch_failed();
            }
            if let Err(error) = &outcome
                && let Some(left_out) = self.metrics.log_limit().pass("not_committed")
            {
                let (error, decisions) = (&**error as &dyn std::error::Error, answers.len());
                tracing::error!(error, decisions, left_out, "failed to commit decisions");
            }
            deliver(outcome, answers);
        }
    }
}

fn deliver(
    outcome: Result<Vec<Verdict>, Arc<StorageError>>,
    answers: Vec<oneshot::Sender<Result<Verdict, RecordError>>>,
) {
    match outcome {
        Ok(verdicts) => {
            for (answer, verdict) in answers.into_iter().zip(verdicts) {
                // A client that disconnects loses its response, but its record stays.
                let _gone = answer.send(Ok(verdict));
            }
        }
        Err(error) => {
            for answer in answers {
                let _gone = answer.send(Err(RecordError::Storage(Arc::clone(&error))));
            }
        }
    }
}

async fn commit(
    store: &dyn Store,
    writer: &mut AuditWriter,
    submissions: &[Submission],
) -> Result<Vec<Verdict>, Arc<StorageError>> {
    let mut known: Vec<Versions> = Vec::with_capacity(1);
    for submission in submissions {
        if !known.contains(&submission.known) {
            known.push(submission.known);
        }
    }
    let single_use = submissions.iter().flat_map(|submission| &submission.single_use);
    let one_time: Vec<OneTimeValue> = single_use.map(|single_use| single_use.value.clone()).collect();
    let mut verdicts = Vec::new();
    let end = writer.end();
    let mut decide = |fresh: &Fresh| {
        writer.rewind(end);
        verdicts = judge(submissions, fresh);
        rows(writer, submissions, &verdicts)
    };
    store.record(&known, &one_time, &mut decide).await.map_err(Arc::new)?;
    Ok(verdicts)
}

/// Returns the verdict on each submission, given the findings of the transaction.
fn judge(submissions: &[Submission], fresh: &Fresh) -> Vec<Verdict> {
    let revocations =
        fresh.changed.as_ref().map(|changed| Revocations::from_rows(Version::default(), &changed.revocations));
    let is_outdated = |submission: &Submission| {
        let changed = |changed: &FreshState| {
            (changed.versions.registry, changed.versions.keys) != (submission.known.registry, submission.known.keys)
        };
        let is_unknown =
            |those: &Revocations| submission.standings.iter().any(|standing| those.asks_for_lineage(standing));
        submission.token.is_some()
            && (fresh.changed.as_ref().is_some_and(changed) || revocations.as_ref().is_some_and(is_unknown))
    };
    let mut spent = fresh.spent.iter();
    let judge_one = |submission: &Submission| {
        // Every value has its place among the spent ones, also after one that was replayed.
        let is_replayed = |_: &&SingleUse| spent.next() != Some(&true);
        let replayed: Vec<&SingleUse> = submission.single_use.iter().filter(is_replayed).collect();
        if let Some(single_use) = replayed.first() {
            return Verdict::Replayed(single_use.kind);
        }
        let mut standings = submission.standings.iter();
        let revoked = revocations.as_ref().and_then(|those| standings.find_map(|standing| those.refuse(standing)));
        match revoked {
            Some(kind) => Verdict::Revoked(kind),
            None if is_outdated(submission) => Verdict::Outdated,
            None => Verdict::Committed,
        }
    };
    submissions.iter().map(judge_one).collect()
}

/// Returns the rows to write: tokens of committed decisions, and an event for every decision that
/// is not outdated.
fn rows(writer: &mut AuditWriter, submissions: &[Submission], verdicts: &[Verdict]) -> RecordRows {
    let mut rows = RecordRows::default();
    for (submission, verdict) in submissions.iter().zip(verdicts) {
        rows.tokens.extend(submission.token.clone().filter(|_| *verdict == Verdict::Committed));
        if *verdict != Verdict::Outdated {
            rows.audit.extend(submission.event.as_ref().map(|event| seal(writer, event, *verdict)));
        }
    }
    rows
}

fn seal(writer: &mut AuditWriter, event: &Event, verdict: Verdict) -> AuditRow {
    match verdict.reason() {
        None => writer.seal(event),
        Some((reason, detail)) => writer.seal(&event.clone().refused(reason, detail.to_owned())),
    }
}

impl Verdict {
    /// Returns the stable name and the description of a refusal. Returns `None` if the verdict
    /// refuses nothing.
    #[must_use]
    pub fn reason(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Committed | Self::Outdated => None,
            Self::Replayed(kind) => Some(kind.replayed()),
            Self::Revoked(kind) => Some((revoked_reason(kind), "revoked during the request")),
        }
    }
}

/// Returns the stable name of a refusal by revocation.
#[must_use]
pub fn revoked_reason(kind: RevocationKind) -> &'static str {
    match kind {
        RevocationKind::Token | RevocationKind::TokenAlone => "token_revoked",
        RevocationKind::Transaction => "transaction_revoked",
        RevocationKind::Subject => "subject_revoked",
        RevocationKind::Agent => "agent_revoked",
        RevocationKind::Tenant => "tenant_revoked",
    }
}
