//! A client's connection. It sits between hyper and the socket, and notices what hyper doesn't:
//!
//! - the client closing its sending side, even while a body is unread or a pipelined request is buffered, when hyper stops
//!   reading;
//! - hyper's automatic answers to requests that it can't parse. They are suppressed, and tiergate sends its own;
//! - a refused client that still sends: its connection is closed in a way that lets it read the answer (lingering close, RFC 9112
//!   §9.6).

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::patience::Patience;
use crate::clock::Clock;
use crate::policy::time::Span;
use crate::telemetry::connections::OpenConnection;

/// Bytes that a refused client may still send before its connection is closed.
pub const LINGER_BYTES: usize = 256 * 1024;

/// How long a refused client has to read its answer and hang up.
pub const LINGER_TIME: Span = Span::from_secs(2);

/// State that the connection's task, its requests and the socket share. All of them run on one thread.
#[derive(Debug)]
pub struct Connection {
    stream: OwnedWriteHalf,
    /// Requests whose answers hyper has not completely written yet.
    answering: AtomicU32,
    /// Of these, requests whose answers hyper has completely encoded.
    encoded: AtomicU32,
    /// The status of hyper's suppressed automatic answer.
    rejected: AtomicU16,
    /// Whether part of a request's head has arrived.
    head_begun: AtomicBool,
    /// Whether the client may still be sending when the connection ends.
    linger: AtomicBool,
    counted: OpenConnection,
}

impl Connection {
    /// Wraps an accepted connection in a stream for hyper and the state that is shared with it. `ahead` are bytes that were read
    /// before. A client that reads nothing of its response for `send_timeout` is disconnected. The connection counts as active
    /// while a request is being answered, and as open until both are dropped.
    pub fn open(
        stream: TcpStream,
        ahead: Vec<u8>,
        clock: Clock,
        send_timeout: Span,
        counted: OpenConnection,
    ) -> (Socket, Arc<Self>) {
        let (read, write) = stream.into_split();
        let connection = Arc::new(Self {
            stream: write,
            answering: AtomicU32::new(0),
            encoded: AtomicU32::new(0),
            rejected: AtomicU16::new(0),
            head_begun: AtomicBool::new(false),
            linger: AtomicBool::new(false),
            counted,
        });
        (
            Socket {
                read,
                ahead: ahead.into(),
                connection: Arc::clone(&connection),
                patience: Patience::new(clock, send_timeout),
            },
            connection,
        )
    }

    fn stream(&self) -> &TcpStream {
        self.stream.as_ref()
    }

    /// Counts a request as being answered until the returned value is dropped.
    pub fn answering(self: &Arc<Self>) -> Answering {
        if self.answering.fetch_add(1, Relaxed) == 0 {
            self.counted.set_active(true);
        }
        self.head_begun.store(false, Relaxed);
        Answering(Arc::clone(self))
    }

    /// Completes when the client has hung up. Half-closed counts as hung up (rules §5.8).
    pub async fn hung_up(&self) {
        loop {
            match self.stream().ready(READ_CLOSED).await {
                // Spurious: data arrived. It isn't read here, so the readiness must be cleared, or this would spin.
                Ok(ready) if !ready.is_read_closed() => {
                    let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                    let _would_block = self.stream().try_io(READ_CLOSED, nothing);
                    tokio::task::yield_now().await;
                }
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Marks that the client may still be sending after its answer.
    pub fn linger(&self) {
        self.linger.store(true, Relaxed);
    }

    /// The status of hyper's automatic answer to what it could not parse.
    pub fn rejected(&self) -> Option<u16> {
        Some(self.rejected.load(Relaxed)).filter(|status| *status != 0)
    }

    /// Whether the client has begun a request whose head is incomplete.
    pub fn head_begun(&self) -> bool {
        self.head_begun.load(Relaxed)
    }

    /// Writes an answer of tiergate's own after hyper has ended.
    ///
    /// # Errors
    /// The client is gone, or does not read the answer within [`LINGER_TIME`].
    pub async fn write_last(&self, bytes: &[u8], clock: &Clock) -> io::Result<()> {
        self.linger();
        tokio::select! {
            written = self.write_all(bytes) => written,
            () = clock.sleep(LINGER_TIME) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream().writable().await?;
            match self.stream().try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Closes the connection. If the client may still be sending: closes the sending side, discards at most [`LINGER_BYTES`] of
    /// what still arrives, and gives the client [`LINGER_TIME`] to hang up. Closing at once would reset the connection and could
    /// destroy the answer.
    pub async fn close(&self, clock: &Clock) {
        if !self.linger.load(Relaxed) || self.shut_down_writing().is_err() {
            return;
        }
        tokio::select! {
            () = self.discard() => {}
            () = clock.sleep(LINGER_TIME) => {}
        }
    }

    async fn discard(&self) {
        let mut scrap = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while left > 0 && self.stream().readable().await.is_ok() {
            match self.stream().try_read(&mut scrap) {
                Ok(0) => return,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        // Nothing more is read, but a client that is still sending may not have read the answer, and closing now would reset its
        // connection.
        self.hung_up().await;
    }

    fn shut_down_writing(&self) -> io::Result<()> {
        SockRef::from(self.stream()).shutdown(std::net::Shutdown::Write)
    }

    fn is_answering(&self) -> bool {
        self.answering.load(Relaxed) > 0
    }
}

/// Wakes when the client's side is closed, and not for received data. Readiness for urgent data, which HTTP doesn't use, includes
/// that for the closed reading side.
#[cfg(any(target_os = "linux", target_os = "android"))]
const READ_CLOSED: Interest = Interest::PRIORITY;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const READ_CLOSED: Interest = Interest::READABLE;

/// A request that is being answered. It lives in the answer's body, which hyper drops once it is encoded.
#[derive(Debug)]
pub struct Answering(Arc<Connection>);

impl Answering {
    /// Completes when the client has hung up.
    pub fn hung_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let connection = Arc::clone(&self.0);
        async move { connection.hung_up().await }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.encoded.fetch_add(1, Relaxed);
    }
}

/// The stream that hyper reads from and writes to.
#[derive(Debug)]
pub struct Socket {
    read: OwnedReadHalf,
    /// Bytes that were read before hyper started.
    ahead: Bytes,
    connection: Arc<Connection>,
    patience: Patience,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.read).poll_read(cx, buf))?;
        } else {
            let length = buf.remaining().min(self.ahead.len());
            buf.put_slice(&self.ahead.split_to(length));
        }
        if buf.filled().len() > before && !self.connection.is_answering() {
            self.connection.head_begun.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.suppresses(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.write_with(cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        if self.suppresses(first) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        self.write_with(cx, |stream| stream.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let encoded = self.connection.encoded.swap(0, Relaxed);
        if encoded > 0 && self.connection.answering.fetch_sub(encoded, Relaxed) == encoded {
            self.connection.counted.set_active(false);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Tiergate's own answer follows.
        if self.connection.rejected().is_some() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.connection.shut_down_writing())
    }
}

impl Socket {
    /// Whether these bytes are an automatic answer of hyper, since no request is being answered: then only its status is kept.
    fn suppresses(&self, bytes: &[u8]) -> bool {
        if self.connection.is_answering() {
            return false;
        }
        let status = bytes.get(b"HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3));
        let status = status
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        if self.connection.rejected().is_none() {
            self.connection.rejected.store(status.unwrap_or(400), Relaxed);
        }
        true
    }

    fn write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while let Poll::Ready(ready) = self.connection.stream().poll_write_ready(cx) {
            ready?;
            match write(self.connection.stream()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return self.patience.with(cx, Poll::Ready(written)),
            }
        }
        self.patience.with(cx, Poll::Pending)
    }
}
