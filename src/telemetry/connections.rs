//! Metrics of connections, by listener. Counted in plain atomics, since each request changes them; a scrape copies them to the
//! gauges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};

use crate::policy::time::{Span, Timestamp};

/// How often the log reports that a listener could not accept connections.
const LOG_EVERY: Span = Span::from_secs(60);

const CONNECTIONS: &str = "tiergate_connections";
const REFUSED: &str = "tiergate_connections_refused_total";
const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

/// Why a connection was closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedConnection {
    /// It could not be accepted, most likely for want of file descriptors.
    AcceptFailed,
    /// Its PROXY protocol header was invalid or didn't arrive in time.
    ProxyProtocol,
}

impl RefusedConnection {
    /// All of them, with their names in metrics.
    const ALL: [(Self, &'static str); 2] = [
        (Self::AcceptFailed, "accept_failed"),
        (Self::ProxyProtocol, "proxy_protocol"),
    ];
}

/// The connections of both listeners.
#[derive(Debug)]
pub struct ConnectionMeters {
    /// The public listener.
    pub public: Arc<ListenerMeters>,
    /// The admin listener.
    pub admin: Arc<ListenerMeters>,
}

impl ConnectionMeters {
    /// Registers the metrics.
    pub fn register(recorder: &impl Recorder) -> Self {
        use RefusedConnection::{AcceptFailed, ProxyProtocol};
        let about = "Open connections; `active`: a request is being answered.";
        recorder.describe_gauge(KeyName::from_const_str(CONNECTIONS), None, about.into());
        let about = "Connections closed before their first request, by reason.";
        recorder.describe_counter(KeyName::from_const_str(REFUSED), None, about.into());
        Self {
            public: ListenerMeters::register("public", &[AcceptFailed, ProxyProtocol], recorder),
            admin: ListenerMeters::register("admin", &[AcceptFailed], recorder),
        }
    }

    /// Sets the gauges to the present numbers.
    pub fn update(&self) {
        self.public.update();
        self.admin.update();
    }
}

/// The connections of one listener.
#[derive(Debug)]
pub struct ListenerMeters {
    open: AtomicUsize,
    active: AtomicUsize,
    active_gauge: Gauge,
    idle_gauge: Gauge,
    refused: [Counter; RefusedConnection::ALL.len()],
    /// When the log last reported a failed accept, in nanoseconds of the clock; 0: never.
    reported_ns: AtomicU64,
}

impl ListenerMeters {
    /// `reasons` are those for which the listener refuses connections.
    fn register(listener: &'static str, reasons: &[RefusedConnection], recorder: &impl Recorder) -> Arc<Self> {
        let key = |name, (label, value)| {
            let labels = vec![Label::new("listener", listener), Label::new(label, value)];
            Key::from_parts(name, labels)
        };
        let gauge = |state| recorder.register_gauge(&key(CONNECTIONS, ("state", state)), &METADATA);
        Arc::new(Self {
            open: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            active_gauge: gauge("active"),
            idle_gauge: gauge("idle"),
            refused: RefusedConnection::ALL.map(|(kind, reason)| match reasons.contains(&kind) {
                true => recorder.register_counter(&key(REFUSED, ("reason", reason)), &METADATA),
                false => Counter::noop(),
            }),
            reported_ns: AtomicU64::new(0),
        })
    }

    #[cfg(test)]
    fn unobserved() -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            active_gauge: Gauge::noop(),
            idle_gauge: Gauge::noop(),
            refused: std::array::from_fn(|_| Counter::noop()),
            reported_ns: AtomicU64::new(0),
        })
    }

    /// Counts a connection until the returned value is dropped. It is idle.
    pub fn opened(self: &Arc<Self>) -> OpenConnection {
        self.open.fetch_add(1, Relaxed);
        OpenConnection {
            listener: Arc::clone(self),
            is_active: AtomicBool::new(false),
        }
    }

    /// Counts a connection that was closed before its first request.
    pub fn refused(&self, reason: RefusedConnection) {
        self.refused[reason as usize].increment(1);
    }

    /// Counts a connection that could not be accepted at `now`. Returns whether the log is to report it: of all threads' once in
    /// `LOG_EVERY`.
    pub fn accept_failed(&self, now: Timestamp) -> bool {
        self.refused(RefusedConnection::AcceptFailed);
        let (now, reported) = (now.as_nanos().max(1), self.reported_ns.load(Relaxed));
        let is_due = reported == 0 || now.saturating_sub(reported) >= LOG_EVERY.as_nanos();
        // Of several threads one reports it.
        is_due && (self.reported_ns.compare_exchange(reported, now, Relaxed, Relaxed)).is_ok()
    }

    fn update(&self) {
        let active = self.active.load(Relaxed);
        // Read after `active`, so that a connection that opens and becomes active in between is not missing.
        let idle = self.open.load(Relaxed).saturating_sub(active);
        // Bounded by file descriptors, so exact as floats.
        self.active_gauge.set(active as f64);
        self.idle_gauge.set(idle as f64);
    }
}

/// An open connection, counted as long as it lives.
#[derive(Debug)]
pub struct OpenConnection {
    listener: Arc<ListenerMeters>,
    is_active: AtomicBool,
}

impl OpenConnection {
    /// Whether a request is being answered on it.
    pub fn set_active(&self, active: bool) {
        match (self.is_active.swap(active, Relaxed), active) {
            (false, true) => self.listener.active.fetch_add(1, Relaxed),
            (true, false) => self.listener.active.fetch_sub(1, Relaxed),
            (false, false) | (true, true) => 0,
        };
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.set_active(false);
        self.listener.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(meters: &ListenerMeters) -> (usize, usize) {
        (meters.open.load(Relaxed), meters.active.load(Relaxed))
    }

    #[test]
    fn refusals_are_listed_in_the_order_of_their_numbers() {
        for (at, (reason, name)) in RefusedConnection::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{name}");
        }
    }

    #[test]
    fn failed_accepts_are_reported_once_a_minute() {
        let meters = ListenerMeters::unobserved();
        let at = |ms| meters.accept_failed(Timestamp::ZERO + Span::from_millis(ms));
        assert_eq!(
            [1_000, 1_050, 60_999, 61_000, 61_050].map(at),
            [true, false, false, true, false]
        );
    }

    #[test]
    fn a_connection_dropped_while_active_leaves_nothing() {
        let meters = ListenerMeters::unobserved();
        let (one, other) = (meters.opened(), meters.opened());
        one.set_active(true);
        one.set_active(true);
        assert_eq!(counted(&meters), (2, 1));
        other.set_active(true);
        other.set_active(false);
        other.set_active(false);
        assert_eq!(counted(&meters), (2, 1));
        drop(one);
        assert_eq!(counted(&meters), (1, 0));
        drop(other);
        assert_eq!(counted(&meters), (0, 0));
    }
}
