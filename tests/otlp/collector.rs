//! A collector: an HTTP server that decodes what it gets by the protocol's own definitions.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::folder::Folder;
use crate::support::message::{Head, read_framed, read_head};
use crate::support::program::{Program, Starting};
use crate::support::soon;

/// How often the program exports, in milliseconds.
const EXPORT_EVERY: &str = "20";

/// A collector that keeps what it gets.
pub struct Collector {
    pub address: SocketAddr,
    exports: Arc<Mutex<Vec<Export>>>,
    task: tokio::task::JoinHandle<()>,
}

/// One request to the collector.
#[derive(Clone, Debug)]
pub struct Export {
    pub head: Head,
    pub body: Vec<u8>,
    pub decoded: ExportTraceServiceRequest,
}

impl Collector {
    pub async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports"))
    }

    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("it listens");
        let exports = Arc::<Mutex<Vec<Export>>>::default();
        let kept = Arc::clone(&exports);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let export = take(stream).await;
                kept.lock().expect("nobody panics with it").push(export);
            }
        });
        Self { address, exports, task }
    }

    /// What it has got so far.
    pub fn exports(&self) -> Vec<Export> {
        self.exports.lock().expect("nobody panics with it").clone()
    }

    /// All spans that it has got so far.
    pub fn spans(&self) -> Vec<Span> {
        let exports = self.exports();
        let resources = exports.iter().flat_map(|export| &export.decoded.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The spans, once the requests of these ids (`X-Request-Id`) are among them: a request's own span is exported last.
    pub async fn spans_of(&self, ids: &[&str]) -> Vec<Trace> {
        soon(&format!("spans of {ids:?}"), async {
            loop {
                let spans = self.spans();
                let traces: Vec<Trace> = ids.iter().filter_map(|id| Trace::of(id, &spans)).collect();
                if traces.len() == ids.len() {
                    return traces;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(mut stream: TcpStream) -> Export {
    let (head, ahead) = read_head(&mut stream).await;
    let head = head.expect("the exporter sends a head");
    let (body, _) = read_framed(&mut stream, &head, ahead)
        .await
        .expect("the exporter sends a body");
    let decoded = ExportTraceServiceRequest::decode(&*body).expect("it is OTLP");
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).await.expect("the exporter reads");
    Export { head, body, decoded }
}

/// The spans of one request.
#[derive(Debug)]
pub struct Trace {
    pub request: Span,
    pub queue: Option<Span>,
    pub upstream: Option<Span>,
}

impl Trace {
    fn of(id: &str, spans: &[Span]) -> Option<Self> {
        let request = spans
            .iter()
            .find(|span| text(span, "tiergate.request_id").as_deref() == Some(id))?;
        let child = |name: &str| {
            let mut named = spans
                .iter()
                .filter(|span| span.name == name && span.parent_span_id == request.span_id);
            let child = named.next().cloned();
            assert!(named.next().is_none(), "two spans {name} of {id}");
            assert!(
                child.iter().all(|child| child.trace_id == request.trace_id),
                "{spans:?}"
            );
            child
        };
        Some(Self {
            request: request.clone(),
            queue: child("queue"),
            upstream: child("upstream"),
        })
    }
}

/// The attributes, numbers as text.
pub fn attributes(of: &[KeyValue]) -> HashMap<String, String> {
    let shown = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("neither a text nor a number: {other:?}"),
    };
    of.iter().map(|pair| (pair.key.clone(), shown(&pair.value))).collect()
}

/// That attribute, if the span has it.
pub fn text(span: &Span, name: &str) -> Option<String> {
    attributes(&span.attributes).remove(name)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In milliseconds.
pub fn length(span: &Span) -> f64 {
    (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e6
}

/// Begins to start the program with this tiers.yaml, whose traces go to that address.
pub fn begin(yaml: &str, collector: SocketAddr, env: &[(&str, &str)]) -> Starting {
    let endpoint = format!("http://{collector}");
    let mut all = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", EXPORT_EVERY),
    ];
    all.extend(env);
    let env: Vec<(String, String)> = (all.into_iter())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Program::begin_in_environment(Arc::new(Folder::new()), yaml, "info", &env)
}

/// Starts the program with this tiers.yaml, whose traces go to that address.
pub async fn start(yaml: &str, collector: SocketAddr, env: &[(&str, &str)]) -> Program {
    begin(yaml, collector, env).opened().await.expect("the proxy starts")
}
