//! The recorder: gathers decisions that wait, commits them as one transaction, and only then lets the answers go.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use sts_jose::Entropy;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::{AuditWriter, Event, Revocations, Standing};
use crate::error_kind::ErrorKind;
use crate::storage::{
    AuditRow, Fresh, FreshState, OneTimeValue, RecordRows, RevocationKind, StorageError, Store, TokenRow, Version,
    Versions,
};
use crate::telemetry::{Metrics, Stopwatch};

/// How many decisions one transaction holds at most.
const BATCH: usize = 256;
/// How many decisions may wait; beyond, requests are turned away at once.
const QUEUE: usize = 4096;

/// One decision to commit.
#[derive(Debug)]
pub struct Submission {
    /// The versions of the snapshot under which it was decided.
    pub known: Versions,
    /// A value that must not have been spent.
    pub one_time: Option<OneTimeValue>,
    /// The credentials of the request, none of which may be revoked at the commit; empty where no token is issued.
    pub standings: Vec<Standing>,
    /// The token; none for a refusal.
    pub token: Option<TokenRow>,
    /// The event; none where only a value is spent.
    pub event: Option<Event>,
}

/// The finding of the transaction, which has been committed in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As submitted.
    Committed,
    /// The value had been spent before: a refusal was recorded instead.
    Replayed,
    /// Something in the chain was revoked meanwhile: a refusal was recorded instead.
    Revoked(RevocationKind),
    /// Registry or keys have changed since the decision, or a token was revoked that it may descend from: neither token nor event was recorded, and the value that counts once is spent.
    /// Decide again.
    Outdated,
}

/// Nothing is known to be committed. An outage: the same request may succeed later.
#[derive(Debug, Clone, Error)]
pub enum RecordError {
    /// Too many decisions wait for the database, or this one waited too long behind others that it committed.
    #[error("too many decisions wait for the database")]
    Overloaded,
    /// The database failed.
    #[error("the decision could not be committed")]
    Storage(#[source] Arc<StorageError>),
    /// The recorder has ended.
    #[error("the recorder has ended")]
    Ended,
}

impl RecordError {
    /// The kind of error. Load is no outage, which a client may answer with a weaker credential.
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

/// Commits decisions. Clones share one queue and one audit chain.
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
    /// Starts the task of the writer, which ends when the last clone is gone and the queue is empty.
    #[must_use]
    pub fn start(writer: Writer) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(jobs));
        Self { queue }
    }

    /// Returns when the task of the writer has ended: no decision can be committed any more.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }

    /// How many decisions wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// How many decisions may wait.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.queue.max_capacity()
    }

    /// Commits a decision; the answer may go when this has returned.
    ///
    /// # Errors
    /// [`RecordError`]: the decision may or may not have been committed, and must not be acted on.
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

/// The one task that writes.
#[derive(Debug)]
pub struct Writer {
    /// Where to.
    pub store: Arc<dyn Store>,
    /// The key of the audit chain.
    pub key: hmac::Key,
    /// Where the chain's name comes from.
    pub entropy: Arc<dyn Entropy>,
    /// What is counted.
    pub metrics: Metrics,
    /// How long a decision may wait while others are committed. One that has waited longer is turned away as load is: its requester
    /// would hear of a deadline that has passed, and take that for an outage.
    pub patience: Duration,
}

impl Writer {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut chain = AuditWriter::new(self.key.clone(), &*self.entropy);
        let mut batch = Vec::with_capacity(BATCH);
        let mut commits = true;
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            // Whoever can run now runs first, and is in this batch too: a commit of many costs hardly more than a commit of one. Where
            // nobody waits for a core, nobody is waited for.
            tokio::task::yield_now().await;
            batch.extend(std::iter::from_fn(|| jobs.try_recv().ok()).take(BATCH.saturating_sub(batch.len())));
            // Behind a commit that failed they waited for an outage, and are tried.
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
                // Whether the rows were written is unknown, and so is the end of the chain: begin another.
                chain = AuditWriter::new(self.key.clone(), &*self.entropy);
                self.metrics.batch_failed();
            }
            if let Err(error) = &outcome
                && let Some(left_out) = self.metrics.log_limit().pass("not_committed")
            {
                let (error, decisions) = (&**error as &dyn std::error::Error, answers.len());
                tracing::error!(error, decisions, left_out, "decisions could not be committed");
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
                // A requester that has gone away loses its answer, not its record.
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
    let one_time: Vec<OneTimeValue> = submissions.iter().filter_map(|submission| submission.one_time.clone()).collect();
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

/// What becomes of each submission, given what the transaction found.
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
        if submission.one_time.is_some() && spent.next() != Some(&true) {
            return Verdict::Replayed;
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

/// What is written: tokens only of what stands, and an event of everything.
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
    /// The stable name of what was found, and the same in words; none when all stood.
    #[must_use]
    pub fn reason(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Committed | Self::Outdated => None,
            Self::Replayed => Some(("assertion_replayed", "the client assertion was used before")),
            Self::Revoked(kind) => Some((revoked_reason(kind), "revoked while the request was under way")),
        }
    }
}

/// The stable name of a refusal by revocation.
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
