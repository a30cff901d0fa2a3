//! The question to the STS whether a token of its own is still active (RFC 7662).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::refusal::Why;
use crate::carried::CorrelationId;
use crate::exchange::{ExchangeError, Sts};

/// The time for which the answer "active" is used again for the same request: one that passes two verifiers, as an A2A request does, is
/// introspected once.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(5);

/// The number of answers that are remembered.
const MAX_ANSWERS: usize = 4096;

/// One token in one request: the SHA-256 of the token, and the correlation id.
type Request = ([u8; 32], CorrelationId);

/// The STS that is asked, and the requests whose tokens it has just called active.
#[derive(Debug)]
pub(super) struct Introspected {
    sts: Sts,
    active: Mutex<HashMap<Request, Timestamp>>,
}

impl Introspected {
    pub(super) fn new(sts: Sts) -> Self {
        Self { sts, active: Mutex::default() }
    }

    pub(super) fn issuer(&self) -> &str {
        self.sts.issuer()
    }

    /// Asks the STS, unless it has just called the token of this request active.
    pub(super) async fn check(
        &self,
        (token, sha256): (&str, [u8; 32]),
        correlation_id: &CorrelationId,
        now: Timestamp,
    ) -> Result<(), Why> {
        let request = (sha256, correlation_id.clone());
        if self.was_active(&request, now) {
            return Ok(());
        }
        match self.sts.is_active(token, correlation_id).await {
            Ok(true) => {
                self.remember(request, now);
                Ok(())
            }
            Ok(false) => Err(Why::Inactive),
            Err(error) => {
                if matches!(error, ExchangeError::Refused { .. } | ExchangeError::Misconfigured { .. }) {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    let issuer = self.issuer();
                    tracing::error!(
                        issuer,
                        error,
                        "the sts refuses this agent's introspections: rejecting all requests"
                    );
                }
                Err(Why::Introspection(error))
            }
        }
    }

    fn was_active(&self, request: &Request, now: Timestamp) -> bool {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.get(request).is_some_and(|asked_at| is_fresh(*asked_at, now))
    }

    /// `asked_at` is the time before the request to the STS, so that no answer is used longer than it says.
    fn remember(&self, request: Request, asked_at: Timestamp) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        if active.len() >= MAX_ANSWERS {
            active.retain(|_, other| is_fresh(*other, asked_at));
        }
        if active.len() < MAX_ANSWERS {
            active.insert(request, asked_at);
        }
    }
}

fn is_fresh(asked_at: Timestamp, now: Timestamp) -> bool {
    let age = asked_at.duration_until(now);
    !age.is_negative() && age < FRESH_FOR
}
