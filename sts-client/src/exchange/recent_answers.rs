//! Recent answers of the STS that apply to all calls of the agent for a while: a rate limit, and a
//! rejected credential.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sts_jose::has_passed;

use super::error::ExchangeError;
use crate::call::RefusalCode;

/// The maximum time for which `Retry-After` stops calls to the STS. Callers see a longer value, but
/// the agent tries again after this time.
const LONGEST: Duration = Duration::from_secs(60);

/// The time for which a credential is not used again after `invalid_client`.
const REJECTION_TTL: Duration = Duration::from_secs(5);

/// The error code of failed client authentication (RFC 6749 §5.2).
const INVALID_CLIENT: &str = "invalid_client";

/// The identity of a credential, as a digest.
pub(super) type CredentialId = [u8; 32];

/// The recent answers that stop calls. Neither allows a weaker credential: the first is load, the
/// second a refusal.
#[derive(Debug, Default)]
pub(super) struct RecentAnswers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    overloaded: Option<Overloaded>,
    rejected: Option<(CredentialId, Timestamp)>,
}

#[derive(Debug, Clone, Copy)]
struct Overloaded {
    since: Timestamp,
    retry_after: Duration,
}

impl RecentAnswers {
    /// Checks that no rate limit of the STS is in effect.
    ///
    /// # Errors
    /// [`ExchangeError::Overloaded`], with the remaining time of `Retry-After`.
    pub(super) fn check_load(&self, now: Timestamp) -> Result<(), ExchangeError> {
        let mut state = self.lock();
        let Some(Overloaded { since, retry_after }) = state.overloaded else { return Ok(()) };
        if has_passed(Some(since), now, retry_after.min(LONGEST)) {
            state.overloaded = None;
            return Ok(());
        }
        let passed = Duration::try_from(since.duration_until(now)).unwrap_or_default();
        Err(ExchangeError::Overloaded { retry_after: Some(retry_after.saturating_sub(passed)) })
    }

    /// Checks that the STS has not just rejected this credential.
    ///
    /// # Errors
    /// [`ExchangeError::Refused`] with the code that the STS returned for this credential.
    pub(super) fn check_credential(&self, credential: &CredentialId, now: Timestamp) -> Result<(), ExchangeError> {
        match self.lock().rejected {
            Some((rejected, at)) if rejected == *credential && !has_passed(Some(at), now, REJECTION_TTL) => {
                Err(ExchangeError::Refused { code: RefusalCode::from_answer(INVALID_CLIENT) })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers an error that affects later calls.
    pub(super) fn learn(&self, error: &ExchangeError, credential: CredentialId, now: Timestamp) {
        match error {
            ExchangeError::Overloaded { retry_after: Some(retry_after) } => {
                self.lock().overloaded = Some(Overloaded { since: now, retry_after: *retry_after });
            }
            ExchangeError::Refused { code } if code.as_str() == INVALID_CLIENT => {
                self.lock().rejected = Some((credential, now));
            }
            ExchangeError::Overloaded { retry_after: None }
            | ExchangeError::Refused { .. }
            | ExchangeError::ApprovalRequired(_)
            | ExchangeError::WrongAudience { .. }
            | ExchangeError::Outage(_)
            | ExchangeError::Misconfigured { .. } => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
