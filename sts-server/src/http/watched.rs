//! The stream of a connection, which reports reads and writes to its seat.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::places::{Phase, Seat};
use crate::config::Limits;

/// The time for which a peer may continue to send after its request was answered unread.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// The number of bytes that the peer may send in that time.
const LINGER_BYTES: usize = 2 * Limits::BODY_BYTES;

/// A stream, and the seat of its connection.
pub(super) struct Watched<S> {
    stream: S,
    seat: Arc<Seat>,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, seat: Arc<Seat>) -> Self {
        Self { stream, seat, lingering: None }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Discards the bytes that the peer still sends, up to the limits.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (deadline, left) =
            self.lingering.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER_TIME)), LINGER_BYTES));
        while *left > 0 && deadline.as_mut().poll(context).is_pending() {
            let mut space = [0; 1024];
            let mut space = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut space));
            if read.is_err() || space.filled().is_empty() {
                break;
            }
            *left = left.saturating_sub(space.filled().len());
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = space.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, space));
        if space.filled().len() > before {
            self.seat.enter_from(Phase::Idle, Phase::Head);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.seat.enter_from(Phase::Answer, Phase::Answer);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces));
        self.seat.enter_from(Phase::Answer, Phase::Answer);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written a complete response.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.seat.enter_from(Phase::Answer, Phase::Idle);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        if self.seat.lingers() {
            ready!(self.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }
}
