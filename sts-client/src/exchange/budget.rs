//! The retry budget: limits the retries that an STS in trouble receives.

use std::sync::{Mutex, PoisonError};

/// The tokens of a full bucket: enough for ten retries.
const CAPACITY: u32 = 50;
/// The tokens that a retry takes. A successful retry returns them.
const COST: u32 = 5;
/// The tokens that a success at the first attempt adds.
const GAIN: u32 = 1;

/// A token bucket that all calls of an STS share, as in the AWS SDKs. While the STS answers, calls
/// retry as their policy allows. While it fails, the bucket empties, and each call makes one
/// attempt. So the load on an STS in trouble is one attempt per call, not a multiple.
#[derive(Debug)]
pub(super) struct RetryBudget(Mutex<u32>);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Mutex::new(CAPACITY))
    }
}

impl RetryBudget {
    /// Takes the tokens for a retry. Returns false if the bucket does not hold enough.
    pub(super) fn take(&self) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = tokens.checked_sub(COST);
        if let Some(left) = left {
            *tokens = left;
        }
        left.is_some()
    }

    /// Records that the STS answered a call at its first attempt.
    pub(super) fn answered(&self) {
        self.give(GAIN);
    }

    /// Records that the STS answered a call at a retry.
    pub(super) fn answered_again(&self) {
        self.give(COST);
    }

    fn give(&self, gain: u32) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens = CAPACITY.min(*tokens + gain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_empty_it_and_answers_fill_it_up_to_its_capacity() {
        let budget = RetryBudget::default();
        let takes = |budget: &RetryBudget| (0..1_000).take_while(|_| budget.take()).count();
        assert_eq!(takes(&budget), 10);
        budget.answered_again();
        assert_eq!(takes(&budget), 1);
        for _ in 0..1_000 {
            budget.answered();
        }
        assert_eq!(takes(&budget), 10);
    }
}
