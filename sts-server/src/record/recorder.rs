//! The recorder: collects waiting decisions, commits them as a single transaction, and only then
//! releases the responses.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use sts_jose::Entropy;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::commits::{Commits, STALLED_AFTER};
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
/// The pause before the database is tried again without a decision.
const PROBE_EVERY: Duration = Duration::from_millis(500);

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
    /// The approval that the decision was made under, if it needs one. A change that stops an
    /// approval raises the revocations; the decision is then made again.
    pub approval: Option<String>,
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
    /// The database has not committed for seconds, so nothing was tried.
    #[error("the database has committed nothing for {} s", STALLED_AFTER.as_secs())]
    Stalled,
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
            Self::Storage(_) | Self::Stalled | Self::Ended => ErrorKind::Unavailable,
        }
    }

    /// The stable name, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::Storage(_) | Self::Stalled | Self::Ended => "not_recorded",
        }
    }
}

/// The entry point that commits decisions. Clones share a queue and an audit chain.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Job>,
    commits: Commits,
}

type Answer = oneshot::Sender<Result<Verdict, RecordError>>;

#[derive(Debug)]
struct Job {
    submission: Submission,
    answer: Answer,
    waiting: Stopwatch,
}

impl Recorder {
    /// Starts the writer's task. It ends when the last clone is dropped and the queue is empty.
    #[must_use]
    pub fn start(writer: Writer) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let commits = Commits::new();
        tokio::spawn(writer.run(Jobs { queue: jobs, commits: commits.clone() }));
        Self { queue, commits }
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

    /// Returns true if the database has committed nothing for seconds. Decisions are rejected at once
    /// then, until an attempt of the writer succeeds.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.commits.is_stalled()
    }

    /// Commits a decision. The caller may send the response after this returns.
    ///
    /// # Errors
    /// [`RecordError`]: the decision may or may not have been committed, and the caller must not
    /// act on it.
    pub async fn record(&self, submission: Submission) -> Result<Verdict, RecordError> {
        if self.is_stalled() {
            return Err(RecordError::Stalled);
        }
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

/// The waiting decisions, and whether the database commits.
struct Jobs {
    queue: mpsc::Receiver<Job>,
    commits: Commits,
}

impl Jobs {
    /// Waits for decisions, and returns true. Returns false if there is none after a while and the
    /// last commit failed: the database must then be tried without one. Returns `None` at the end.
    async fn receive(&mut self, batch: &mut Vec<Job>) -> Option<bool> {
        let received = if self.commits.is_unconfirmed() {
            match tokio::time::timeout(PROBE_EVERY, self.queue.recv_many(batch, BATCH)).await {
                Ok(received) => received,
                Err(_elapsed) => return Some(false),
            }
        } else {
            self.queue.recv_many(batch, BATCH).await
        };
        (received > 0).then_some(true)
    }

    /// Waits for an attempt to commit. Once the database has committed nothing for seconds, rejects
    /// these decisions and all that wait, and goes on waiting for the attempt.
    async fn settle<T>(&mut self, answers: &mut Vec<Answer>, attempt: impl Future<Output = T>) -> T {
        let was_stalled = self.commits.is_stalled();
        self.commits.attempted();
        let mut attempt = std::pin::pin!(attempt);
        tokio::select! {
            biased;
            outcome = &mut attempt => return outcome,
            () = tokio::time::sleep(self.commits.remaining()) => {}
        }
        if !was_stalled {
            tracing::error!(seconds = STALLED_AFTER.as_secs(), "nothing was committed: decisions are rejected at once");
        }
        let waiting = std::iter::from_fn(|| self.queue.try_recv().ok()).map(|job| job.answer);
        for answer in answers.drain(..).chain(waiting) {
            let _gone = answer.send(Err(RecordError::Stalled));
        }
        attempt.await
    }
}

impl Writer {
    async fn run(self, mut jobs: Jobs) {
        let mut chain = AuditWriter::new(self.key.clone(), &*self.entropy);
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(has_decisions) = jobs.receive(&mut batch).await {
            if !has_decisions {
                self.probe(&mut jobs).await;
                continue;
            }
            // Yields once so that ready tasks can join this batch: a commit of many costs hardly
            // more than a commit of one. The yield is free when the runtime is idle.
            tokio::task::yield_now().await;
            let more = std::iter::from_fn(|| jobs.queue.try_recv().ok());
            batch.extend(more.take(BATCH.saturating_sub(batch.len())));
            // Decisions behind a failed commit waited for an outage, so they are still tried.
            let is_failing = jobs.commits.is_unconfirmed();
            let is_late = |job: &Job| !is_failing && job.waiting.elapsed() > self.patience;
            for job in batch.extract_if(.., |job| is_late(job)) {
                let _gone = job.answer.send(Err(RecordError::Overloaded));
            }
            if batch.is_empty() {
                continue;
            }
            let (submissions, mut answers): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|job| (job.submission, job.answer)).unzip();
            let watch = Stopwatch::start();
            let outcome = jobs.settle(&mut answers, commit(&*self.store, &mut chain, &submissions)).await;
            self.metrics.batch(submissions.len(), watch.elapsed());
            match &outcome {
                Ok(_) => jobs.commits.succeeded(),
                Err(error) => {
                    // The rows may or may not have been written, so the end of the chain is
                    // unknown. Start a new chain.
                    chain = AuditWriter::new(self.key.clone(), &*self.entropy);
                    self.metrics.batch_failed();
                    self.report(error, submissions.len());
                }
            }
            deliver(outcome, answers);
        }
    }

    /// Tries a commit that changes nothing, so that a server without requests finds out that the
    /// database commits again.
    async fn probe(&self, jobs: &mut Jobs) {
        let was_stalled = jobs.commits.is_stalled();
        match jobs.settle(&mut Vec::new(), self.store.probe()).await {
            Ok(()) => {
                jobs.commits.succeeded();
                if was_stalled {
                    tracing::info!("the database commits again");
                }
            }
            Err(error) => self.report(&Arc::new(error), 0),
        }
    }

    fn report(&self, error: &Arc<StorageError>, decisions: usize) {
        if let Some(left_out) = self.metrics.log_limit().pass("not_committed") {
            let error = &**error as &dyn std::error::Error;
            tracing::error!(error, decisions, left_out, "failed to commit decisions");
        }
    }
}

fn deliver(outcome: Result<Vec<Verdict>, Arc<StorageError>>, answers: Vec<Answer>) {
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
        let is_unapproved = |changed: &FreshState| {
            submission.approval.is_some() && changed.versions.revocations != submission.known.revocations
        };
        submission.token.is_some()
            && (fresh.changed.as_ref().is_some_and(|those| changed(those) || is_unapproved(those))
                || revocations.as_ref().is_some_and(is_unknown))
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
