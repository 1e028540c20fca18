//! A complete body, which may be sent any number of times.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::budget::UploadRoom;
use super::spool;

/// Bytes that are read from a file at once.
const READ_BYTES: u64 = 256 << 10;

/// A complete body. It takes up its room until the last copy of it, and of what is sent of it, is dropped.
#[derive(Clone, Debug, Default)]
pub struct ReceivedBody {
    content: Content,
    bytes: u64,
    /// `None` if it takes up none.
    _room: Option<Arc<UploadRoom>>,
}

#[derive(Clone, Debug)]
enum Content {
    Memory(Arc<[Bytes]>),
    Spool(Arc<File>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Memory(Arc::new([]))
    }
}

impl ReceivedBody {
    pub(super) fn in_memory(parts: Vec<Bytes>, room: Option<UploadRoom>) -> Self {
        Self {
            bytes: parts.iter().map(|part| part.len() as u64).sum(),
            content: Content::Memory(parts.into()),
            _room: room.map(Arc::new),
        }
    }

    pub(super) fn in_file(file: Arc<File>, bytes: u64, room: UploadRoom) -> Self {
        Self {
            content: Content::Spool(file),
            bytes,
            _room: Some(Arc::new(room)),
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Sends it from its beginning.
    pub fn replay(&self) -> Replay {
        Replay {
            body: self.clone(),
            at: 0,
            part: 0,
            reading: None,
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send + Sync>>;

/// A body on its way to an upstream server.
pub struct Replay {
    body: ReceivedBody,
    /// Bytes that were handed over.
    at: u64,
    /// Parts in memory that were handed over.
    part: usize,
    reading: Option<Reading>,
}

impl Replay {
    fn read_on(&mut self, file: &Arc<File>, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let reading = self.reading.get_or_insert_with(|| {
            let max = usize::try_from((self.body.bytes - self.at).min(READ_BYTES)).expect("at most READ_BYTES");
            let (file, at) = (Arc::clone(file), self.at);
            Box::pin(spool::read_at(file, at, max))
        });
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(read)
    }
}

impl Body for Replay {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at == self.body.bytes {
            return Poll::Ready(None);
        }
        let read = match self.body.content.clone() {
            Content::Memory(parts) => {
                self.part += 1;
                Ok(parts[self.part - 1].clone())
            }
            Content::Spool(file) => ready!(self.read_on(&file, cx)),
        };
        if let Ok(part) = &read {
            self.at += part.len() as u64;
        }
        Poll::Ready(Some(read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.body.bytes
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.bytes - self.at)
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("body", &self.body)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
