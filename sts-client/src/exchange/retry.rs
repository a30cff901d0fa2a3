//! The attempts of one call: few, with growing pauses, and within a deadline.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use sts_jose::Entropy;

use super::budget::RetryBudget;
use super::error::{ExchangeError, Outage};
use crate::net::TransportError;

/// The minimum of the first pause. Each further minimum is twice the previous one. Jitter adds up
/// to the same amount again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The limits of the attempts of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub(super) attempts: u32,
    pub(super) attempt_timeout: Duration,
    pub(super) deadline: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts: 3, attempt_timeout: Duration::from_secs(2), deadline: Duration::from_secs(5) }
    }
}

/// Makes attempts until one succeeds, one is refused, or policy and budget allow no more. Only an
/// outage and load cause a retry.
pub(super) async fn run<T, F>(
    policy: Policy,
    budget: &RetryBudget,
    entropy: &dyn Entropy,
    mut attempt: impl FnMut() -> F,
) -> Result<T, ExchangeError>
where
    F: Future<Output = Result<T, ExchangeError>>,
{
    let deadline = tokio::time::sleep(policy.deadline).deadline();
    let mut pauses = pauses(policy, entropy);
    let mut under_load = None;
    let mut is_first = true;
    loop {
        let limit = tokio::time::sleep(policy.attempt_timeout).deadline().min(deadline);
        let outcome = tokio::time::timeout_at(limit, attempt()).await;
        let failure = match outcome.unwrap_or_else(|_elapsed| Err(timed_out())) {
            Ok(done) => {
                if is_first {
                    budget.answered()
                } else {
                    budget.answered_again()
                }
                return Ok(done);
            }
            Err(failure) => failure,
        };
        is_first = false;
        match failure {
            ExchangeError::Refused { .. }
            | ExchangeError::ApprovalRequired(_)
            | ExchangeError::WrongAudience { .. }
            | ExchangeError::Misconfigured { .. } => return Err(failure),
            ExchangeError::Overloaded { .. } => under_load = Some(failure.clone()),
            ExchangeError::Outage(_) => {}
        }
        // If the STS answered 429, the call is under load, even if later attempts fail in other
        // ways. Load never allows a weaker credential, but an outage may.
        let retry_after = failure.retry_after().unwrap_or_default();
        let given_up = under_load.clone().unwrap_or(failure);
        let Some(pause) = pauses.next() else { return Err(given_up) };
        let pause = tokio::time::sleep(pause.max(retry_after));
        if pause.deadline() >= deadline || !budget.take() {
            return Err(given_up);
        }
        pause.await;
    }
}

/// Returns the pauses between the attempts. Their jitter depends only on `entropy`, so that a
/// simulation can be repeated.
fn pauses(policy: Policy, entropy: &dyn Entropy) -> impl Iterator<Item = Duration> {
    let mut seed = [0; 8];
    entropy.fill(&mut seed);
    let retries = usize::try_from(policy.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    ExponentialBuilder::new()
        .with_min_delay(FIRST_PAUSE)
        .with_factor(2.0)
        .with_max_times(retries)
        .with_jitter()
        .with_jitter_seed(u64::from_le_bytes(seed))
        .build()
}

fn timed_out() -> ExchangeError {
    Outage::Transport(TransportError::TimedOut).into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future;

    use super::*;

    #[derive(Debug)]
    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    fn outage(retry_after: Option<Duration>) -> ExchangeError {
        ExchangeError::outage(Outage::Status { status: 503, retry_after })
    }

    /// Returns the number of attempts that all fail with `failure`, and their total time.
    async fn fail(failure: ExchangeError) -> (u32, Duration) {
        let (attempts, began) = (Cell::new(0), tokio::time::Instant::now());
        let result: Result<(), _> = run(Policy::default(), &RetryBudget::default(), &Fixed(7), || {
            attempts.set(attempts.get() + 1);
            future::ready(Err(failure.clone()))
        })
        .await;
        assert!(result.is_err());
        (attempts.get(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn the_pauses_grow_and_follow_from_the_entropy() {
        let pauses_of = |seed| pauses(Policy::default(), &Fixed(seed)).collect::<Vec<Duration>>();
        assert_eq!(pauses_of(1), pauses_of(1));
        assert_ne!(pauses_of(1), pauses_of(2));
        for seed in 0..=255 {
            let pauses = pauses_of(seed);
            let (first, second) = (pauses[0], pauses[1]);
            assert_eq!(pauses.len(), 2);
            assert!(FIRST_PAUSE <= first && first <= 2 * FIRST_PAUSE, "{first:?}");
            assert!(2 * FIRST_PAUSE <= second && second <= 4 * FIRST_PAUSE, "{second:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_makes_the_pause_longer_and_never_shorter() {
        let (attempts, plain) = fail(outage(None)).await;
        assert_eq!(attempts, 3);
        assert_eq!(fail(outage(Some(Duration::ZERO))).await, (3, plain));
        assert_eq!(fail(outage(Some(Duration::from_secs(1)))).await, (3, Duration::from_secs(2)));
        assert_eq!(fail(outage(Some(Duration::from_secs(3)))).await, (2, Duration::from_secs(3)));
        assert_eq!(fail(outage(Some(Duration::from_secs(5)))).await, (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up_and_the_deadline_ends_all() {
        let began = tokio::time::Instant::now();
        let policy = Policy { attempts: 100, ..Policy::default() };
        let result: Result<(), _> = run(policy, &RetryBudget::default(), &Fixed(0), future::pending).await;
        assert!(matches!(result, Err(ExchangeError::Outage(_))));
        assert_eq!(began.elapsed(), policy.deadline);
    }
}
