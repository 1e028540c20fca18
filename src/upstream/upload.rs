//! A request's body on its way from the client to the upstream server.
//!
//! Until its job has a slot, received data is kept in a window of [`WINDOW_BYTES`]; from then on it is streamed, and no more than
//! one chunk is held. So memory grows with queue places and slots, never with the length or number of uploads.
//!
//! A job asks for a slot once its body is completely in the window or arrives at [`PACE_BYTES`] a second. A body that is slower
//! for [`PACE_WINDOW`](super::pace::PACE_WINDOW) while a slot waits for it is aborted (rules §6).

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::pace::{PACE_BYTES, Pace, Starved};
use crate::clock::Clock;

/// Bytes of a body that are kept while its job waits for a slot. The last chunk may exceed it by less than the connection's read
/// buffer.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// Why a body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadError {
    /// The client went away.
    ClientGone,
    /// Its framing is invalid.
    Malformed,
    /// It is longer than its route allows.
    TooLong {
        /// The most bytes that the route allows.
        limit: u64,
    },
    /// It arrived too slowly.
    TooSlow,
}

impl UploadError {
    /// Classifies hyper's error: a body that can't be decoded is malformed; any other error means that the client is gone.
    fn of(error: &hyper::Error) -> Self {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
        match cause.map(io::Error::kind) {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Malformed,
            _ => Self::ClientGone,
        }
    }
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientGone => "the client closed the connection before its request was complete",
            Self::Malformed => "the request's body has invalid HTTP/1.1 framing",
            Self::TooLong { .. } => "the request's body is too long",
            Self::TooSlow => "the request's body arrived too slowly",
        })
    }
}

impl std::error::Error for UploadError {}

/// A body that is arriving.
#[derive(Debug)]
pub struct Upload {
    incoming: Incoming,
    window: BufferedChunks,
    buffered: usize,
    limit: u64,
    received: u64,
    length: SizeHint,
    progress: Arc<UploadProgress>,
}

impl Upload {
    /// A body of at most `limit` bytes.
    pub fn new(incoming: Incoming, limit: u64) -> Self {
        let progress = Arc::new(UploadProgress::default());
        if incoming.is_end_stream() {
            progress.set_complete();
        }
        let length = incoming.size_hint();
        Self {
            incoming,
            window: BufferedChunks::default(),
            buffered: 0,
            limit,
            received: 0,
            length,
            progress,
        }
    }

    /// The body's progress, which outlives the body.
    pub fn progress(&self) -> &Arc<UploadProgress> {
        &self.progress
    }

    /// Whether all of it has arrived.
    pub fn is_complete(&self) -> bool {
        self.progress.is_complete()
    }

    /// Whether the job may ask for a slot at once: the body is complete, or a second's worth came with the head.
    pub fn may_ask(&self) -> bool {
        self.is_complete() || self.buffered_bytes() >= PACE_BYTES
    }

    fn buffered_bytes(&self) -> u64 {
        u64::try_from(self.buffered).expect("a length is a u64")
    }

    /// The unread rest, if the body has not completely arrived.
    pub fn into_unread(self) -> Option<Incoming> {
        (!self.is_complete()).then_some(self.incoming)
    }

    /// Reads what has already arrived into the window, without waiting for more. It reads no more than is needed to ask for a
    /// slot, since the request isn't admitted yet.
    ///
    /// # Errors
    /// The client is gone or the body is too long.
    pub async fn take_arrived(&mut self) -> Result<(), UploadError> {
        loop {
            let taken = self.buffered;
            poll_fn(|cx| self.poll_arrived(cx)).await?;
            if self.may_ask() || self.buffered == taken {
                return Ok(());
            }
            // hyper hands over one chunk at a time, and the end after the last: it may have read more.
            tokio::task::yield_now().await;
        }
    }

    fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        while !self.may_ask() {
            match self.poll_chunk(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into the window until the job may ask for a slot. Cancel safe: received data stays.
    ///
    /// # Errors
    /// The client is gone, the body is too long, or the window is full and the pace too slow.
    pub async fn until_ready(&mut self, clock: &Clock) -> Result<(), UploadError> {
        let mut pace = Pace::starting(clock.now(), self.buffered_bytes());
        while !self.is_complete() {
            if self.buffered >= WINDOW_BYTES {
                return Err(UploadError::TooSlow);
            }
            let bytes = poll_fn(|cx| self.poll_chunk(cx)).await?;
            if pace.is_enough(bytes, clock.now()) {
                break;
            }
        }
        Ok(())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, UploadError>> {
        let mut bytes = 0;
        match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            None => self.progress.set_complete(),
            Some(Err(error)) => return Poll::Ready(Err(self.progress.set_fault(UploadError::of(&error)))),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    bytes = u64::try_from(chunk.len()).expect("a length is a u64");
                    self.received += bytes;
                    self.progress.received.store(self.received, Ordering::Relaxed);
                    if self.received > self.limit {
                        return Poll::Ready(Err(self.progress.set_fault(UploadError::TooLong { limit: self.limit })));
                    }
                    self.buffered += chunk.len();
                    self.window.push(chunk);
                }
                if self.incoming.is_end_stream() {
                    self.progress.set_complete();
                }
            }
        }
        Poll::Ready(Ok(bytes))
    }

    /// Streams the body to the upstream server from now on. If `paced`, a slot waits for it and it must keep its pace.
    pub fn stream(self, clock: Clock, paced: bool) -> (RequestBody, Arc<UploadProgress>) {
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
        let starved = paced.then(|| Starved::new(clock));
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

/// Chunks shorter than this are copied together: a chunk of one byte would keep its whole read buffer alive.
const SMALL_BYTES: usize = 4 * 1024;

/// Buffered parts of a body, in memory proportional to its length, however small the pieces in which it arrived.
#[derive(Debug, Default)]
struct BufferedChunks {
    chunks: VecDeque<Bytes>,
    /// Small chunks, which follow all of those.
    small: BytesMut,
}

impl BufferedChunks {
    fn push(&mut self, chunk: Bytes) {
        if chunk.len() < SMALL_BYTES {
            self.small.extend_from_slice(&chunk);
            return;
        }
        if !self.small.is_empty() {
            self.chunks.push_back(self.small.split().freeze());
        }
        self.chunks.push_back(chunk);
    }

    fn pop(&mut self) -> Option<Bytes> {
        let small = || (!self.small.is_empty()).then(|| std::mem::take(&mut self.small).freeze());
        self.chunks.pop_front().or_else(small)
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.small.is_empty()
    }
}

/// Reads an unwanted body as far as it came with its head, and discards it. Returns whether that was all.
pub async fn has_arrived(mut body: Incoming) -> bool {
    let mut read = 0;
    let mut quiet = false;
    while !body.is_end_stream() && read < WINDOW_BYTES {
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await {
            Poll::Ready(None) => return true,
            Poll::Ready(Some(Err(_))) => return false,
            Poll::Ready(Some(Ok(frame))) => {
                read += frame.data_ref().map_or(0, Bytes::len);
                quiet = false;
            }
            Poll::Pending if quiet => return false,
            Poll::Pending => {
                // hyper hands over one chunk at a time, and the end after the last: it may have read more.
                quiet = true;
                tokio::task::yield_now().await;
            }
        }
    }
    body.is_end_stream()
}

/// The progress of a body, for the task that waits for the upstream server's answer.
#[derive(Debug, Default)]
pub struct UploadProgress {
    complete: AtomicBool,
    /// Bytes of the body that were read.
    received: AtomicU64,
    /// Whether the server would read more than has arrived.
    waits_for_client: AtomicBool,
    fault: OnceLock<UploadError>,
    changed: Notify,
}

impl UploadProgress {
    /// Whether the body has completely arrived.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Completes when the body has completely arrived.
    pub async fn complete(&self) {
        while !self.is_complete() {
            self.changed.notified().await;
        }
    }

    /// Bytes of the body that were read from the client.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the upstream server would read more than the client has sent.
    pub fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Ordering::Relaxed)
    }

    /// Why the body broke off, if it did.
    pub fn fault(&self) -> Option<UploadError> {
        self.fault.get().copied()
    }

    fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    fn set_fault(&self, fault: UploadError) -> UploadError {
        *self.fault.get_or_init(|| fault)
    }
}

/// A request's body as the connection to the upstream server reads it: the window first, then the stream.
#[derive(Debug)]
pub struct RequestBody {
    window: BufferedChunks,
    /// `None` once it has ended.
    rest: Option<Incoming>,
    limit: u64,
    received: u64,
    length: SizeHint,
    /// Set if a slot waits for it.
    starved: Option<Starved>,
    progress: Arc<UploadProgress>,
}

impl RequestBody {
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
        loop {
            let Some(rest) = &mut self.rest else {
                return Poll::Ready(None);
            };
            let next = Pin::new(&mut *rest).poll_frame(cx);
            self.progress
                .waits_for_client
                .store(next.is_pending(), Ordering::Relaxed);
            match next {
                Poll::Pending => {
                    let Some(starved) = &mut self.starved else {
                        return Poll::Pending;
                    };
                    return starved.poll(cx).map(|()| Some(Err(UploadError::TooSlow)));
                }
                Poll::Ready(None) => {
                    self.rest = None;
                    self.progress.set_complete();
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(UploadError::of(&error)))),
                Poll::Ready(Some(Ok(frame))) => {
                    let ended = rest.is_end_stream();
                    if ended {
                        self.rest = None;
                        self.progress.set_complete();
                    }
                    // Trailers are hop-by-hop here: tiergate never promises to forward them.
                    let Ok(chunk) = frame.into_data() else { continue };
                    let bytes = u64::try_from(chunk.len()).expect("a length is a u64");
                    if let Some(starved) = &mut self.starved {
                        starved.fed(bytes);
                    }
                    self.received += bytes;
                    self.progress.received.store(self.received, Ordering::Relaxed);
                    return Poll::Ready(Some(if self.received > self.limit {
                        Err(UploadError::TooLong { limit: self.limit })
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
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(chunk) = self.window.pop() {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: any client could send a body of one-byte chunks, which was buffered as that many chunks in forty times its
    /// size.
    #[test]
    fn small_pieces_are_kept_together_and_in_order() {
        let mut kept = BufferedChunks::default();
        let large = Bytes::from(vec![7; SMALL_BYTES]);
        for _ in 0..3 {
            (0..10_000_u32).for_each(|number| kept.push(Bytes::from(vec![number as u8])));
            kept.push(large.clone());
        }
        kept.push(Bytes::from_static(b"the end"));
        assert_eq!(
            kept.chunks.len(),
            6,
            "one for each run of small ones, and the large ones"
        );
        let small: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        for _ in 0..3 {
            assert_eq!(kept.pop().as_deref(), Some(&small[..]));
            assert_eq!(kept.pop(), Some(large.clone()));
        }
        assert_eq!(kept.pop().as_deref(), Some(&b"the end"[..]));
        assert_eq!((kept.pop(), kept.is_empty()), (None, true));
    }
}
