//! Bounds and counts the spans on their way to the collector, and tells of lost ones.
//!
//! [`Bounded`] stands before the SDK's batch processor, which would drop what exceeds its queue uncounted; [`Counted`] stands
//! before the exporter, on the processor's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use metrics::{Counter, Key, KeyName, Label, Level, Metadata, Recorder};
use opentelemetry::Context;
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use parking_lot::Mutex;
use tracing::warn;

use crate::clock::Clock;
use crate::policy::time::{Span as Length, Timestamp};

/// The least time between two log lines about lost spans.
const TELL_EVERY: Length = Length::from_secs(60);

/// What became of spans.
pub(super) struct Tally {
    /// Spans that wait to be exported, or are being exported.
    pending: AtomicUsize,
    pending_max: usize,
    exported: Counter,
    failed: Counter,
    dropped: Counter,
    /// Dropped spans of which no log line has told yet.
    untold: AtomicU64,
    /// What went wrong with the last request to the collector.
    cause: Mutex<Option<String>>,
}

impl Tally {
    /// Registers `tiergate_trace_spans_total`.
    pub(super) fn register(recorder: &impl Recorder, pending_max: usize) -> Arc<Self> {
        const NAME: &str = "tiergate_trace_spans_total";
        const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);
        let about = "Spans of sampled requests, by what became of them.";
        recorder.describe_counter(KeyName::from_const_str(NAME), None, about.into());
        let counter =
            |result| recorder.register_counter(&Key::from_parts(NAME, vec![Label::new("result", result)]), &METADATA);
        Arc::new(Self {
            pending: AtomicUsize::new(0),
            pending_max,
            exported: counter("exported"),
            failed: counter("failed"),
            dropped: counter("dropped"),
            untold: AtomicU64::new(0),
            cause: Mutex::default(),
        })
    }

    /// Spans that wait to be exported, or are being exported.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Relaxed)
    }

    /// The collector has answered, or what went wrong instead.
    pub(super) fn answered(&self, cause: Option<String>) {
        *self.cause.lock() = cause;
    }

    /// Whether one more span may wait. Otherwise it is counted as dropped.
    fn has_room(&self) -> bool {
        let has_room = self.pending.fetch_add(1, Relaxed) < self.pending_max;
        if !has_room {
            self.pending.fetch_sub(1, Relaxed);
            self.dropped.increment(1);
            self.untold.fetch_add(1, Relaxed);
        }
        has_room
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

/// A batch processor behind a bound.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) processor: BatchSpanProcessor,
    pub(super) tally: Arc<Tally>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.tally.has_room() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// An exporter whose results are counted.
#[derive(Debug)]
pub(super) struct Counted {
    exporter: OtlpExporter,
    tally: Arc<Tally>,
    clock: Clock,
    told: Mutex<Told>,
}

/// What log lines have told of lost spans.
#[derive(Debug, Default)]
struct Told {
    /// Spans that the collector has not got since the last line.
    failed: usize,
    /// No line comes before this.
    next: Timestamp,
}

impl Counted {
    pub(super) fn new(exporter: OtlpExporter, tally: Arc<Tally>, clock: Clock) -> Self {
        Self {
            exporter,
            tally,
            clock,
            told: Mutex::default(),
        }
    }

    fn finished(&self, spans: usize, done: &OTelSdkResult) {
        self.tally.pending.fetch_sub(spans, Relaxed);
        let mut told = self.told.lock();
        match done {
            Ok(()) => self.tally.exported.increment(spans as u64),
            Err(_) => {
                self.tally.failed.increment(spans as u64);
                told.failed += spans;
            }
        }
        let now = self.clock.now();
        let has_lost = told.failed > 0 || self.tally.untold.load(Relaxed) > 0;
        if has_lost && now >= told.next {
            let failed = std::mem::take(&mut told.failed);
            told.next = now + TELL_EVERY;
            let dropped = self.tally.untold.swap(0, Relaxed);
            let cause = self.tally.cause.lock().clone();
            let error = cause.or_else(|| done.as_ref().err().map(ToString::to_string));
            warn!(
                failed,
                dropped, error, "trace spans were lost: the collector failed or is too slow"
            );
        }
    }
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let done = self.exporter.export(batch).await;
        self.finished(spans, &done);
        done
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
