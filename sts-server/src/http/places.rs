//! The places of a listener: the number of connections of each source, and the choice of the
//! connection that is closed to admit another.
//!
//! A connection either waits for its peer, between or within requests, or works on a request. Only
//! a waiting connection can be closed. The choice falls on the source with the most connections,
//! there on the longest idle connection, or else on the connection with the slowest peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::source::Proxies;
use crate::rate_limits::SourceNetwork;
use crate::telemetry::Stopwatch;

/// The time that a connection may wait for its peer within a request before it can be closed for
/// another.
const SLOW: Duration = Duration::from_secs(1);
/// The time that a connection may take to close before another connection is asked to close.
const LEAVES_WITHIN: Duration = Duration::from_millis(50);
/// The time without a free place after which the server becomes unready.
const FULL_FOR: Duration = Duration::from_secs(5);
/// The number of low bits of a seat's state that hold the phase. The other bits hold its start, in
/// microseconds.
const PHASE_BITS: u32 = 3;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    connections: usize,
    per_source: usize,
    proxies: Arc<Proxies>,
    seats: Mutex<HashMap<SourceNetwork, Vec<Arc<Seat>>>>,
    watch: Stopwatch,
    full: Full,
}

/// The time since which new connections have found no place. Clones refer to the same listener.
#[derive(Debug, Clone)]
pub(super) struct Full {
    watch: Stopwatch,
    /// The microseconds of `watch` plus one; zero while there are places.
    since: Arc<AtomicU64>,
}

/// The place of a connection, released on drop.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
    _permit: OwnedSemaphorePermit,
}

/// The state of one connection that the other connections see.
#[derive(Debug)]
pub(super) struct Seat {
    source: SourceNetwork,
    watch: Stopwatch,
    state: AtomicU64,
    is_told: AtomicBool,
    told: Notify,
    lingers: AtomicBool,
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for the first byte of a request.
    Idle,
    /// Waits for the rest of a TLS handshake.
    Handshake,
    /// Waits for the rest of a head.
    Head,
    /// Waits for the rest of a body.
    Body,
    /// The server works on a request.
    Works,
    /// Waits for the peer to read a response.
    Answer,
}

/// The outcome of the admission of a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    /// The connection has a place.
    Admitted(Place),
    /// The source has the maximum number of connections, and all of them are working.
    SourceFull,
}

impl Full {
    pub(super) fn new() -> Self {
        Self { watch: Stopwatch::start(), since: Arc::default() }
    }

    fn begins(&self) {
        let _since = self.since.compare_exchange(0, micros(self.watch) + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn ends(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// Returns true if new connections have found no place for so long that the server is unready.
    pub(super) fn is_lasting(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        since > 0 && Duration::from_micros(micros(self.watch).saturating_sub(since)) > FULL_FOR
    }
}

impl Places {
    pub(super) fn new([connections, per_source]: [usize; 2], proxies: Arc<Proxies>, full: Full) -> Self {
        let free = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { free, connections, per_source, proxies, seats: Mutex::default(), watch: Stopwatch::start(), full }
    }

    /// Admits a connection, and closes another connection for it if necessary. Waits until a place
    /// is free.
    pub(super) async fn admit(self: &Arc<Self>, peer: IpAddr) -> Admission {
        let peer = peer.to_canonical();
        if self.is_source_full(peer) {
            return Admission::SourceFull;
        }
        loop {
            let permit = match Arc::clone(&self.free).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_none) => {
                    self.full.begins();
                    self.make_room(micros(self.watch));
                    let permit = Arc::clone(&self.free).acquire_owned();
                    tokio::time::timeout(LEAVES_WITHIN, permit).await.ok().and_then(Result::ok)
                }
            };
            if let Some(permit) = permit {
                self.full.ends();
                return Admission::Admitted(self.seat(peer, permit));
            }
        }
    }

    /// Admits a connection like [`Self::admit`], without waiting.
    pub(super) fn try_admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        if self.is_source_full(peer) {
            return None;
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.seat(peer, permit))
    }

    /// Resolves when no connection is left.
    pub(super) async fn emptied(&self) {
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        let _all = self.free.acquire_many(all).await;
    }

    /// Returns true if a source has the maximum number of connections and none of them can be
    /// closed. Asks the longest waiting connection to close, if there is any.
    fn is_source_full(&self, peer: IpAddr) -> bool {
        if self.proxies.trusts(peer) {
            return false;
        }
        let seats = self.lock();
        let Some(seats) = seats.get(&peer.into()) else { return false };
        if seats.iter().filter(|seat| !seat.is_told()).count() < self.per_source {
            return false;
        }
        let waiting = longest_waiting(seats, micros(self.watch));
        waiting.inspect(|seat| seat.tell());
        waiting.is_none()
    }

    /// Asks a connection of the source with the most connections to close, so that a source with
    /// few keeps them.
    fn make_room(&self, now: u64) {
        let seats = self.lock();
        let waiting = seats.values().filter_map(|seats| Some((seats.len(), longest_waiting(seats, now)?)));
        if let Some((_, seat)) = waiting.max_by_key(|(count, _)| *count) {
            seat.tell();
        }
    }

    fn seat(self: &Arc<Self>, peer: IpAddr, permit: OwnedSemaphorePermit) -> Place {
        let seat = Arc::new(Seat {
            source: peer.into(),
            watch: self.watch,
            state: AtomicU64::new(Phase::Idle as u64),
            is_told: AtomicBool::new(false),
            told: Notify::new(),
            lingers: AtomicBool::new(false),
        });
        seat.enter(Phase::Idle);
        self.lock().entry(seat.source).or_default().push(Arc::clone(&seat));
        Place { places: Arc::clone(self), seat, _permit: permit }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SourceNetwork, Vec<Arc<Seat>>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the connection that has waited for longest. Idle connections come before connections
/// within a request.
fn longest_waiting(seats: &[Arc<Seat>], now: u64) -> Option<&Arc<Seat>> {
    let waits = seats.iter().filter(|seat| !seat.is_told()).filter_map(|seat| {
        let (phase, since) = seat.state();
        let is_slow = now.saturating_sub(since) >= micros_of(SLOW);
        match phase {
            Phase::Idle => Some((Wait::Idle, since, seat)),
            Phase::Handshake | Phase::Head | Phase::Body | Phase::Answer if is_slow => Some((Wait::Slow, since, seat)),
            Phase::Handshake | Phase::Head | Phase::Body | Phase::Answer | Phase::Works => None,
        }
    });
    waits.min_by_key(|(wait, since, _)| (*wait, *since)).map(|(_, _, seat)| seat)
}

/// The kinds of waiting connections, in the order in which they are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Idle,
    Slow,
}

impl Place {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.places.lock();
        let Some(of_source) = seats.get_mut(&self.seat.source) else { return };
        of_source.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        if of_source.is_empty() {
            seats.remove(&self.seat.source);
        }
    }
}

impl Seat {
    pub(super) fn enter(&self, phase: Phase) {
        self.state.store(self.now() << PHASE_BITS | phase as u64, Ordering::Relaxed);
    }

    /// Enters `next` if the connection is in `present`.
    pub(super) fn enter_from(&self, present: Phase, next: Phase) {
        if self.phase() == present {
            self.enter(next);
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().0
    }

    fn state(&self) -> (Phase, u64) {
        let state = self.state.load(Ordering::Relaxed);
        let phases = [Phase::Idle, Phase::Handshake, Phase::Head, Phase::Body, Phase::Works, Phase::Answer];
        let is_it = |phase: &Phase| state & ((1 << PHASE_BITS) - 1) == *phase as u64;
        (phases.into_iter().find(is_it).unwrap_or(Phase::Works), state >> PHASE_BITS)
    }

    fn now(&self) -> u64 {
        micros(self.watch)
    }

    fn tell(&self) {
        self.is_told.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Returns true if the connection was asked to close.
    pub(super) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    /// Resolves when the connection is asked to close.
    pub(super) async fn told(&self) {
        let mut told = std::pin::pin!(self.told.notified());
        told.as_mut().enable();
        if !self.is_told() {
            told.await;
        }
    }

    /// Marks the rest of a request as unread. The server then discards the peer's remaining bytes
    /// before it closes the connection, so that the peer receives the response and no reset.
    pub(super) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }
}

fn micros(watch: Stopwatch) -> u64 {
    micros_of(watch.elapsed())
}

fn micros_of(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::{ForwardedHeader, Listen};

    fn places(connections: usize, per_source: usize, trusted: &[&str]) -> Arc<Places> {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listen = Listen {
            public: address,
            admin: address,
            trusted_proxies: trusted.iter().map(|network| network.parse().unwrap()).collect(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            client_certificate_header: None,
            drain_delay: Duration::ZERO,
            drain_timeout: crate::ttl::Ttl::from_minutes(1),
        };
        Arc::new(Places::new([connections, per_source], Arc::new(Proxies::new(&listen)), Full::new()))
    }

    fn source(number: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    /// Puts a seat into a phase that started at `since`, in microseconds of the watch.
    fn has_been(place: &Place, phase: Phase, since: u64) {
        place.seat.state.store(since << PHASE_BITS | phase as u64, Ordering::Relaxed);
    }

    #[tokio::test]
    async fn a_source_whose_connections_all_work_gets_no_more() {
        let places = places(9, 2, &["192.0.2.9/32"]);
        let held = [places.try_admit(source(1)).unwrap(), places.try_admit(source(1)).unwrap()];
        for place in &held {
            place.seat().enter(Phase::Works);
        }
        assert!(matches!(places.admit(source(1)).await, Admission::SourceFull));
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into();
        assert!(places.try_admit(mapped).is_none(), "the same source");
        assert!(places.try_admit(source(2)).is_some());
        let of_a_proxy: Vec<_> = (0..3).map(|_| places.try_admit(source(9)).unwrap()).collect();
        drop((held, of_a_proxy));
        assert!(places.try_admit(source(1)).is_some(), "they are given back");
    }

    #[tokio::test]
    async fn of_the_source_with_the_most_the_longest_idle_is_told_and_then_the_slowest() {
        let places = places(9, 9, &[]);
        let of_few = places.try_admit(source(1)).unwrap();
        has_been(&of_few, Phase::Idle, 0);
        let of_many: Vec<_> = (0..5).map(|_| places.try_admit(source(2)).unwrap()).collect();
        for (place, (phase, since)) in of_many.iter().zip([
            (Phase::Works, 0),
            (Phase::Body, 2),
            (Phase::Head, 1),
            (Phase::Idle, 4),
            (Phase::Idle, 3),
        ]) {
            has_been(place, phase, since);
        }
        let after = 4 + micros_of(SLOW);
        let told = || of_many.iter().map(|place| place.seat().is_told()).collect::<Vec<_>>();
        for expected in [
            [false, false, false, false, true],
            [false, false, false, true, true],
            [false, false, true, true, true],
            [false, true, true, true, true],
        ] {
            assert!(!of_few.seat().is_told());
            places.make_room(after);
            assert_eq!(told(), expected);
        }
        places.make_room(after);
        assert!(of_few.seat().is_told() && !told()[0], "what works is never told");
    }

    #[tokio::test]
    async fn the_listener_is_full_as_long_as_a_connection_waits_for_a_place() {
        let places = places(1, 9, &[]);
        let place = places.try_admit(source(1)).unwrap();
        place.seat().enter(Phase::Works);
        let waits = tokio::time::timeout(Duration::from_millis(60), places.admit(source(2))).await;
        assert!(waits.is_err(), "there is no place");
        assert!(places.full.since.load(Ordering::Relaxed) > 0 && !places.full.is_lasting());
        drop(place);
        assert!(matches!(places.admit(source(2)).await, Admission::Admitted(_)));
        assert_eq!(places.full.since.load(Ordering::Relaxed), 0);
    }
}
