//! Starts the SDK as the environment says, and ends it.

use std::sync::Arc;
use std::time::Duration;

use metrics::Recorder;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use tracing::{error, info, warn};

use super::client::Client;
use super::export::{Bounded, Counted, Tally};
use super::settings::TraceSettings;
use super::variable;
use crate::clock::Clock;
use crate::telemetry::access_log::AddressDisplay;

/// How long the end of the program waits for the last spans to be exported.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// The program's name in traces.
const NAME: &str = "tiergate";

/// Makes spans and exports them. Its clones share a queue and a thread.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    tally: Arc<Tally>,
    pub(super) tracer: SdkTracer,
    pub(super) clock: Clock,
    pub(super) addresses: AddressDisplay,
}

impl Traces {
    /// Starts to export traces, if the environment says so. An environment that asks for what tiergate can't do is an error in
    /// the log, and there are no traces: nobody is refused a search for them.
    pub fn from_environment(recorder: &impl Recorder, clock: Clock) -> Option<Self> {
        let settings = TraceSettings::read(&variable);
        let started = settings.and_then(|settings| {
            let started = settings.map(|settings| Self::start(settings, recorder, clock));
            started.transpose().map_err(|error| error.to_string())
        });
        started.unwrap_or_else(|error| {
            error!(%error, "can't export traces; they stay off");
            None
        })
    }

    fn start(settings: TraceSettings, recorder: &impl Recorder, clock: Clock) -> Result<Self, ExporterBuildError> {
        let tally = Tally::register(recorder, settings.pending_max);
        let client = Client {
            clock,
            timeout: settings.timeout.into(),
            tally: Arc::clone(&tally),
        };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).build()?;
        let batches = BatchConfigBuilder::default().with_max_queue_size(settings.pending_max);
        let processor = BatchSpanProcessor::builder(Counted::new(exporter, Arc::clone(&tally), clock))
            .with_batch_config(batches.build())
            .build();
        let processor = Bounded {
            processor,
            tally: Arc::clone(&tally),
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource(settings.service_name))
            .build();
        let version = env!("CARGO_PKG_VERSION");
        let scope = InstrumentationScope::builder(NAME).with_version(version).build();
        // The value may have a password.
        let variable = settings.endpoint.variable;
        info!("exporting traces, to the collector in {variable}");
        Ok(Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            tally,
            clock,
            addresses: AddressDisplay::default(),
        })
    }

    /// The same, with clients' addresses written like that.
    pub fn showing(&self, addresses: AddressDisplay) -> Self {
        Self {
            addresses,
            ..self.clone()
        }
    }

    /// Exports what is left, and waits for it, at most `CLOSE_PATIENCE`.
    pub fn close(&self) {
        if self.provider.shutdown_with_timeout(CLOSE_PATIENCE).is_err() {
            let spans = self.tally.pending();
            warn!(spans, "trace spans were lost: the collector did not take them in time");
        }
    }
}

fn resource(name: Option<String>) -> Resource {
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", NAME))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match name {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}
