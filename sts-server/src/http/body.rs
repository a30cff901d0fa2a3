//! The body of a request, read into one buffer with limits on size, pieces, memory and time.

use std::ops::Deref;
use std::time::Duration;

use axum::body::Body;
use bytes::Buf as _;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt as _;

use super::memory::{Lease, RequestMemory};
use super::peer::Peer;
use super::places::Phase;
use crate::config::Limits;

/// The maximum number of pieces of a body. A piece costs some hundred times the cost of its bytes.
/// The sender chooses the number: each chunk of the chunked coding is a piece.
const MAX_PIECES: usize = 1024;
/// The number of pieces that may have any size.
const ANY_PIECES: usize = 64;
/// The minimum average size of a piece, if there are more than [`ANY_PIECES`].
const PIECE_BYTES: usize = 64;

/// A complete body, with its lease of memory.
#[derive(Debug, Default)]
pub(super) struct HeldBody {
    bytes: Vec<u8>,
    lease: Lease,
}

/// The reason why a body was not read completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// The body is longer than [`Limits::BODY_BYTES`].
    TooLarge,
    /// The body ends early, is malformed, or comes in too many pieces.
    Malformed,
    /// The body does not arrive in time, or its connection is closed to admit another.
    TooSlow,
    /// Other bodies hold the memory.
    NoMemory,
}

impl Deref for HeldBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body. Leases the memory before the first byte. If the length is not announced, it leases
/// memory before it reads beyond [`Limits::OWN_BODY_BYTES`].
pub(super) async fn read(
    memory: &RequestMemory,
    headers: &HeaderMap,
    peer: &Peer,
    body: Body,
    patience: Duration,
) -> Result<HeldBody, BodyFault> {
    let announced = announced_length(headers).unwrap_or_default();
    let begun = match memory.lease(announced) {
        _ if announced > Limits::BODY_BYTES => Err(BodyFault::TooLarge),
        Some(lease) => Ok(HeldBody { bytes: Vec::with_capacity(announced), lease }),
        None => Err(BodyFault::NoMemory),
    };
    let read =
        async { tokio::time::timeout(patience, collect(memory, begun?, body)).await.or(Err(BodyFault::TooSlow))? };
    let Some(seat) = peer.seat() else { return read.await };
    seat.enter(Phase::Body);
    let read = tokio::select! {
        biased;
        read = read => read,
        () = seat.told() => Err(BodyFault::TooSlow),
    };
    seat.enter(Phase::Works);
    if read.is_err() {
        seat.linger();
    }
    read
}

/// Marks the body as unread: the request is answered without it.
pub(super) fn leave(peer: &Peer) {
    if let Some(seat) = peer.seat() {
        seat.linger();
    }
}

/// Copies and drops every piece at once, because a piece keeps its whole read buffer alive.
async fn collect(memory: &RequestMemory, mut held: HeldBody, mut body: Body) -> Result<HeldBody, BodyFault> {
    let (mut pieces, mut room) = (0, held.bytes.capacity().max(Limits::OWN_BODY_BYTES));
    while let Some(frame) = body.frame().await {
        // Trailers count as pieces without bytes.
        let piece = frame.or(Err(BodyFault::Malformed))?.into_data().unwrap_or_default();
        let length = held.bytes.len() + piece.remaining();
        pieces += 1;
        if length > Limits::BODY_BYTES {
            return Err(BodyFault::TooLarge);
        }
        if pieces > MAX_PIECES || (pieces > ANY_PIECES && length < pieces * PIECE_BYTES) {
            return Err(BodyFault::Malformed);
        }
        if length > room {
            room = Limits::BODY_BYTES;
            held.lease = memory.lease(room).ok_or(BodyFault::NoMemory)?;
            held.bytes.reserve_exact(room - held.bytes.len());
        }
        held.bytes.extend_from_slice(&piece);
    }
    Ok(held)
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
