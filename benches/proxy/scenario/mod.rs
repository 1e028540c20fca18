//! What is measured: scenarios, and the rows of the table that they fill.

mod idle;
mod list;
mod measure;

use crate::contestant::Contestant;
use crate::setup::Setup;

pub use list::SCENARIOS;
pub use measure::measure;

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// What contestants are configured for.
    pub setup: Setup,
    /// Who is measured.
    pub contestants: &'static [Contestant],
    /// What clients do.
    pub kind: Kind,
    /// The rows that it fills.
    pub rows: &'static [Row],
}

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// That many clients, each of which sends when it has its answer.
    Closed(u32),
    /// The same with wrk.
    Wrk(u32),
    /// As many clients as there are slots and places, so that every place is taken.
    Queueing,
    /// Clients whose limit (429) or quota (402) is used up, on kept connections or on a new one for each request.
    Refused {
        /// The refusal.
        status: u16,
        /// Whether each request has a new connection.
        new_connections: bool,
    },
    /// One connection; client, proxy and upstream server on one core.
    OneCore,
    /// A fixed rate of requests a second.
    Open(u32),
    /// Bodies of that many bytes to the upstream server.
    Upload(usize),
    /// Bodies of that many bytes from it.
    Download(usize),
    /// 16 clients and 2 slots of 20 ms.
    Handover,
    /// Ten times as many requests as 2 slots of 20 ms can answer, at a fixed rate.
    Overload,
    /// That many connections that have sent one request each.
    Idle(u32),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Processor time of the proxy for each request, in µs.
    PerRequest,
    /// Processor time of the proxy for each MB, in µs.
    PerMegabyte,
    /// The proxy's resident memory, in MB.
    Resident,
    /// What an idle connection adds to it, in bytes.
    EachConnection,
    /// Half of the answers came within this, in µs.
    LatencyHalf,
    /// 99 % of the answers came within this, in µs.
    LatencyMost,
    /// 99.9 % of the answers came within this, in µs.
    LatencyNearlyAll,
    /// Half of the times for which a slot was idle between two queued jobs, in µs.
    SlotIdleHalf,
    /// 99 % of them.
    SlotIdleMost,
    /// Successes, as a share of what the slots could do, in %.
    Goodput,
    /// The time for which slots were busy, in % of all.
    SlotsBusy,
    /// Requests answered a second.
    Rate,
    /// The share of its core that the proxy used, in %.
    ProxyBusy,
}

impl Metric {
    /// Its name in JSON, with its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerRequest => "processor_us_per_request",
            Self::PerMegabyte => "processor_us_per_mb",
            Self::Resident => "resident_mb",
            Self::EachConnection => "resident_bytes_per_connection",
            Self::LatencyHalf => "latency_p50_us",
            Self::LatencyMost => "latency_p99_us",
            Self::LatencyNearlyAll => "latency_p999_us",
            Self::SlotIdleHalf => "slot_idle_p50_us",
            Self::SlotIdleMost => "slot_idle_p99_us",
            Self::Goodput => "goodput_percent",
            Self::SlotsBusy => "slots_busy_percent",
            Self::Rate => "requests_per_s",
            Self::ProxyBusy => "proxy_core_percent",
        }
    }

    /// Its unit in the table.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Resident => "MB",
            Self::EachConnection => "B",
            Self::Goodput | Self::SlotsBusy | Self::ProxyBusy => "%",
            Self::Rate => "/s",
            _ => "µs",
        }
    }
}

/// What one measurement found.
pub type Sample = Vec<(Metric, f64)>;

/// The value of a metric in it.
pub fn value(sample: &Sample, metric: Metric) -> Option<f64> {
    sample
        .iter()
        .find(|(known, _)| *known == metric)
        .map(|(_, value)| *value)
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// What it says.
    pub title: &'static str,
    /// What it shows.
    pub metric: Metric,
    /// How.
    pub show: Show,
    /// What tiergate should reach.
    pub goal: &'static str,
}

/// How a row shows its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// HAProxy's as it is, the others as a multiple of it in the same round.
    Ratio,
    /// What each has more than without a proxy in the same round.
    Added,
    /// Each as it is.
    Plain,
}

impl Show {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio to HAProxy",
            Self::Added => "added to direct",
            Self::Plain => "measured",
        }
    }
}
