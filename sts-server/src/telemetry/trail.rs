//! The clock of one request: when each of its steps began.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Measures how long something takes, by a clock that nobody can set. What time it is, `sts_jose::Clock` says.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that measures how long things take")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long it has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A step of the token endpoint, as `exchange` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The body is read and parsed.
    Form,
    /// Which agent asks?
    ClientAuth,
    /// Which target, scope and token types?
    Request,
    /// On whose behalf?
    Subject,
    /// Actor token and chain.
    Actor,
    /// May they?
    Policy,
    /// The token is signed.
    Mint,
    /// The decision is committed.
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

    /// The step as metrics and traces name it.
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

/// The grant of a request, as metrics name it: what was sent may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantKind {
    /// Token exchange (RFC 8693).
    TokenExchange,
    /// Client credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// Another one.
    Other,
    /// None is known.
    None,
}

impl GrantKind {
    /// The grant as metrics and traces name it.
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

/// When a step began, counted from the begin of the request, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTime {
    /// Which step.
    pub step: Step,
    /// When it began.
    pub begun: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What one request leaves behind on its way through the steps: when each began, and of which grant it is. No locks, no allocation.
#[derive(Debug)]
pub struct Trail {
    watch: Stopwatch,
    /// Nanoseconds since the begin, by step; zero for a step that was not entered.
    entered: [AtomicU64; Step::ALL.len()],
    grant: OnceLock<GrantKind>,
}

impl Trail {
    /// A request begins, with its first step.
    #[must_use]
    pub fn begin() -> Self {
        let trail = Self { watch: Stopwatch::start(), entered: Default::default(), grant: OnceLock::new() };
        trail.enter(Step::Form);
        trail
    }

    /// The step before ends and this one begins.
    pub fn enter(&self, step: Step) {
        let now = u64::try_from(self.watch.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        if let Some(entered) = self.entered.get(step as usize) {
            entered.store(now, Ordering::Relaxed);
        }
    }

    /// The grant is known.
    pub fn is_of(&self, grant: GrantKind) {
        // A request has one grant: what was said first holds.
        let _known = self.grant.set(grant);
    }

    /// The grant, as far as it is known.
    #[must_use]
    pub fn grant(&self) -> GrantKind {
        self.grant.get().copied().unwrap_or(GrantKind::None)
    }

    /// How long the request has been under way.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.watch.elapsed()
    }

    /// The steps that were entered, in their order; the last one ends with the request, `total` after its begin.
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
