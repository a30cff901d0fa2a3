//! The places of a listener: how many connections there are and whose, and which of them is closed for a new one.
//!
//! A connection waits for its peer (between requests, or in the middle of one), or works on a request. One that waits can be closed:
//! first the one that has been idle for longest, then the one whose peer has been slow for longest. One that works never is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::request::Parts;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::source::Proxies;
use crate::exchange::Source;
use crate::telemetry::Stopwatch;

/// How long a peer may let a connection wait in the middle of a request before the connection can be closed for another.
const SLOW: Duration = Duration::from_secs(1);
/// How long a connection that is told to leave may take before the next is told.
const LEAVES_WITHIN: Duration = Duration::from_millis(50);
/// How long new connections may find no place before the server is not ready.
const FULL_FOR: Duration = Duration::from_secs(5);
/// A phase stands in the low bits of a seat's state, and since when in the others, in microseconds.
const PHASE_BITS: u32 = 3;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    connections: usize,
    per_source: usize,
    proxies: Arc<Proxies>,
    seats: Mutex<HashMap<Source, Vec<Arc<Seat>>>>,
    watch: Stopwatch,
    full: Full,
}

/// Since when new connections have found no place. Clones are about the same listener.
#[derive(Debug, Clone)]
pub(super) struct Full {
    watch: Stopwatch,
    /// In microseconds of `watch`, and one more; zero while there are places.
    since: Arc<AtomicU64>,
}

/// A connection's place, held until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
    _permit: OwnedSemaphorePermit,
}

/// One connection, as others see it.
#[derive(Debug)]
pub(super) struct Seat {
    source: Source,
    watch: Stopwatch,
    state: AtomicU64,
    is_told: AtomicBool,
    told: Notify,
    lingers: AtomicBool,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for the first byte of a request.
    Idle,
    /// It waits for the rest of a TLS handshake.
    Handshake,
    /// It waits for the rest of a head.
    Head,
    /// It waits for the rest of a body.
    Body,
    /// The server works on a request.
    Works,
    /// It waits for its peer to take an answer.
    Answer,
}

/// A new connection, if it gets a place.
#[derive(Debug)]
pub(super) enum Admission {
    /// It may be served.
    Admitted(Place),
    /// Its source has as many as it may, and all of them are at work.
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

    /// Whether new connections have found no place for so long that others should not be sent here.
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

    /// Gives a connection its place, and closes another for it where that must be. Waits until there is a place.
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
                    tell_one(self.lock().values().flatten());
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

    /// As [`Self::admit`], without waiting.
    pub(super) fn try_admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        if self.is_source_full(peer) {
            return None;
        }
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.seat(peer, permit))
    }

    /// Returns when no connection is left.
    pub(super) async fn emptied(&self) {
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        let _all = self.free.acquire_many(all).await;
    }

    /// Whether a source has as many connections as it may, and none of them can be closed for another.
    fn is_source_full(&self, peer: IpAddr) -> bool {
        if self.proxies.trusts(peer) {
            return false;
        }
        let seats = self.lock();
        let Some(seats) = seats.get(&peer.into()) else { return false };
        seats.iter().filter(|seat| !seat.is_told()).count() >= self.per_source && !tell_one(seats)
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

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Vec<Arc<Seat>>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the connection to leave that has waited for longest, an idle one before one in the middle of a request. Whether there is one.
fn tell_one<'a>(seats: impl IntoIterator<Item = &'a Arc<Seat>>) -> bool {
    let slow_since = |seat: &Seat, since: u64| seat.now().saturating_sub(since) >= micros_of(SLOW);
    let waits = seats.into_iter().filter(|seat| !seat.is_told()).filter_map(|seat| match seat.state() {
        (Phase::Works, _) => None,
        (Phase::Idle, since) => Some((0, since, seat)),
        (Phase::Handshake | Phase::Head | Phase::Body | Phase::Answer, since) => {
            slow_since(seat, since).then_some((1, since, seat))
        }
    });
    let Some((_, _, seat)) = waits.min_by_key(|(rank, since, _)| (*rank, *since)) else { return false };
    seat.is_told.store(true, Ordering::Release);
    seat.told.notify_waiters();
    true
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
    /// The seat of the connection that a request came over.
    pub(super) fn of(head: &Parts) -> Option<&Self> {
        head.extensions.get::<Arc<Self>>().map(AsRef::as_ref)
    }

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

    /// Whether the connection is to leave.
    pub(super) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Acquire)
    }

    /// Returns when the connection is to leave.
    pub(super) async fn told(&self) {
        let mut told = std::pin::pin!(self.told.notified());
        told.as_mut().enable();
        if !self.is_told() {
            told.await;
        }
    }

    /// The rest of a request is not read: what its peer still sends is to be thrown away before the connection is closed, so that the
    /// peer gets the answer and no reset.
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
