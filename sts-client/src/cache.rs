//! Exchanged tokens, cached until shortly before they expire.
//!
//! The key covers everything that a token depends on, so that no caller receives another caller's
//! token. The cache keeps tokens, and for a few seconds refusals. It never keeps an outage: only
//! the callers that waited for the same request share it.

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

use crate::call::{CallContext, Caller, OnApproval, RequestedDetails, Route};
use crate::exchange::{ExchangeError, IssuedToken, Sts};
use crate::net::Flights;
use crate::net::bearer::REPLACEMENT_PAUSE;

/// The time for which a refusal is cached, under its own key only. A refused caller in a loop does
/// not reach the STS each time.
const REFUSAL_TTL: Duration = Duration::from_secs(5);

/// The number of values for which memory is reserved in advance.
const RESERVED: u64 = 1_024;

/// The result of an exchange.
pub(crate) type Exchanged = Result<Arc<IssuedToken>, ExchangeError>;

/// The identity of one cached token: SHA-256 over everything that the token depends on, each part
/// after its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

/// The part of a [`Key`] that is the same for all calls of one route.
#[derive(Clone)]
pub(crate) struct RouteKey {
    parts: digest::Context,
    details: RequestedDetails,
}

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
        // A call that reports an approval never joins a call that waits for one.
        part(&mut context, (route.on_approval == OnApproval::Wait).then_some(b"wait".as_slice()));
        part(&mut context, sts.prover_for(route).map(|prover| prover.jkt().as_bytes()));
        Self { parts: context, details: RequestedDetails::new(route.authorization_details.clone()) }
    }

    /// Returns the key for one user and the authorization details that a call requests: by the whole
    /// inbound token, with its signature, and its tenant.
    pub(crate) fn of(&self, subject: &Caller, call: &CallContext) -> Key {
        let mut context = self.parts.clone();
        part(&mut context, call.details().unwrap_or(&self.details).text().map(str::as_bytes));
        part(&mut context, Some(&subject.verified().digest));
        part(&mut context, subject.tenant().map(|tenant| tenant.as_str().as_bytes()));
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Key(key)
    }
}

/// Hashes the length before the bytes, so that no two lists of parts give the same input. An absent
/// part has a length that no real part has.
fn part(context: &mut digest::Context, bytes: Option<&[u8]>) {
    let length = bytes.map_or(u64::MAX, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    context.update(&length.to_le_bytes());
    context.update(bytes.unwrap_or_default());
}

/// Exchanged tokens by key, with at most one exchange in progress for each key.
#[derive(Debug, Clone)]
pub(crate) struct ExchangeCache {
    kept: Arc<Cache<Key, Kept>>,
    flights: Flights<Key, Exchanged>,
    /// The time at which the token of a key was last dropped because its target refused it.
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
    /// Makes a cache of at most `capacity` results. A token is used until `margin` before it
    /// expires.
    pub(crate) fn new(capacity: u64, margin: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { kept: bounded(capacity), flights: Flights::new(), refused_at: bounded(capacity), clock, margin }
    }

    /// Drops the cached result of a key. The next call exchanges again.
    pub(crate) fn forget(&self, key: &Key) {
        self.kept.remove(key);
    }

    /// Drops the token of a key if it is bound to a client certificate that has been replaced: the
    /// agent can no longer prove it.
    pub(crate) async fn drop_unprovable(&self, key: &Key, sts: &Sts) {
        if let Some(Ok(token)) = self.kept(key)
            && !sts.still_holds(token.certificate().map(AsRef::as_ref)).await
        {
            self.drop_token(key, &token.authorization());
        }
    }

    /// Drops the token of a key, unless another flight has replaced it.
    fn drop_token(&self, key: &Key, dropped: &HeaderValue) {
        self.kept.remove_if(key, |kept| kept.outcome.as_ref().is_ok_and(|token| token.authorization() == dropped));
    }

    /// Drops the token of a key after its target refused it. Returns true if the caller may request
    /// another token. Returns false if the refused token is itself a recent replacement.
    pub(crate) fn refuse(&self, key: &Key, refused: &HeaderValue) -> bool {
        match self.kept.get(key).map(|kept| kept.outcome) {
            Some(Ok(token)) if token.authorization() == refused => {
                let now = self.clock.now();
                if !has_passed(self.refused_at.get(key), now, REPLACEMENT_PAUSE) {
                    return false;
                }
                self.refused_at.insert(*key, now);
                self.drop_token(key, refused);
                metrics::counter!("sts_client_cache_total", "result" => "refused_by_target").increment(1);
                true
            }
            // Another call has replaced the token already, or is replacing it now.
            Some(Ok(_)) | None => true,
            Some(Err(_)) => false,
        }
    }

    /// Returns the cached result of that key, or runs `exchange`, at most once at a time for each
    /// key.
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
                // Another flight may have finished between the cache lookup and the start of this
                // flight.
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
            // Free the memory now, not when the cache needs the place.
            self.kept.remove_if(key, |other| other.until == kept.until);
            return None;
        };
        match kept.outcome {
            Ok(token) => Some(Ok(token)),
            // The clock was set back if more time is left than the TTL. The age of the refusal is
            // then unknown.
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
            // The call passes as soon as a person has granted the approval.
            Err(
                ExchangeError::ApprovalRequired(_)
                | ExchangeError::Overloaded { .. }
                | ExchangeError::Outage(_)
                | ExchangeError::Misconfigured { .. },
            ) => return,
        };
        let kept = Kept { outcome, until };
        if kept.left(now).is_some() {
            self.kept.insert(key, kept);
        }
    }
}

impl Kept {
    /// Returns the time for which the result may still be used; `None` after that.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        Duration::try_from(now.duration_until(self.until)).ok().filter(|left| !left.is_zero())
    }
}

/// Makes a cache for `capacity` values. Reserves memory for at most [`RESERVED`] of them.
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
        RouteKey::new(sts, route).parts.finish().as_ref().to_vec()
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
            key(&agent, &route().on_approval(OnApproval::Wait)),
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
