//! The database's metrics, with handles made once.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Level, Metadata, Recorder, Unit};

use crate::policy::time::Span;

/// Upper bounds of the buckets of `tiergate_database_commit_seconds`, in seconds: from a fast disk's sync to a disk that hangs.
pub const COMMIT_BUCKETS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];
/// Upper bounds of the buckets of `tiergate_database_group_size`, in rows.
pub const GROUP_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1_024.0];

/// The name of the histogram whose buckets are [`COMMIT_BUCKETS`].
pub const COMMIT_SECONDS: &str = "tiergate_database_commit_seconds";
/// The name of the histogram whose buckets are [`GROUP_BUCKETS`].
pub const GROUP_SIZE: &str = "tiergate_database_group_size";

/// Handles of the database's metrics.
#[derive(Debug)]
pub struct DatabaseMeters {
    commit: Histogram,
    group: Histogram,
    bytes: Gauge,
    wal_bytes: Gauge,
    available: Gauge,
    dropped_rows: Counter,
    clock_corrections: Counter,
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

impl DatabaseMeters {
    /// Metrics that are not exported.
    pub fn unobserved() -> Arc<Self> {
        Arc::new(Self {
            commit: Histogram::noop(),
            group: Histogram::noop(),
            bytes: Gauge::noop(),
            wal_bytes: Gauge::noop(),
            available: Gauge::noop(),
            dropped_rows: Counter::noop(),
            clock_corrections: Counter::noop(),
        })
    }

    /// Registers the metrics under the names of docs/metrics.md.
    pub fn register(recorder: &impl Recorder) -> Arc<Self> {
        describe(recorder);
        let counter = |name: &'static str| recorder.register_counter(&Key::from_name(name), &METADATA);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_name(name), &METADATA);
        let histogram = |name: &'static str| recorder.register_histogram(&Key::from_name(name), &METADATA);
        Arc::new(Self {
            commit: histogram(COMMIT_SECONDS),
            group: histogram(GROUP_SIZE),
            bytes: gauge("tiergate_database_bytes"),
            wal_bytes: gauge("tiergate_database_wal_bytes"),
            available: gauge("tiergate_database_available"),
            dropped_rows: counter("tiergate_database_dropped_rows_total"),
            clock_corrections: counter("tiergate_clock_corrections_total"),
        })
    }

    /// A group of `rows` is durable; its first debit waited for `waited`.
    pub fn committed(&self, rows: usize, waited: Option<Span>) {
        self.group.record(rows as f64);
        if let Some(waited) = waited {
            self.commit.record(waited.as_secs_f64());
        }
    }

    /// Sets the sizes of the database file and its log.
    pub fn bytes(&self, bytes: u64, wal_bytes: u64) {
        self.bytes.set(bytes as f64);
        self.wal_bytes.set(wal_bytes as f64);
    }

    /// Sets whether the database can be written.
    pub fn available(&self, available: bool) {
        self.available.set(f64::from(u8::from(available)));
    }

    /// A row that need not be durable was dropped because the disk is far behind.
    pub fn dropped_row(&self) {
        self.dropped_rows.increment(1);
    }

    /// The dates of jobs were corrected because the clock had been ahead.
    pub fn corrected(&self) {
        self.clock_corrections.increment(1);
    }
}

fn describe(recorder: &impl Recorder) {
    let name = |name: &'static str| KeyName::from_const_str(name);
    recorder.describe_histogram(
        name(COMMIT_SECONDS),
        Some(Unit::Seconds),
        "Time until the first debit of a group was durable, in seconds.".into(),
    );
    recorder.describe_histogram(name(GROUP_SIZE), Some(Unit::Count), "Rows per durable commit.".into());
    recorder.describe_gauge(
        name("tiergate_database_bytes"),
        Some(Unit::Bytes),
        "Size of the database file in bytes.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_database_wal_bytes"),
        Some(Unit::Bytes),
        "Size of the database's write-ahead log in bytes.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_database_available"),
        None,
        "1 if the database can be written, 0 if not; then metered requests are rejected.".into(),
    );
    recorder.describe_counter(
        name("tiergate_clock_corrections_total"),
        None,
        "Corrections of job dates after the system clock had been ahead.".into(),
    );
    recorder.describe_counter(
        name("tiergate_database_dropped_rows_total"),
        None,
        "Rows without a debit that were dropped because the disk was far behind.".into(),
    );
}
