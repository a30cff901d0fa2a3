//! Introspection of tokens at the STS that issued them (RFC 7662).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[cfg(feature = "tower")]
use base64::Engine as _;
#[cfg(feature = "tower")]
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
#[cfg(feature = "tower")]
use sts_jose::Entropy;
use sts_jose::has_passed;

use super::refusal::Why;
use crate::carried::CorrelationId;
use crate::exchange::{ExchangeError, Sts};

/// The header that marks a request which the layer has verified. A second verification of the same
/// request, as in the executor of an A2A agent, then skips introspection.
///
/// The value is a secret of this process, so a request from outside cannot carry a valid value.
pub(super) const TICKET: HeaderName = HeaderName::from_static("x-sts-introspected");

/// The lifetime of a ticket.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// The maximum number of stored tickets. A request whose ticket is not stored is introspected
/// twice.
#[cfg(feature = "tower")]
const MAX_TICKETS: usize = 4096;

/// The STS that introspects tokens, and a ticket for each request whose token was just active.
#[derive(Debug)]
pub(super) struct Introspected {
    sts: Sts,
    tickets: Mutex<HashMap<String, Ticket>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Ticket {
    /// SHA-256 of the token.
    token: [u8; 32],
    issued_at: Timestamp,
}

impl Introspected {
    pub(super) fn new(sts: Sts) -> Self {
        Self { sts, tickets: Mutex::default() }
    }

    pub(super) fn issuer(&self) -> &str {
        self.sts.issuer()
    }

    /// Introspects the token, unless the ticket shows that the STS reported it active for this
    /// request.
    pub(super) async fn check(
        &self,
        (token, sha256): (&str, &[u8; 32]),
        ticket: Option<&HeaderValue>,
        correlation_id: &CorrelationId,
        now: Timestamp,
    ) -> Result<(), Why> {
        if ticket.is_some_and(|ticket| self.is_known(ticket, sha256, now)) {
            return Ok(());
        }
        match self.sts.is_active(token, correlation_id).await {
            Ok(true) => Ok(()),
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

    /// Returns a value of [`TICKET`] for a request whose token the STS has just reported active.
    #[cfg(feature = "tower")]
    pub(super) fn ticket(&self, token: [u8; 32], now: Timestamp, entropy: &dyn Entropy) -> Option<HeaderValue> {
        let mut random = [0; 16];
        entropy.fill(&mut random);
        let name = URL_SAFE_NO_PAD.encode(random);
        let mut value = HeaderValue::from_str(&name).ok()?;
        value.set_sensitive(true);
        let mut tickets = self.lock();
        if tickets.len() >= MAX_TICKETS {
            tickets.retain(|_, ticket| is_fresh(ticket.issued_at, now));
        }
        if tickets.len() < MAX_TICKETS {
            tickets.insert(name, Ticket { token, issued_at: now });
        }
        Some(value)
    }

    fn is_known(&self, ticket: &HeaderValue, sha256: &[u8; 32], now: Timestamp) -> bool {
        let Ok(name) = ticket.to_str() else { return false };
        self.lock().get(name).is_some_and(|ticket| ticket.token == *sha256 && is_fresh(ticket.issued_at, now))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(issued_at: Timestamp, now: Timestamp) -> bool {
    !has_passed(Some(issued_at), now, FRESH_FOR)
}
