//! The database's meters, with handles made once.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Level, Metadata, Recorder, Unit};

use crate::policy::time::Span;

/// The upper bounds of the buckets of `tiergate_database_commit_seconds`, in seconds: from a fast disk's sync to a disk that hangs.
pub const COMMIT_BUCKETS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];
/// The upper bounds of the buckets of `tiergate_database_group_size`, in rows.
pub const GROUP_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1_024.0];

/// The name of the histogram whose buckets are [`COMMIT_BUCKETS`].
pub const COMMIT_SECONDS: &str = "tiergate_database_commit_seconds";
/// The name of the histogram whose buckets are [`GROUP_BUCKETS`].
pub const GROUP_SIZE: &str = "tiergate_database_group_size";

/// Handles of everything that the database tells of itself.
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
    /// Meters that nobody reads.
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

    /// Meters known to the recorder by the names of docs/operations.md.
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

    /// A group of so many rows is durable; the first of its debits waited so long for that.
    pub fn committed(&self, rows: usize, waited: Option<Span>) {
        self.group.record(rows as f64);
        if let Some(waited) = waited {
            self.commit.record(waited.as_secs_f64());
        }
    }

    /// So many bytes has the database's file, and its log.
    pub fn bytes(&self, bytes: u64, wal_bytes: u64) {
        self.bytes.set(bytes as f64);
        self.wal_bytes.set(wal_bytes as f64);
    }

    /// Whether it can write.
    pub fn available(&self, available: bool) {
        self.available.set(f64::from(u8::from(available)));
    }

    /// A row that need not be durable was dropped, since the disk is far behind.
    pub fn dropped_row(&self) {
        self.dropped_rows.increment(1);
    }

    /// The dates of jobs were corrected, since the clock had been ahead.
    pub fn corrected(&self) {
        self.clock_corrections.increment(1);
    }
}

fn describe(recorder: &impl Recorder) {
    let name = |name: &'static str| KeyName::from_const_str(name);
    recorder.describe_histogram(
        name(COMMIT_SECONDS),
        Some(Unit::Seconds),
        "How long the first debit of a group waited to be durable.".into(),
    );
    recorder.describe_histogram(
        name(GROUP_SIZE),
        Some(Unit::Count),
        "Rows that became durable together.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_database_bytes"),
        Some(Unit::Bytes),
        "Bytes of the database's file.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_database_wal_bytes"),
        Some(Unit::Bytes),
        "Bytes of the database's write-ahead log.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_database_available"),
        None,
        "1 while the database can be written, 0 while metered requests are rejected because it can't.".into(),
    );
    recorder.describe_counter(
        name("tiergate_clock_corrections_total"),
        None,
        "How often the dates of jobs were corrected after the system's clock had been ahead.".into(),
    );
    recorder.describe_counter(
        name("tiergate_database_dropped_rows_total"),
        None,
        "Rows that debit nothing and were dropped because the disk was far behind.".into(),
    );
}
