//! Single flight: concurrent requests for one result share one run.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// The work in progress, by key. All callers for one key poll one future. If the caller that
/// started it goes away, the others continue it. If the last caller goes away, the future is
/// dropped. All callers receive the same result, and it is not kept. Clones share the work in
/// progress.
pub(crate) struct Flights<K, T>(Arc<Mutex<Airborne<K, T>>>);

/// A piece of work that several callers wait for.
pub(crate) type Flight<T> = Shared<BoxFuture<'static, T>>;

struct Airborne<K, T> {
    flights: HashMap<K, (u64, WeakShared<BoxFuture<'static, T>>)>,
    begun: u64,
}

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Airborne { flights: HashMap::new(), begun: 0 })))
    }

    /// Joins the flight of that key, or starts it. `begin` makes the future and runs no work
    /// itself.
    pub(crate) fn join<F>(&self, key: &K, begin: impl FnOnce() -> F) -> Flight<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut airborne = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = airborne.flights.get(key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        airborne.begun = airborne.begun.wrapping_add(1);
        let number = airborne.begun;
        let landing = Landing { airborne: Arc::clone(&self.0), key: key.clone(), number };
        let work = begin();
        let flight = async move {
            let outcome = work.await;
            drop(landing);
            outcome
        }
        .boxed()
        .shared();
        if let Some(weak) = flight.downgrade() {
            airborne.flights.insert(key.clone(), (number, weak));
        }
        flight
    }
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, T> fmt::Debug for Flights<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

/// Removes a flight from the list when it is over: it finished, or all its callers went away.
struct Landing<K: Eq + Hash, T> {
    airborne: Arc<Mutex<Airborne<K, T>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        let mut airborne = self.airborne.lock().unwrap_or_else(PoisonError::into_inner);
        // Keep a later flight of the same key.
        if airborne.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            airborne.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt as _;
    use tokio::sync::Notify;

    use super::*;

    impl<K, T> Flights<K, T> {
        fn under_way(&self) -> usize {
            self.0.lock().unwrap().flights.len()
        }
    }

    #[tokio::test]
    async fn a_flight_goes_on_when_the_one_who_began_it_goes_away() {
        let flights: Flights<u8, u32> = Flights::new();
        let (begun, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let join = || {
            flights.join(&1, || {
                let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
                async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    gate.notified().await;
                    7
                }
            })
        };
        let mut leader = join();
        assert_eq!((&mut leader).now_or_never(), None);
        let mut waiter = join();
        assert_eq!((&mut waiter).now_or_never(), None);
        drop(leader);
        gate.notify_one();
        assert_eq!((waiter.await, begun.load(Ordering::SeqCst), flights.under_way()), (7, 1, 0));
    }

    #[tokio::test]
    async fn nothing_stays_of_a_flight_that_everybody_left() {
        let flights: Flights<u8, u32> = Flights::new();
        let mut only = flights.join(&1, std::future::pending);
        assert_eq!((&mut only).now_or_never(), None);
        drop(only);
        assert_eq!(flights.under_way(), 0);
        assert_eq!(flights.join(&1, || async { 3 }).await, 3);
    }

    #[tokio::test]
    async fn a_flight_that_ended_late_does_not_take_its_successor_off_the_list() {
        let flights: Flights<u8, u32> = Flights::new();
        let first = flights.join(&1, || async { 1 });
        let unpolled = first.clone();
        assert_eq!(first.await, 1);
        let second = flights.join(&1, std::future::pending);
        drop(unpolled);
        assert_eq!(flights.under_way(), 1);
        drop(second);
    }
}
