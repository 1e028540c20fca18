//! A request's body on its way from the client to the worker.
//!
//! Until its job has a slot, what arrives is kept in a window of [`WINDOW_BYTES`]; from then on it is streamed, and no more
//! is held than one chunk. So memory grows with seats and slots, never with the length or number of uploads.
//!
//! A slot is asked for once the body is wholly in its window or arrives at [`PACE_BYTES`] a second; a body that comes more
//! slowly than that for [`PACE_WINDOW`] while a slot waits for it is broken off (semantics §6).
//!
//! Absent on purpose: what the client is told. That is `http`'s.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::policy::time::{Span, Timestamp};

/// Bytes of a body that are kept while its job waits for a slot. The last chunk may go beyond, by less than the
/// connection's read buffer.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// Bytes a second at which a body is fast enough to have a slot wait for it.
pub const PACE_BYTES: u64 = 64 * 1024;

/// How long a body may be slower than that while it holds a slot.
pub const PACE_WINDOW: Span = Span::from_secs(2);

/// Why a body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client went away.
    ClientGone,
    /// Its framing is not HTTP's.
    Malformed,
    /// It is longer than its route takes.
    TooLong {
        /// Bytes that the route takes.
        limit: u64,
    },
    /// It came too slowly.
    TooSlow,
}

impl Fault {
    /// What hyper's error says of the client: a body that can't be decoded is malformed, any other has just ended.
    fn of(error: &hyper::Error) -> Self {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
        match cause.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Malformed,
            _ => Self::ClientGone,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientGone => "the client went away before its request was complete",
            Self::Malformed => "the request's body is not framed as HTTP/1.1 frames it",
            Self::TooLong { .. } => "the request's body is too long",
            Self::TooSlow => "the request's body came too slowly",
        })
    }
}

impl std::error::Error for Fault {}

/// A body that is arriving.
#[derive(Debug)]
pub struct Upload {
    incoming: Incoming,
    window: VecDeque<Bytes>,
    buffered: usize,
    limit: u64,
    received: u64,
    length: SizeHint,
    progress: Arc<Progress>,
}

impl Upload {
    /// A body of at most `limit` bytes.
    pub fn new(incoming: Incoming, limit: u64) -> Self {
        let progress = Arc::new(Progress::default());
        if incoming.is_end_stream() {
            progress.set_complete();
        }
        let length = incoming.size_hint();
        Self {
            incoming,
            window: VecDeque::new(),
            buffered: 0,
            limit,
            received: 0,
            length,
            progress,
        }
    }

    /// How far it has come, which can be asked after it is gone.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Whether all of it has arrived.
    pub fn is_complete(&self) -> bool {
        self.progress.is_complete()
    }

    /// Whether a slot may be asked for at once: all of it has come, or a second's worth with the head.
    pub fn may_ask(&self) -> bool {
        self.is_complete() || self.buffered_bytes() >= PACE_BYTES
    }

    fn buffered_bytes(&self) -> u64 {
        u64::try_from(self.buffered).expect("a length is a u64")
    }

    /// What is left unread of it, if it has not wholly arrived.
    pub fn into_unread(self) -> Option<Incoming> {
        (!self.is_complete()).then_some(self.incoming)
    }

    /// Takes into the window what has arrived already, without waiting for more.
    ///
    /// # Errors
    /// The client is gone or the body too long.
    pub async fn take_arrived(&mut self) -> Result<(), Fault> {
        loop {
            let taken = self.buffered;
            poll_fn(|cx| self.poll_arrived(cx)).await?;
            if self.is_complete() || self.buffered == taken || self.buffered >= WINDOW_BYTES {
                return Ok(());
            }
            // hyper hands over one chunk at a time, and the end after the last: it has read more perhaps.
            tokio::task::yield_now().await;
        }
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while !self.is_complete() && self.buffered < WINDOW_BYTES {
            match self.poll_chunk(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into the window until a slot may be asked for. Cancel safe: what has arrived stays.
    ///
    /// # Errors
    /// The client is gone, the body too long, or the window full and the pace too slow.
    pub async fn until_ready(&mut self, clock: &Clock) -> Result<(), Fault> {
        let mut pace = Pace {
            bytes: self.buffered_bytes(),
            ..Pace::starting(clock.now())
        };
        while !self.is_complete() {
            if self.buffered >= WINDOW_BYTES {
                return Err(Fault::TooSlow);
            }
            let bytes = poll_fn(|cx| self.poll_chunk(cx)).await?;
            if pace.is_enough(bytes, clock.now()) {
                break;
            }
        }
        Ok(())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, Fault>> {
        let mut bytes = 0;
        match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => self.progress.set_complete(),
            Some(Err(error)) => return Poll::Ready(Err(Fault::of(&error))),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    bytes = u64::try_from(chunk.len()).expect("a length is a u64");
                    self.received += bytes;
                    if self.received > self.limit {
                        return Poll::Ready(Err(Fault::TooLong { limit: self.limit }));
                    }
                    self.buffered += chunk.len();
                    self.window.push_back(chunk);
                }
                if self.incoming.is_end_stream() {
                    self.progress.set_complete();
                }
            }
        }
        Poll::Ready(Ok(bytes))
    }

    /// From now on it is streamed to the worker, and must keep its pace.
    pub fn stream(self, clock: Clock) -> (RequestBody, Arc<Progress>) {
        let Self {
            incoming,
            window,
            limit,
            received,
            length,
            progress,
            ..
        } = self;
        let rest = (!progress.is_complete()).then_some(incoming);
        let starved = Starved {
            clock,
            bytes: 0,
            waited: Span::ZERO,
            since: None,
            alarm: None,
        };
        (
            RequestBody {
                window,
                rest,
                limit,
                received,
                length,
                starved,
                progress: Arc::clone(&progress),
            },
            progress,
        )
    }
}

/// Measures a body's pace before it has a slot, over stretches of [`PACE_WINDOW`].
#[derive(Debug)]
struct Pace {
    since: Timestamp,
    bytes: u64,
}

impl Pace {
    fn starting(now: Timestamp) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// More has arrived. Fast enough is a second's worth, at the rate.
    fn is_enough(&mut self, bytes: u64, now: Timestamp) -> bool {
        self.bytes += bytes;
        let took = now.since(self.since);
        let wanted = u128::from(PACE_BYTES) * u128::from(took.as_nanos()) / 1_000_000_000;
        let enough = self.bytes >= PACE_BYTES && u128::from(self.bytes) >= wanted;
        if took >= PACE_WINDOW {
            *self = Self::starting(now);
        }
        enough
    }
}

/// How far a body has come, for whoever waits for the worker's answer.
#[derive(Debug, Default)]
pub struct Progress {
    complete: AtomicBool,
    /// Whether the worker would take more than has come.
    waits_for_client: AtomicBool,
    fault: OnceLock<Fault>,
    changed: Notify,
}

impl Progress {
    /// Whether all of the body has arrived at the door.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Ends when all of the body has arrived at the door.
    pub async fn complete(&self) {
        while !self.is_complete() {
            self.changed.notified().await;
        }
    }

    /// Whether the worker would take more than the client has sent.
    pub fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    /// Why the body broke off, if it did.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    fn set_fault(&self, fault: Fault) -> Fault {
        *self.fault.get_or_init(|| fault)
    }
}

/// A request's body as the worker's connection takes it: the window first, then what still comes.
#[derive(Debug)]
pub struct RequestBody {
    window: VecDeque<Bytes>,
    /// `None` once it has ended.
    rest: Option<Incoming>,
    limit: u64,
    received: u64,
    length: SizeHint,
    starved: Starved,
    progress: Arc<Progress>,
}

impl RequestBody {
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            let Some(rest) = &mut self.rest else {
                return Poll::Ready(None);
            };
            let next = Pin::new(&mut *rest).poll_frame(cx);
            self.progress
                .waits_for_client
                .store(next.is_pending(), Ordering::Relaxed);
            match next {
                Poll::Pending => return self.starved.poll(cx).map(|()| Some(Err(Fault::TooSlow))),
                Poll::Ready(None) => {
                    self.rest = None;
                    self.progress.set_complete();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Fault::of(&error)))),
                Poll::Ready(Some(Ok(frame))) => {
                    let ended = rest.is_end_stream();
                    if ended {
                        self.rest = None;
                        self.progress.set_complete();
                    }
                    // Trailers are hop-by-hop here: nothing of the door's promises to carry them.
                    let Ok(chunk) = frame.into_data() else { continue };
                    let bytes = u64::try_from(chunk.len()).expect("a length is a u64");
                    self.starved.fed(bytes);
                    self.received += bytes;
                    return Poll::Ready(Some(if self.received > self.limit {
                        Err(Fault::TooLong { limit: self.limit })
                    } else {
                        Ok(chunk)
                    }));
                }
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(chunk) = self.window.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match ready!(self.poll_rest(cx)) {
            None => Poll::Ready(None),
            Some(Ok(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Err(fault)) => Poll::Ready(Some(Err(self.progress.set_fault(fault)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.window.is_empty() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
    }
}

/// Notices that the worker starves: that in [`PACE_WINDOW`] of waiting for the client less came than it should. Time in
/// which the worker itself takes nothing does not count.
struct Starved {
    clock: Clock,
    bytes: u64,
    waited: Span,
    since: Option<Timestamp>,
    alarm: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl fmt::Debug for Starved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starved")
            .field("bytes", &self.bytes)
            .field("waited", &self.waited)
            .finish_non_exhaustive()
    }
}

impl Starved {
    fn fed(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.count();
        self.alarm = None;
    }

    fn count(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited = self.waited + self.clock.now().since(since);
        }
        if self.waited >= PACE_WINDOW && self.bytes >= Self::wanted() {
            (self.waited, self.bytes) = (Span::ZERO, 0);
        }
    }

    /// Bytes that must come in each [`PACE_WINDOW`].
    fn wanted() -> u64 {
        PACE_BYTES * PACE_WINDOW.as_nanos() / 1_000_000_000
    }

    /// Nothing is there. Ready when that has lasted too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.count();
            if self.waited >= PACE_WINDOW {
                return Poll::Ready(());
            }
            let left = Span::from_nanos(PACE_WINDOW.as_nanos() - self.waited.as_nanos());
            self.since = Some(self.clock.now());
            let clock = self.clock;
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(clock.sleep(left)));
            ready!(alarm.as_mut().poll(cx));
            self.alarm = None;
        }
    }
}
