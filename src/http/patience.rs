//! The write timeout: how long a client may read nothing of its answer. Timeouts for reading are set where something is read.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock::Clock;
use crate::policy::time::Span;

/// Expires when nothing could be written for `span`.
#[derive(Debug)]
pub struct Patience {
    clock: Clock,
    span: Span,
    /// Set only while writes make no progress.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// A timeout of `span`.
    pub fn new(clock: Clock, span: Span) -> Self {
        Self {
            clock,
            span,
            stalled: None,
        }
    }

    /// Passes a write's result on, or returns [`io::ErrorKind::TimedOut`] after too long without progress.
    pub fn with<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let (clock, span) = (self.clock, self.span);
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(clock.sleep(span)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A stream whose writes fail when the peer reads nothing for too long.
#[derive(Debug)]
pub struct Patient<S> {
    stream: S,
    patience: Patience,
}

impl<S> Patient<S> {
    /// The stream with this timeout.
    pub fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patience.with(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patience.with(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_write_timeout_ends_only_stalled_clients() {
        let (near, mut far) = tokio::io::duplex(1);
        let clock = Clock::start();
        let mut near = Patient::new(near, Patience::new(clock, Span::from_secs(30)));
        // One byte every 20 seconds is slow, but it is progress.
        let slow = async {
            for _ in 0..4 {
                clock.sleep(Span::from_secs(20)).await;
                far.read_u8().await.expect("a byte was written");
            }
        };
        let (written, ()) = tokio::join!(near.write_all(b"12345"), slow);
        written.expect("each byte was read in time");

        let before = clock.now();
        let error = near.write_all(b"6").await.expect_err("nothing is read any more");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = clock.now().since(before);
        assert!((30..=31).contains(&took.as_secs_ceil()), "{took}");
    }
}
