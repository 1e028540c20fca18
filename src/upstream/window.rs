//! The window between an upstream server that answers and a client that reads: at most [`WINDOW_BYTES`], so that a slot is free
//! when the server's message ends, not when the client has read it (rules §6).
//!
//! One side puts chunks in and waits for space; the other takes them out. Each notices when the other is gone.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// Bytes of an answer that are kept for a client that reads more slowly than the server writes. The last chunk may exceed it by
/// less than the connection's read buffer.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// A window, open.
pub(super) fn open() -> (Inlet, Outlet) {
    let state = Arc::new(Mutex::new(WindowState::default()));
    (
        Inlet {
            state: Arc::clone(&state),
        },
        Outlet { state },
    )
}

#[derive(Debug, Default)]
struct WindowState {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<StreamEnd>,
    reader_gone: bool,
    /// The waker of the task that waits for a chunk.
    reader_waker: Option<Waker>,
    /// The waker of the task that waits for space, or for the outlet to be dropped.
    writer_waker: Option<Waker>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    Complete,
    BrokenOff,
}

/// The server's side. Dropping it without [`Inlet::end`] ends the answer early.
#[derive(Debug)]
pub(super) struct Inlet {
    state: Arc<Mutex<WindowState>>,
}

impl Inlet {
    /// Puts a chunk in, even if the window is full. The chunk is discarded if the outlet is gone.
    pub(super) fn put(&self, chunk: Bytes) {
        let mut state = self.state.lock();
        if state.reader_gone {
            return;
        }
        state.bytes += chunk.len();
        state.chunks.push_back(chunk);
        let reader_waker = state.reader_waker.take();
        drop(state);
        wake(reader_waker);
    }

    /// Completes when there is space or the outlet is gone. Returns whether the outlet is still there.
    pub(super) async fn room(&self) -> bool {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.reader_gone || state.bytes < WINDOW_BYTES {
                return Poll::Ready(!state.reader_gone);
            }
            state.writer_waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Completes when the outlet is gone.
    pub(super) async fn reader_gone(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.reader_gone {
                return Poll::Ready(());
            }
            state.writer_waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The answer is complete.
    pub(super) fn end(self) {
        self.finish(StreamEnd::Complete);
    }

    fn finish(&self, end: StreamEnd) {
        let mut state = self.state.lock();
        state.end.get_or_insert(end);
        let reader_waker = state.reader_waker.take();
        drop(state);
        wake(reader_waker);
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.finish(StreamEnd::BrokenOff);
    }
}

/// The client's side.
#[derive(Debug)]
pub(super) struct Outlet {
    state: Arc<Mutex<WindowState>>,
}

impl Outlet {
    /// The next chunk; `None` at the end; an error if the answer ended early.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut state = self.state.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            state.bytes -= chunk.len();
            let writer_waker = if state.bytes < WINDOW_BYTES {
                state.writer_waker.take()
            } else {
                None
            };
            drop(state);
            wake(writer_waker);
            return Poll::Ready(Some(Ok(chunk)));
        }
        match state.end {
            Some(StreamEnd::Complete) => Poll::Ready(None),
            Some(StreamEnd::BrokenOff) => Poll::Ready(Some(Err(BrokenOff))),
            None => {
                state.reader_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether the end has been reached and nothing is left.
    pub(super) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        state.end == Some(StreamEnd::Complete) && state.chunks.is_empty()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.reader_gone = true;
        state.chunks.clear();
        state.bytes = 0;
        let writer_waker = state.writer_waker.take();
        drop(state);
        wake(writer_waker);
    }
}

/// The upstream server's answer ended early after its head was sent: the client's connection must be aborted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the upstream server's answer ended early")
    }
}

impl std::error::Error for BrokenOff {}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
