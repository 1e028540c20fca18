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
    let pane = Arc::new(Mutex::new(Pane::default()));
    (
        Inlet {
            pane: Arc::clone(&pane),
        },
        Outlet { pane },
    )
}

#[derive(Debug, Default)]
struct Pane {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    end: Option<StreamEnd>,
    outlet_gone: bool,
    /// The waker of the task that waits for a chunk.
    taker: Option<Waker>,
    /// The waker of the task that waits for space, or for the outlet to be dropped.
    putter: Option<Waker>,
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
    pane: Arc<Mutex<Pane>>,
}

impl Inlet {
    /// Puts a chunk in, even if the window is full. The chunk is discarded if the outlet is gone.
    pub(super) fn put(&self, chunk: Bytes) {
        let mut pane = self.pane.lock();
        if pane.outlet_gone {
            return;
        }
        pane.bytes += chunk.len();
        pane.chunks.push_back(chunk);
        let taker = pane.taker.take();
        drop(pane);
        wake(taker);
    }

    /// Completes when there is space or the outlet is gone. Returns whether the outlet is still there.
    pub(super) async fn room(&self) -> bool {
        poll_fn(|cx| {
            let mut pane = self.pane.lock();
            if pane.outlet_gone || pane.bytes < WINDOW_BYTES {
                return Poll::Ready(!pane.outlet_gone);
            }
            pane.putter = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Completes when the outlet is gone.
    pub(super) async fn outlet_gone(&self) {
        poll_fn(|cx| {
            let mut pane = self.pane.lock();
            if pane.outlet_gone {
                return Poll::Ready(());
            }
            pane.putter = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The answer is complete.
    pub(super) fn end(self) {
        self.finish(StreamEnd::Complete);
    }

    fn finish(&self, end: StreamEnd) {
        let mut pane = self.pane.lock();
        pane.end.get_or_insert(end);
        let taker = pane.taker.take();
        drop(pane);
        wake(taker);
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
    pane: Arc<Mutex<Pane>>,
}

impl Outlet {
    /// The next chunk; `None` at the end; an error if the answer ended early.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut pane = self.pane.lock();
        if let Some(chunk) = pane.chunks.pop_front() {
            pane.bytes -= chunk.len();
            let putter = if pane.bytes < WINDOW_BYTES {
                pane.putter.take()
            } else {
                None
            };
            drop(pane);
            wake(putter);
            return Poll::Ready(Some(Ok(chunk)));
        }
        match pane.end {
            Some(StreamEnd::Complete) => Poll::Ready(None),
            Some(StreamEnd::BrokenOff) => Poll::Ready(Some(Err(BrokenOff))),
            None => {
                pane.taker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether the end has been reached and nothing is left.
    pub(super) fn is_drained(&self) -> bool {
        let pane = self.pane.lock();
        pane.end == Some(StreamEnd::Complete) && pane.chunks.is_empty()
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut pane = self.pane.lock();
        pane.outlet_gone = true;
        pane.chunks.clear();
        pane.bytes = 0;
        let putter = pane.putter.take();
        drop(pane);
        wake(putter);
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
