//! Which servers are well. A server that fails is rested: its slots don't count. It is asked again, after one second and
//! then twice as long each time, and counts again as soon as it answers.
//!
//! A connection that can't be made rests a server at once; answers that break off or don't come, [`FAILURES_MAX`] in a row.
//! Where the configuration names a path to ask, servers are asked all the time, and [`FAILURES_MAX`] bad answers rest one.
//!
//! Absent on purpose: judging a worker by its statuses. A 500 is an answer, and whoever asked gets it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{ProbeSettings, Server};
use crate::gate::Gate;
use crate::policy::rules::{ServerId, UpstreamId};
use crate::policy::time::Span;

/// Failures in a row after which a server is rested.
pub const FAILURES_MAX: u32 = 3;

/// How long a server rests before it is first asked again.
pub const REST_MIN: Span = Span::from_secs(1);

/// How long it rests at most.
pub const REST_MAX: Span = Span::from_secs(30);

/// The longest that a probe may take.
pub const PROBE_TIMEOUT: Span = Span::from_secs(5);

/// Whether a server is well, as those who use it have found.
#[derive(Debug, Default)]
pub(super) struct Health {
    resting: AtomicBool,
    failures: AtomicU32,
    rested: Notify,
    /// Why it rests, for the log.
    why: Mutex<String>,
}

impl Health {
    pub(super) fn is_well(&self) -> bool {
        !self.resting.load(Ordering::Relaxed)
    }

    /// It answered.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It broke off or did not answer in time.
    pub(super) fn failed(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            self.rest("its answers broke off or came too late");
        }
    }

    /// It can't be used, and why. Whoever watches over it takes its slots away and asks it until it is back.
    pub(super) fn rest(&self, why: impl fmt::Display) {
        if self.begin_rest(why) {
            self.rested.notify_one();
        }
    }

    /// Ends when it rests. Word of an earlier rest may still lie there, if whoever watched was relieved meanwhile.
    async fn rests(&self) {
        loop {
            self.rested.notified().await;
            if !self.is_well() {
                return;
            }
        }
    }

    /// Whether it was well until now.
    fn begin_rest(&self, why: impl fmt::Display) -> bool {
        let was_well = !self.resting.swap(true, Ordering::AcqRel);
        if was_well {
            *self.why.lock() = why.to_string();
        }
        was_well
    }

    fn wake_up(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.resting.store(false, Ordering::Release);
    }
}

/// Watches over one server for as long as it is polled: asks it while it rests, and while it is well if there is a path to ask.
/// Goes on where somebody else has left off. `id` is as the policy knows the server.
pub async fn watch(gate: Arc<Gate>, id: (UpstreamId, ServerId), of: Arc<Server>, probe: Option<ProbeSettings>) {
    let probe = probe.as_ref();
    loop {
        if of.health.is_well() {
            stay_well(&gate, &of, probe).await;
        }
        gate.server_down(id.0, id.1);
        let why = of.health.why.lock().clone();
        warn!(server = %of.name(), why, "the server fails and is rested");
        recover(&gate, &of, probe).await;
        of.health.wake_up();
        gate.server_up(id.0, id.1);
        info!(server = %of.name(), "the server is back");
    }
}

/// Ends when the server is to rest.
async fn stay_well(gate: &Gate, server: &Server, probe: Option<&ProbeSettings>) {
    let Some(probe) = probe else {
        return server.health.rests().await;
    };
    let mut rested = std::pin::pin!(server.health.rests());
    let mut bad = 0;
    while bad < FAILURES_MAX {
        tokio::select! {
            () = &mut rested => return,
            () = gate.clock().sleep(probe.every.into()) => {}
        }
        bad = if ask(gate, server, Some(probe)).await.is_ok() {
            0
        } else {
            bad + 1
        };
    }
    // Whoever rested it meanwhile has left word, which must not lie there until it is well again.
    if !server.health.begin_rest("it did not answer its probes well") {
        rested.await;
    }
}

/// Ends when the server answers.
async fn recover(gate: &Gate, server: &Server, probe: Option<&ProbeSettings>) {
    let mut rest = REST_MIN;
    loop {
        gate.clock().sleep(rest).await;
        if ask(gate, server, probe).await.is_ok() {
            return;
        }
        rest = rest.saturating_mul(2).min(REST_MAX);
    }
}

/// Asks once: by `GET` where there is a path, otherwise by making a connection.
async fn ask(gate: &Gate, server: &Server, probe: Option<&ProbeSettings>) -> io::Result<()> {
    let asked = async {
        let stream = server.connect().await?;
        match probe {
            None => Ok(()),
            Some(probe) => get(stream, server, probe).await,
        }
    };
    tokio::select! {
        answer = asked => answer,
        () = gate.clock().sleep(PROBE_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn get(stream: TcpStream, server: &Server, probe: &ProbeSettings) -> io::Result<()> {
    let request = Request::get(&probe.path)
        .header(header::HOST, &server.authority)
        .header(header::USER_AGENT, concat!("tiergate/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // A worker that closes the connection after its answer has answered.
        _ended = connection => answer.await,
    };
    let answer = answer.map_err(io::Error::other)?;
    let status = answer.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(io::Error::other(format!("it answers {status}")))
    }
}

impl Server {
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// As logs name it.
    pub(super) fn name(&self) -> &str {
        self.authority.to_str().unwrap_or("?")
    }
}
