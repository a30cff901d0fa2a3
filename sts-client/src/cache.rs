//! Tokens that were exchanged, until they die.
//!
//! The key holds everything that a token depends on, so that no caller is ever given the token of another. What is kept is a token, or for
//! a few seconds a refusal; an outage is never kept, and never shared beyond those who waited for the very same request.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use http::HeaderValue;
use jiff::Timestamp;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use sts_jose::{Clock, has_passed};
use sts_protocol::TokenType;

use crate::call::{Caller, Route};
use crate::exchange::{ExchangeError, IssuedToken, Sts};
use crate::net::Flights;
use crate::net::bearer::REPLACEMENT_PAUSE;

/// A refusal is remembered for this long, for its own key alone: a loop of a refused caller does not reach the STS each time.
const REFUSAL_TTL: Duration = Duration::from_secs(5);

/// The number of values for which memory is reserved beforehand.
const RESERVED: u64 = 1_024;

/// What came of an exchange.
pub(crate) type Exchanged = Result<Arc<IssuedToken>, ExchangeError>;

/// Names one token: SHA-256 over all that it depends on, each part after its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

/// The part of a [`Key`] that is the same for all calls of one route.
#[derive(Clone)]
pub(crate) struct RouteKey(digest::Context);

impl RouteKey {
    pub(crate) fn new(sts: &Sts, route: &Route) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        part(&mut context, Some(sts.issuer().as_bytes()));
        part(&mut context, Some(sts.client_id().as_bytes()));
        part(&mut context, route.audience.as_deref().map(str::as_bytes));
        part(&mut context, route.resource.as_deref().map(str::as_bytes));
        part(&mut context, route.issued_audience.as_deref().map(str::as_bytes));
        part(&mut context, Some(route.scope.to_string().as_bytes()));
        part(&mut context, Some(TokenType::AccessToken.as_str().as_bytes()));
        Self(context)
    }

    /// The key for one user: by the inbound token itself, to the last byte of its signature, and its tenant.
    pub(crate) fn of(&self, subject: &Caller) -> Key {
        let mut context = self.0.clone();
        part(&mut context, Some(&subject.verified().digest));
        part(&mut context, subject.tenant().map(|tenant| tenant.as_str().as_bytes()));
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Key(key)
    }
}

/// The length first, so that no two lists of parts are one string of bytes; what is absent has a length that nothing has.
fn part(context: &mut digest::Context, bytes: Option<&[u8]>) {
    let length = bytes.map_or(u64::MAX, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    context.update(&length.to_le_bytes());
    context.update(bytes.unwrap_or_default());
}

/// Exchanged tokens by key, with at most one exchange under way for each.
#[derive(Debug, Clone)]
pub(crate) struct ExchangeCache {
    kept: Arc<Cache<Key, Kept>>,
    flights: Flights<Key, Exchanged>,
    /// When the token of a key was last dropped because its target had refused it.
    refused_at: Arc<Cache<Key, Timestamp>>,
    clock: Arc<dyn Clock>,
    margin: Duration,
}

#[derive(Debug, Clone)]
struct Kept {
    outcome: Result<Arc<IssuedToken>, ExchangeError>,
    until: Timestamp,
}

impl ExchangeCache {
    /// Keeps at most `capacity` outcomes, and each token until `margin` before its death.
    pub(crate) fn new(capacity: u64, margin: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { kept: bounded(capacity), flights: Flights::new(), refused_at: bounded(capacity), clock, margin }
    }

    /// Drops what is kept for a key: the next call exchanges anew.
    pub(crate) fn forget(&self, key: &Key) {
        self.kept.remove(key);
    }

    /// Drops the token of a key that its target has refused. Returns whether another may be had: not where the token is itself such a
    /// replacement, and not old enough.
    pub(crate) fn refuse(&self, key: &Key, refused: &HeaderValue) -> bool {
        match self.kept.get(key).map(|kept| kept.outcome) {
            Some(Ok(token)) if token.authorization() == refused => {
                let now = self.clock.now();
                if !has_passed(self.refused_at.get(key), now, REPLACEMENT_PAUSE) {
                    return false;
                }
                self.refused_at.insert(*key, now);
                // Another flight may have landed meanwhile, whose token stays.
                self.kept
                    .remove_if(key, |kept| kept.outcome.as_ref().is_ok_and(|token| token.authorization() == refused));
                metrics::counter!("sts_client_cache_total", "result" => "refused_by_target").increment(1);
                true
            }
            // Another call has replaced it already, or does so now.
            Some(Ok(_)) | None => true,
            Some(Err(_)) => false,
        }
    }

    /// The outcome for that key: a kept one, or that of `exchange`, which runs at most once at a time for one key.
    pub(crate) async fn get<F>(&self, key: Key, subject: &Caller, exchange: impl FnOnce() -> F) -> Exchanged
    where
        F: Future<Output = Result<IssuedToken, ExchangeError>> + Send + 'static,
    {
        if let Some(outcome) = self.kept(&key) {
            let result = if outcome.is_ok() { "hit" } else { "refusal" };
            metrics::counter!("sts_client_cache_total", "result" => result).increment(1);
            return outcome;
        }
        metrics::counter!("sts_client_cache_total", "result" => "miss").increment(1);
        let flight = self.flights.join(&key, || {
            let (cache, exchange, subject_dies_at) = (self.clone(), exchange(), subject.expires_at());
            async move {
                // Another flight may have landed between the look into the cache and the beginning of this one.
                if let Some(outcome) = cache.kept(&key) {
                    return outcome;
                }
                let outcome = exchange.await.map(Arc::new);
                cache.keep(key, &outcome, subject_dies_at);
                outcome
            }
        });
        flight.await
    }

    fn kept(&self, key: &Key) -> Option<Exchanged> {
        let kept = self.kept.get(key)?;
        let Some(left) = kept.left(self.clock.now()) else {
            // Frees its memory now, and not when its place is needed.
            self.kept.remove_if(key, |other| other.until == kept.until);
            return None;
        };
        match kept.outcome {
            Ok(token) => Some(Ok(token)),
            // More is left than there ever was when the clock was set back: then nobody knows how old the refusal is.
            Err(_) if left > REFUSAL_TTL => None,
            Err(refusal) => Some(Err(refusal)),
        }
    }

    fn keep(&self, key: Key, outcome: &Exchanged, subject_dies_at: Timestamp) {
        let now = self.clock.now();
        let (outcome, until) = match outcome {
            Ok(token) => (Ok(Arc::clone(token)), minus(token.expires_at().min(subject_dies_at), self.margin)),
            Err(refusal @ (ExchangeError::Refused { .. } | ExchangeError::WrongAudience { .. })) => {
                (Err(refusal.clone()), plus(now, REFUSAL_TTL))
            }
            Err(ExchangeError::Overloaded { .. } | ExchangeError::Outage(_) | ExchangeError::Misconfigured { .. }) => {
                return;
            }
        };
        let kept = Kept { outcome, until };
        if kept.left(now).is_some() {
            self.kept.insert(key, kept);
        }
    }
}

impl Kept {
    /// How long it may still be used; `None` when it may no more.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        Duration::try_from(now.duration_until(self.until)).ok().filter(|left| !left.is_zero())
    }
}

/// A cache of that many values, without room reserved for more than a few of them.
fn bounded<V: Clone>(capacity: u64) -> Arc<Cache<Key, V>> {
    let reserved = usize::try_from(capacity.min(RESERVED)).unwrap_or_default();
    Arc::new(Cache::with_weighter(reserved, capacity, UnitWeighter))
}

fn minus(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn plus(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;

    fn sts(issuer: &str, client_id: &str) -> Sts {
        Sts::builder(issuer, client_id, Credentials::ClientSecret("secret".into())).build().unwrap()
    }

    fn key(sts: &Sts, route: &Route) -> Vec<u8> {
        RouteKey::new(sts, route).0.finish().as_ref().to_vec()
    }

    #[test]
    fn no_part_of_a_key_runs_into_the_next_one() {
        let route = || Route::to("https://a.example/".parse().unwrap());
        let agent = sts("https://sts.example", "agent");
        let keys = [
            key(&agent, &route()),
            key(&agent, &route().audience("")),
            key(&agent, &route().audience("ab").resource("c")),
            key(&agent, &route().audience("a").resource("bc")),
            key(&agent, &route().audience("abc")),
            key(&agent, &route().resource("abc")),
            key(&agent, &route().issued_audience("abc")),
            key(&agent, &route().audience("a").scope("bc".parse().unwrap())),
            key(&agent, &route().audience("a").issued_audience("bc")),
            key(&sts("https://sts.example", "agent2"), &route()),
            key(&sts("https://sts.example2", "agent"), &route()),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn where_a_target_is_called_is_no_part_of_its_key() {
        let agent = sts("https://sts.example", "agent");
        let route = |url: &str| Route::to(url.parse().unwrap()).audience("a");
        assert_eq!(key(&agent, &route("https://a.example/")), key(&agent, &route("https://b.example/")));
    }
}
