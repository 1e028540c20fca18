//! A core's own connections to the workers: made when needed, kept for a while, used again newest first.
//!
//! A connection that one core owns needs no other core to be woken, nor a lock that others take.
//!
//! Absent on purpose: a queue for connections. Who may use a server has a slot there, and slots are the gate's.

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
use crate::policy::rules::{PoolId, ServerId};
use crate::policy::time::Timestamp;

/// Bytes that a connection to a worker reads at once.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Connections of one core to all servers of all upstreams.
#[derive(Debug)]
pub struct Connections {
    upstreams: Vec<Arc<Upstream>>,
    /// By upstream and server: those that nobody uses, longest unused first.
    idle: Vec<Vec<Mutex<Vec<Idle>>>>,
    clock: Clock,
    /// What goes on when a client is gone.
    pub(super) tasks: TaskTracker,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Timestamp,
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
    pub fn new(upstreams: Vec<Arc<Upstream>>, clock: Clock, tasks: TaskTracker) -> Self {
        let none = |upstream: &Arc<Upstream>| upstream.servers.iter().map(|_| Mutex::default()).collect();
        Self {
            idle: upstreams.iter().map(none).collect(),
            upstreams,
            clock,
            tasks,
        }
    }

    pub(super) fn upstream(&self, pool: PoolId) -> &Arc<Upstream> {
        &self.upstreams[pool.index()]
    }

    pub(super) fn server(&self, pool: PoolId, server: ServerId) -> &Server {
        &self.upstream(pool).servers[server.index()]
    }

    /// The clock of timeouts.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A connection to the server: the last one that was put back and is still open, otherwise a new one.
    pub(super) async fn get(&self, pool: PoolId, server: ServerId) -> io::Result<Connection> {
        loop {
            let kept = self.idle[pool.index()][server.index()].lock().pop();
            let Some(Idle { mut connection, .. }) = kept else { break };
            if connection.is_free().await {
                connection.used = true;
                return Ok(connection);
            }
        }
        let upstream = self.upstream(pool);
        tokio::select! {
            made = self.make(self.server(pool, server)) => made,
            () = self.clock.sleep(upstream.connect_timeout) => Err(io::ErrorKind::TimedOut.into()),
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
    pub(super) fn put_back(&self, pool: PoolId, server: ServerId, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let most = idle_max(self.server(pool, server).settings.slots);
        let mut idle = self.idle[pool.index()][server.index()].lock();
        if idle.len() < most {
            idle.push(Idle {
                connection,
                since: self.clock.now(),
            });
        }
    }

    /// Closes what was not used for its upstream's `idle_timeout`, so that it is the door that closes and not the worker,
    /// in the middle of a request's sending.
    pub fn sweep(&self) {
        let now = self.clock.now();
        for (upstream, servers) in self.upstreams.iter().zip(&self.idle) {
            for idle in servers {
                let stale: Vec<Idle> = {
                    let mut idle = idle.lock();
                    let fresh = idle.partition_point(|kept| now.since(kept.since) >= upstream.idle_timeout);
                    idle.drain(..fresh).collect()
                };
                drop(stale);
            }
        }
    }
}

/// Unused connections that each core keeps to a server: one for each of its slots, and a few for unmetered requests.
pub fn idle_max(slots: u32) -> usize {
    usize::try_from(slots.max(IDLE_MIN)).unwrap_or(usize::MAX)
}

const IDLE_MIN: u32 = 8;
