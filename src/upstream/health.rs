//! Health of upstream servers. A failing server is marked down: its slots don't count. It is probed after one second, then after
//! twice as long each time, and counts again as soon as it answers.
//!
//! A failed connection marks a server down at once; answers that end early or don't arrive do after [`FAILURES_MAX`] in a row.
//! With a configured probe path, servers are probed all the time, and [`FAILURES_MAX`] bad answers mark one down.
//!
//! Statuses of ordinary answers don't count: a 500 is an answer, and the client gets it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::failures::{Failures, LastFailure};
use super::{ProbeSettings, UpstreamServer};
use crate::gate::Gate;
use crate::policy::rules::{ServerId, UpstreamId};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::telemetry::upstreams::{FailureLevel, ServerFailure};

/// Failures in a row that mark a server down.
pub const FAILURES_MAX: u32 = 3;

/// The time before a server that is down is first probed.
pub const PROBE_DELAY_MIN: Span = Span::from_secs(1);

/// The longest time between probes of a server that is down.
pub const PROBE_DELAY_MAX: Span = Span::from_secs(30);

/// The longest time for a probe.
pub const PROBE_TIMEOUT: Span = Span::from_secs(5);

/// A server's health, as requests and probes have found it.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_down: AtomicBool,
    failures: AtomicU32,
    went_down: Notify,
    /// Why it is or was down last, for the log and operators.
    why: Mutex<String>,
    /// When it is probed next while it is down, in nanoseconds of the clock; 0 until that is known.
    probed_at_ns: AtomicU64,
    history: Failures,
}

impl Health {
    pub(super) fn is_healthy(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    /// Why it is down.
    pub(super) fn why_down(&self) -> Option<String> {
        let why = self.why.lock().clone();
        (!self.is_healthy()).then_some(why)
    }

    /// It answered.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It ended an answer early or did not answer in time.
    pub(super) fn failed(&self, kind: ServerFailure, at: UnixTime) {
        let error = match kind {
            ServerFailure::Timeout => "no complete answer in time",
            _ => "the connection broke before the answer was complete",
        };
        self.history.note(kind, error, at);
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            self.mark_down("answers ended early or timed out");
        }
    }

    /// It failed in a way for which it is marked down at once ([`Self::mark_down`]), or failed a probe.
    pub(super) fn note(&self, kind: ServerFailure, error: impl fmt::Display, at: UnixTime) {
        self.history.note(kind, error, at);
    }

    /// How long it is until the server is probed. [`PROBE_DELAY_MIN`] if its health task has not begun to wait yet.
    pub(super) fn until_probe(&self, now: Timestamp) -> Span {
        match self.probed_at_ns.load(Ordering::Relaxed) {
            0 => PROBE_DELAY_MIN,
            at => Timestamp::from_nanos(at).since(now),
        }
    }

    /// Marks the server down. Its health task takes its slots away and probes it until it is back.
    pub(super) fn mark_down(&self, why: impl fmt::Display) {
        if self.set_down(why) {
            self.went_down.notify_one();
        }
    }

    /// Completes when the server is marked down. A notification of an earlier time may be left over, if the health task was
    /// replaced.
    async fn marked_down(&self) {
        loop {
            self.went_down.notified().await;
            if !self.is_healthy() {
                return;
            }
        }
    }

    /// Marks it down; whether it was up until now.
    fn set_down(&self, why: impl fmt::Display) -> bool {
        let was_up = !self.is_down.swap(true, Ordering::AcqRel);
        if was_up {
            *self.why.lock() = why.to_string();
        }
        was_up
    }

    fn set_up(&self) {
        self.probed_at_ns.store(0, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.is_down.store(false, Ordering::Release);
    }
}

/// The health task of one server: probes it while it is down, and also while it is up if there is a probe path. Continues where a
/// previous task stopped. `id` is the server's in the policy.
pub async fn watch(gate: Arc<Gate>, id: (UpstreamId, ServerId), of: Arc<UpstreamServer>, probe: Option<ProbeSettings>) {
    let probe = probe.as_ref();
    loop {
        if of.health.is_healthy() {
            watch_up(&gate, &of, probe).await;
        }
        gate.server_down(id.0, id.1);
        let why = of.health.why.lock().clone();
        warn!(server = %of.name(), why, "upstream server marked down");
        recover(&gate, id, &of, probe).await;
        of.health.set_up();
        gate.server_up(id.0, id.1);
        info!(server = %of.name(), "upstream server is back");
    }
}

/// Completes when the server is to be marked down.
async fn watch_up(gate: &Gate, server: &UpstreamServer, probe: Option<&ProbeSettings>) {
    let Some(probe) = probe else {
        return server.health.marked_down().await;
    };
    let mut went_down = std::pin::pin!(server.health.marked_down());
    let mut failed_probes = 0;
    while failed_probes < FAILURES_MAX {
        tokio::select! {
            () = &mut went_down => return,
            () = gate.clock().sleep(probe.every.into()) => {}
        }
        failed_probes = if probe_once(gate, server, Some(probe)).await.is_ok() {
            0
        } else {
            failed_probes + 1
        };
    }
    // If a request marked it down meanwhile, its notification must be consumed before the server recovers.
    if !server.health.set_down("probes failed") {
        went_down.await;
    }
}

/// Completes when the server answers.
async fn recover(gate: &Gate, id: (UpstreamId, ServerId), server: &UpstreamServer, probe: Option<&ProbeSettings>) {
    let mut delay = PROBE_DELAY_MIN;
    loop {
        let at = gate.clock().now() + delay;
        gate.server_probed_at(id.0, id.1, at);
        server.health.probed_at_ns.store(at.as_nanos(), Ordering::Relaxed);
        gate.clock().sleep_until(at).await;
        if probe_once(gate, server, probe).await.is_ok() {
            return;
        }
        delay = delay.saturating_mul(2).min(PROBE_DELAY_MAX);
    }
}

/// Probes once: by `GET` if there is a path, otherwise by connecting.
async fn probe_once(gate: &Gate, server: &UpstreamServer, probe: Option<&ProbeSettings>) -> io::Result<()> {
    let asked = async {
        let stream = server.connect().await?;
        match probe {
            None => Ok(()),
            Some(probe) => get(stream, server, probe).await,
        }
    };
    let answer = tokio::select! {
        answer = asked => answer,
        () = gate.clock().sleep(PROBE_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
    };
    answer.inspect_err(|error| server.health.note(ServerFailure::Probe, error, gate.clock().wall()))
}

async fn get(stream: TcpStream, server: &UpstreamServer, probe: &ProbeSettings) -> io::Result<()> {
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
        // A server that closes the connection after its answer has answered.
        _ended = connection => answer.await,
    };
    let answer = answer.map_err(io::Error::other)?;
    let status = answer.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(io::Error::other(format!("status {status}")))
    }
}

impl UpstreamServer {
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Its failures by kind.
    pub fn failures(&self) -> [FailureLevel; ServerFailure::ALL.len()] {
        self.health.history.levels()
    }

    /// Its last failure, if it ever failed.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.health.history.last()
    }
}
