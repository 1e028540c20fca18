//! A request's body as the connection to the upstream server reads it: a complete one of a metered request, or one that is
//! streamed as it arrives.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tracing::error;

use crate::upload::{ReceivedBody, Replay, UploadError, UploadProgress};

/// The most that is read of an unwanted body that came with its head, save for the connection's read buffer.
const UNWANTED_BYTES_MAX: usize = 256 << 10;

/// What an error of a client's body means: one that can't be decoded is malformed; for any other the client is gone.
pub fn fault_of(error: &hyper::Error) -> UploadError {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => UploadError::Malformed,
        _ => UploadError::ClientGone,
    }
}

/// Reads an unwanted body as far as it came with its head, and discards it. Returns whether that was all.
pub async fn has_arrived(mut body: Incoming) -> bool {
    let mut read = 0;
    let mut quiet = false;
    while !body.is_end_stream() && read < UNWANTED_BYTES_MAX {
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

/// A request's body on its way to an upstream server.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    /// Complete when all of it was handed over.
    progress: Arc<UploadProgress>,
}

#[derive(Debug)]
enum Source {
    Received(Replay),
    Streamed(Streamed),
}

/// A body that is sent on as it arrives.
#[derive(Debug)]
struct Streamed {
    /// `None` once it has ended.
    rest: Option<Incoming>,
    limit: u64,
    received: u64,
    length: SizeHint,
}

impl RequestBody {
    /// A complete body.
    pub fn received(body: &ReceivedBody) -> Self {
        let progress = Arc::new(UploadProgress::default());
        if body.is_empty() {
            progress.set_complete();
        }
        Self {
            source: Source::Received(body.replay()),
            progress,
        }
    }

    /// A body of at most `limit` bytes, as it arrives.
    pub fn streamed(incoming: Incoming, limit: u64) -> Self {
        let progress = Arc::new(UploadProgress::default());
        if incoming.is_end_stream() {
            progress.set_complete();
        }
        let streamed = Streamed {
            length: incoming.size_hint(),
            rest: (!incoming.is_end_stream()).then_some(incoming),
            limit,
            received: 0,
        };
        Self {
            source: Source::Streamed(streamed),
            progress,
        }
    }

    /// Its progress, which outlives it.
    pub fn progress(&self) -> &Arc<UploadProgress> {
        &self.progress
    }

    fn poll_received(replay: &mut Replay, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
        let frame = ready!(Pin::new(replay).poll_frame(cx));
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) => Ok(frame.into_data().expect("it has no trailers")),
            Err(error) => {
                error!(%error, "can't read an upload back from its file");
                Err(UploadError::TooMany)
            }
        }))
    }
}

impl Streamed {
    fn poll_next(
        &mut self,
        progress: &UploadProgress,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, UploadError>>> {
        loop {
            let Some(rest) = &mut self.rest else {
                return Poll::Ready(None);
            };
            let next = Pin::new(&mut *rest).poll_frame(cx);
            progress.set_waits_for_client(next.is_pending());
            match ready!(next) {
                None => {
                    self.rest = None;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(fault_of(&error)))),
                Some(Ok(frame)) => {
                    if rest.is_end_stream() {
                        self.rest = None;
                    }
                    // Trailers are hop-by-hop here: tiergate never promises to forward them.
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.received += chunk.len() as u64;
                    progress.set_received(self.received);
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
        let Self { source, progress } = &mut *self;
        let next = ready!(match source {
            Source::Received(replay) => Self::poll_received(replay, cx),
            Source::Streamed(streamed) => streamed.poll_next(progress, cx),
        });
        if self.is_end_stream() {
            self.progress.set_complete();
        }
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data).map_err(|fault| self.progress.set_fault(fault))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Received(replay) => replay.is_end_stream(),
            Source::Streamed(streamed) => streamed.rest.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Received(replay) => replay.size_hint(),
            Source::Streamed(streamed) => streamed.length,
        }
    }
}
