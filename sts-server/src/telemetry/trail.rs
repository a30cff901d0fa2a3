//! The clock of a request: the start time of each of its steps.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A monotonic clock that measures durations. For the time of day, use `sts_jose::Clock`.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts the stopwatch now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that measures how long things take")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A step of the token endpoint, as `exchange` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Reads and parses the body.
    Form,
    /// Authenticates the agent.
    ClientAuth,
    /// Reads target, scope and token types.
    Request,
    /// Verifies the subject token.
    Subject,
    /// Verifies the actor token and the chain.
    Actor,
    /// Applies the delegation policy.
    Policy,
    /// Signs the new token.
    Mint,
    /// Commits the decision.
    Record,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 8] = [
        Self::Form,
        Self::ClientAuth,
        Self::Request,
        Self::Subject,
        Self::Actor,
        Self::Policy,
        Self::Mint,
        Self::Record,
    ];

    /// Returns the name of the step in metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::ClientAuth => "client_auth",
            Self::Request => "request",
            Self::Subject => "subject",
            Self::Actor => "actor",
            Self::Policy => "policy",
            Self::Mint => "mint",
            Self::Record => "record",
        }
    }
}

/// The grant of a request in metrics, which need a bounded set: a client may send any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantKind {
    /// Token exchange (RFC 8693).
    TokenExchange,
    /// Client credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// Any other grant.
    Other,
    /// The grant is unknown.
    None,
}

impl GrantKind {
    /// Returns the name of the grant in metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenExchange => "token_exchange",
            Self::ClientCredentials => "client_credentials",
            Self::Other => "other",
            Self::None => "none",
        }
    }
}

/// The start of a step, relative to the start of the request, and its duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTime {
    /// The measured step.
    pub step: Step,
    /// The start of the step, relative to the request.
    pub begun: Duration,
    /// The duration of the step.
    pub took: Duration,
}

/// The record of a request's way through the steps: the start of each step, and the grant. Uses no
/// lock and no allocation.
#[derive(Debug)]
pub struct Trail {
    watch: Stopwatch,
    /// Nanoseconds since the start, by step; zero for a step that was not entered.
    entered: [AtomicU64; Step::ALL.len()],
    grant: OnceLock<GrantKind>,
}

impl Trail {
    /// Starts the clock of a request in its first step.
    #[must_use]
    pub fn begin() -> Self {
        let trail = Self { watch: Stopwatch::start(), entered: Default::default(), grant: OnceLock::new() };
        trail.enter(Step::Form);
        trail
    }

    /// Ends the previous step and starts this step.
    pub fn enter(&self, step: Step) {
        let now = u64::try_from(self.watch.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        if let Some(entered) = self.entered.get(step as usize) {
            entered.store(now, Ordering::Relaxed);
        }
    }

    /// Sets the grant of the request.
    pub fn is_of(&self, grant: GrantKind) {
        // A request has a single grant, so the first value is kept.
        let _known = self.grant.set(grant);
    }

    /// Returns the grant, or [`GrantKind::None`] if it is unknown.
    #[must_use]
    pub fn grant(&self) -> GrantKind {
        self.grant.get().copied().unwrap_or(GrantKind::None)
    }

    /// Returns the time since the start of the request.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    /// Returns the entered steps, in order. The last step ends with the request, `total` after its
    /// start.
    pub fn steps(&self, total: Duration) -> impl Iterator<Item = StepTime> {
        let mut end = total;
        let mut times = [None; Step::ALL.len()];
        for ((step, entered), time) in Step::ALL.iter().zip(&self.entered).zip(&mut times).rev() {
            let nanoseconds = entered.load(Ordering::Relaxed);
            if nanoseconds == 0 {
                continue;
            }
            let begun = Duration::from_nanos(nanoseconds);
            *time = Some(StepTime { step: *step, begun, took: end.saturating_sub(begun) });
            end = begun;
        }
        times.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_lasts_until_the_next_one_that_was_entered() {
        let trail = Trail::begin();
        for step in [Step::ClientAuth, Step::Request, Step::Policy] {
            trail.enter(step);
        }
        let total = trail.elapsed();
        let times: Vec<StepTime> = trail.steps(total).collect();
        let steps: Vec<Step> = times.iter().map(|time| time.step).collect();
        assert_eq!(steps, [Step::Form, Step::ClientAuth, Step::Request, Step::Policy]);
        for (time, next) in times.iter().zip(&times[1..]) {
            assert_eq!(time.begun + time.took, next.begun);
        }
        assert_eq!(times[3].begun + times[3].took, total);
    }
}
