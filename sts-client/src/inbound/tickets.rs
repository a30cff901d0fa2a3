//! Tickets of requests that the layer has verified.

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

use crate::call::{Possession, X_STS_VERIFIED};

/// The header that marks a request which the layer has verified. A second verification of the same
/// request, as in the executor of an A2A agent, then neither introspects the token again nor takes
/// its proof for a replay.
///
/// The value is a secret of this process, so a request from outside cannot carry a valid value.
pub(super) const TICKET: HeaderName = X_STS_VERIFIED;

/// The lifetime of a ticket.
const FRESH_FOR: Duration = Duration::from_secs(5);

/// The maximum number of stored tickets. A request whose ticket is not stored is verified anew.
#[cfg(feature = "tower")]
const MAX_TICKETS: usize = 4096;

/// A ticket for each request that the layer has just verified.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<HashMap<String, Ticket>>);

#[derive(Debug)]
struct Ticket {
    /// SHA-256 of the token.
    token: [u8; 32],
    possession: Possession,
    issued_at: Timestamp,
}

impl Tickets {
    /// Returns the way in which the caller of a request proved its token to the layer; `None` for a
    /// request without a ticket.
    pub(super) fn find(&self, ticket: Option<&HeaderValue>, sha256: &[u8; 32], now: Timestamp) -> Option<Possession> {
        let tickets = self.lock();
        let ticket = tickets.get(ticket?.to_str().ok()?)?;
        (ticket.token == *sha256 && is_fresh(ticket.issued_at, now)).then(|| ticket.possession.clone())
    }

    /// Returns a value of [`TICKET`] for a request that was verified.
    #[cfg(feature = "tower")]
    pub(super) fn issue(
        &self,
        token: [u8; 32],
        possession: &Possession,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Option<HeaderValue> {
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
            tickets.insert(name, Ticket { token, possession: possession.clone(), issued_at: now });
        }
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Ticket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(issued_at: Timestamp, now: Timestamp) -> bool {
    !has_passed(Some(issued_at), now, FRESH_FOR)
}
