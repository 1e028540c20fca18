//! A core's own connections to the workers: made when needed, kept for a while, used again newest first.
//!
//! A connection that one core owns needs no other core to be woken, nor a lock that others take.
//!
//! Absent on purpose: a queue for connections. Who may use a server has a slot there, and slots are the gate's.

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

use super::upload::RequestBody;
use super::{Server, Upstream};
use crate::clock::Clock;
use crate::policy::time::Timestamp;

/// Bytes that a connection to a worker reads at once.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Connections of one core to all servers of all upstreams.
#[derive(Debug)]
pub struct Connections {
    /// By the server's number: those that nobody uses, longest unused first.
    idle: Mutex<HashMap<u64, Vec<Idle>>>,
    clock: Clock,
    /// What goes on when a client is gone.
    pub(super) tasks: TaskTracker,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    until: Timestamp,
}

/// A connection to a worker, in use. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// Whether it has served another request before: then it may be that the worker has just closed it.
    pub(super) used: bool,
    driver: AbortHandle,
}

impl Connection {
    /// Whether a kept connection can take a request. Its driver gets a turn to end the one before; a worker that answered
    /// early and does not read the rest of that request is not waited for.
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connections {
    /// No connections yet. What must go on when its client is gone runs among `tasks`.
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
    pub(super) async fn get(&self, upstream: &Upstream, server: &Server) -> io::Result<Connection> {
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

    async fn make(&self, server: &Server) -> io::Result<Connection> {
        let stream = server.connect().await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // How it ends is told to whoever has a request on it.
        let driver = tokio::spawn(async { drop(driver.await) }).abort_handle();
        Ok(Connection {
            sender,
            used: false,
            driver,
        })
    }

    /// Keeps a connection on which nothing is under way.
    pub(super) fn put_back(&self, upstream: &Upstream, server: &Arc<Server>, connection: Connection) {
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

    /// Closes what was not used for its upstream's `idle_timeout`, so that it is the door that closes and not the worker,
    /// in the middle of a request's sending.
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

/// Unused connections that each core keeps to a server: one for each of its slots, and a few for unmetered requests.
pub fn idle_max(slots: u32) -> usize {
    usize::try_from(slots.max(IDLE_MIN)).unwrap_or(usize::MAX)
}

const IDLE_MIN: u32 = 8;
