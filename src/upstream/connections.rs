//! One thread's connections to upstream servers: made on demand, kept for a while, reused newest first.
//!
//! They are not shared, so reuse wakes no other thread and takes no contended lock.
//!
//! There is no queue for connections: a metered job has a slot of its server, and the gate gives out the slots.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::request_body::RequestBody;
use super::{Upstream, UpstreamServer};
use crate::clock::Clock;
use crate::policy::time::Timestamp;

/// The read buffer of a connection to an upstream server, in bytes.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Connections of one thread to all servers of all upstreams.
#[derive(Debug)]
pub struct Connections {
    /// Idle connections by the server's number, longest idle first.
    idle: Mutex<HashMap<u64, Vec<Idle>>>,
    clock: Clock,
    /// Work that continues after a client is gone.
    pub(super) tasks: TaskTracker,
}

#[derive(Debug)]
struct Idle {
    connection: UpstreamConnection,
    until: Timestamp,
}

/// A connection to an upstream server, in use. Dropping it closes it.
#[derive(Debug)]
pub(super) struct UpstreamConnection {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// Whether it has served a request before: then the server may just have closed it.
    pub(super) used: bool,
    driver: AbortHandle,
}

impl UpstreamConnection {
    /// Whether a kept connection can take a request. Its driver gets one turn to end the previous request. If a server answered
    /// early and does not read the rest of that request, this doesn't wait for it.
    async fn is_free(&mut self) -> bool {
        for _ in 0..2 {
            match poll_fn(|cx| Poll::Ready(self.sender.poll_ready(cx))).await {
                Poll::Ready(ready) => return ready.is_ok(),
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
        false
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connections {
    /// Without connections yet. Work that must continue after its client is gone runs among `tasks`.
    pub fn new(clock: Clock, tasks: TaskTracker) -> Self {
        Self {
            idle: Mutex::default(),
            clock,
            tasks,
        }
    }

    /// The clock of timeouts.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A connection to the server: the last one that was put back and is still open, otherwise a new one.
    pub(super) async fn get(&self, upstream: &Upstream, server: &UpstreamServer) -> io::Result<UpstreamConnection> {
        loop {
            let kept = self.idle.lock().get_mut(&server.number).and_then(Vec::pop);
            let Some(Idle { mut connection, .. }) = kept else { break };
            if connection.is_free().await {
                connection.used = true;
                return Ok(connection);
            }
        }
        let connect_timeout = upstream.settings.load().connect_timeout;
        tokio::select! {
            made = self.make(server) => made,
            () = self.clock.sleep(connect_timeout.into()) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn make(&self, server: &UpstreamServer) -> io::Result<UpstreamConnection> {
        let stream = server.connect().await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // The driver's error is also reported to the request on the connection.
        let driver = tokio::spawn(async { drop(driver.await) }).abort_handle();
        Ok(UpstreamConnection {
            sender,
            used: false,
            driver,
        })
    }

    /// Keeps an idle connection.
    pub(super) fn put_back(&self, upstream: &Upstream, server: &Arc<UpstreamServer>, connection: UpstreamConnection) {
        let idle_max = upstream.idle_max(server);
        if connection.sender.is_closed() || idle_max == 0 {
            return;
        }
        let until = self.clock.now() + upstream.settings.load().idle_timeout.into();
        let mut idle = self.idle.lock();
        let idle = idle.entry(server.number).or_default();
        if idle.len() < idle_max {
            idle.push(Idle { connection, until });
        }
    }

    /// Closes connections that were idle for their upstream's `idle_timeout`, so that tiergate closes them and not the server, in
    /// the middle of sending a request.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let mut stale: Vec<Idle> = Vec::new();
        self.idle.lock().retain(|_, idle| {
            stale.extend(idle.extract_if(.., |kept| kept.until <= now));
            !idle.is_empty()
        });
        drop(stale);
    }
}

/// Idle connections that each thread keeps to a server: one per slot, and a few for unmetered requests.
pub fn idle_max(slots: u32) -> usize {
    usize::try_from(slots.max(IDLE_MIN)).unwrap_or(usize::MAX)
}

const IDLE_MIN: u32 = 8;
