//! The journal's meters, with handles made once.
//!
//! Absent on purpose: anything of a caller.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Level, Metadata, Recorder, Unit};

use crate::policy::time::Span;

/// The upper bounds of the buckets of `tiergate_journal_commit_seconds`, in seconds: from a fast disk's sync to a disk that hangs.
pub const COMMIT_BUCKETS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0,
];
/// The upper bounds of the buckets of `tiergate_journal_group_size`, in records.
pub const GROUP_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1_024.0];

/// The name of the histogram whose buckets are [`COMMIT_BUCKETS`].
pub const COMMIT_SECONDS: &str = "tiergate_journal_commit_seconds";
/// The name of the histogram whose buckets are [`GROUP_BUCKETS`].
pub const GROUP_SIZE: &str = "tiergate_journal_group_size";

/// Handles of everything that the journal tells of itself.
#[derive(Debug)]
pub struct JournalMeters {
    commit: Histogram,
    group: Histogram,
    bytes: Gauge,
    available: Gauge,
    dropped_notes: Counter,
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

impl JournalMeters {
    /// Meters that nobody reads.
    pub fn unobserved() -> Arc<Self> {
        Arc::new(Self {
            commit: Histogram::noop(),
            group: Histogram::noop(),
            bytes: Gauge::noop(),
            available: Gauge::noop(),
            dropped_notes: Counter::noop(),
        })
    }

    /// Meters known to the recorder by the names of docs/operations.md.
    pub fn register(recorder: &impl Recorder) -> Arc<Self> {
        describe(recorder);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_name(name), &METADATA);
        let histogram = |name: &'static str| recorder.register_histogram(&Key::from_name(name), &METADATA);
        Arc::new(Self {
            commit: histogram(COMMIT_SECONDS),
            group: histogram(GROUP_SIZE),
            bytes: gauge("tiergate_journal_bytes"),
            available: gauge("tiergate_journal_available"),
            dropped_notes: recorder
                .register_counter(&Key::from_name("tiergate_journal_dropped_notes_total"), &METADATA),
        })
    }

    /// A group of so many records is durable; the first of its debits waited so long for that.
    pub fn committed(&self, records: usize, waited: Option<Span>) {
        self.group.record(records as f64);
        if let Some(waited) = waited {
            self.commit.record(waited.as_secs_f64());
        }
    }

    /// So much lies in the segments.
    pub fn bytes(&self, bytes: u64) {
        self.bytes.set(bytes as f64);
    }

    /// Whether it can write.
    pub fn available(&self, available: bool) {
        self.available.set(f64::from(u8::from(available)));
    }

    /// A record that need not be durable was not taken, since the disk is far behind.
    pub fn dropped_note(&self) {
        self.dropped_notes.increment(1);
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
        "Records that became durable together.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_journal_bytes"),
        Some(Unit::Bytes),
        "Bytes of the journal's segments.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_journal_available"),
        None,
        "1 while the journal can write, 0 while metered requests are refused because it can't.".into(),
    );
    recorder.describe_counter(
        name("tiergate_journal_dropped_notes_total"),
        None,
        "Records of what debits nothing that were not taken because the disk was far behind.".into(),
    );
}
