//! The spans of a request: their tree, times and attributes.

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::collector::{Collector, attributes, hex, length, start, text};
use crate::support::{Arrived, Client, Head, UpstreamServer, get, seven_tiers, soon};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The milliseconds of that part of `Server-Timing`.
fn timing(head: &Head, part: &str) -> f64 {
    let line = head.get("server-timing").expect("an answer of an upstream server");
    let parts = line.split(", ").filter_map(|part| part.split_once(";dur="));
    let found = parts.clone().find(|(name, _)| *name == part);
    found.expect("both parts").1.parse().expect("a number")
}

fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    let mut found: Vec<(String, String)> = attributes(&span.attributes).into_iter().collect();
    found.sort();
    let mut expected: Vec<(String, String)> = (expected.iter())
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    expected.sort();
    assert_eq!(found, expected, "{}", span.name);
}

fn has_failed(span: &Span) -> bool {
    span.status
        .as_ref()
        .is_some_and(|status| status.code() == StatusCode::Error)
}

/// Whether the span is within the other.
fn is_within(span: &Span, other: &Span) -> bool {
    other.start_time_unix_nano <= span.start_time_unix_nano && span.end_time_unix_nano <= other.end_time_unix_nano
}

/// The tree, from the caller's span down to what the upstream server is told.
fn assert_tree(request: &Span, queue: &Span, upstream: &Span, sent: &Head) {
    let id = |span: &Span| hex(&span.span_id);
    assert_eq!(
        (hex(&request.trace_id), hex(&request.parent_span_id)),
        (PARENT[3..35].to_owned(), PARENT[36..52].to_owned())
    );
    let told = format!("00-{}-{}-01", &PARENT[3..35], id(upstream));
    assert_eq!(sent.all("traceparent"), [told]);
    assert_eq!(
        (sent.all("tracestate"), &*upstream.trace_state),
        (vec!["vendor=1"], "vendor=1")
    );
    assert_eq!((&*request.name, request.kind()), ("POST /search", SpanKind::Server));
    assert_eq!((queue.kind(), upstream.kind()), (SpanKind::Internal, SpanKind::Client));
}

/// The times, which the client is told too, to a tenth of a millisecond.
fn assert_times(request: &Span, queue: &Span, upstream: &Span, answer: &Head) {
    for (span, part) in [(queue, "queue"), (upstream, "upstream")] {
        let told = timing(answer, part);
        assert!(
            (length(span) - told).abs() <= 0.051,
            "{} and not {told} ms: {span:?}",
            length(span)
        );
        assert!(is_within(span, request), "{span:?} in {request:?}");
    }
    assert_eq!(queue.end_time_unix_nano, upstream.start_time_unix_nano);
}

/// Searches by `$20`: the first takes the one slot, the second is queued.
async fn queued(server: &UpstreamServer, address: std::net::SocketAddr) -> (Client, Arrived, Client) {
    let mut first = Client::connect(address).await;
    first
        .request("GET", "/search?key=key-20", "x-request-id: first\r\n")
        .await;
    let arrived = server.request().await;
    let mut second = Client::connect(address).await;
    let headers = format!("x-request-id: second\r\ntraceparent: {PARENT}\r\ntracestate: vendor=1\r\n");
    second.request("POST", "/search?key=key-20&q=private", &headers).await;
    (first, arrived, second)
}

async fn until_queued(admin: std::net::SocketAddr, jobs: &str) {
    soon("a queued job", async {
        loop {
            let page = get(admin, "/metrics").await.text();
            if page.contains(&format!("tiergate_queue_depth{{priority=\"5\"}} {jobs}\n")) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_queued_request_has_three_spans() {
    let (collector, server) = (Collector::start().await, UpstreamServer::start().await);
    let yaml = seven_tiers(8, &[(server.address, 1)], "log_addresses: full");
    let program = start(&yaml, collector.address, &[]).await;
    let (mut first, mut arrived, mut second) = queued(&server, program.address).await;
    until_queued(program.admin, "1").await;
    arrived.answer("found").await;
    assert_eq!(first.answer().await.status(), 200);
    let mut arrived = Arrived::on_either(arrived.stream, &server).await;
    arrived.answer("found too").await;
    let answer = second.answer().await;

    let traces = collector.spans_of(&["first", "second"]).await;
    assert!(traces[0].queue.is_none(), "it got its slot at once");
    assert_ne!(traces[0].request.trace_id, traces[1].request.trace_id);
    let request = &traces[1].request;
    let (queue, upstream) = (traces[1].queue.as_ref(), traces[1].upstream.as_ref());
    let (queue, upstream) = (queue.expect("it was queued"), upstream.expect("it was served"));

    assert_tree(request, queue, upstream, &arrived.head);
    assert_times(request, queue, upstream, &answer.head);
    let address = server.address.port().to_string();
    assert_attributes(queue, &[("tiergate.queue.result", "dispatched")]);
    assert_attributes(
        upstream,
        &[
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
            ("server.port", &address),
            ("tiergate.upstream", "search"),
        ],
    );
    assert_attributes(
        request,
        &[
            ("client.address", "127.0.0.1"),
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("http.route", "/search"),
            ("tiergate.account", "a20"),
            ("tiergate.priority", "5"),
            ("tiergate.request_id", "second"),
            ("tiergate.tier", "$20"),
            ("url.path", "/search"),
            ("url.scheme", "http"),
        ],
    );
    assert!(![request, queue, upstream].into_iter().any(has_failed));
}

/// Neither a key, wherever it is shown, nor a query is in any byte that is exported.
#[tokio::test]
async fn keys_and_queries_are_never_exported() {
    let (collector, server) = (Collector::start().await, UpstreamServer::start().await);
    let program = start(&seven_tiers(8, &[(server.address, 1)], ""), collector.address, &[]).await;
    let (mut first, mut arrived, mut second) = queued(&server, program.address).await;
    until_queued(program.admin, "1").await;
    arrived.answer("found").await;
    first.answer().await;
    Arrived::on_either(arrived.stream, &server).await.answer("found").await;
    second.answer().await;
    for (id, headers) in [
        ("header", "x-api-key: secret-one\r\n"),
        ("bearer", "authorization: Bearer secret-two\r\n"),
    ] {
        let mut client = Client::connect(program.address).await;
        let headers = format!("{headers}x-request-id: {id}\r\n");
        let answer = client.ask("GET", "/search?q=private", &headers).await;
        answer.assert_refused(403, "invalid_key");
    }
    let traces = collector.spans_of(&["first", "second", "header", "bearer"]).await;
    assert_eq!(text(&traces[0].request, "client.address").as_deref(), Some("127.0.0.0"));
    for export in collector.exports() {
        for secret in ["key-20", "secret", "private"] {
            let found = export
                .body
                .windows(secret.len())
                .any(|bytes| bytes == secret.as_bytes());
            assert!(!found, "{secret} in {:?}", export.decoded);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_one_span_with_its_reason() {
    let collector = Collector::start().await;
    let nowhere = "127.0.0.1:1".parse().expect("an address");
    let program = start(&seven_tiers(8, &[(nowhere, 1)], ""), collector.address, &[]).await;
    let ask = async |id: &str, path: &str, status: u16, reason: &str| {
        let mut client = Client::connect(program.address).await;
        client
            .ask("GET", path, &format!("x-request-id: {id}\r\n"))
            .await
            .assert_refused(status, reason);
    };
    ask("refused", "/nothing?x=1", 404, "not_found").await;
    ask("unreachable", "/search", 502, "upstream_unreachable").await;
    ask("unmetered", "/image/a", 502, "upstream_unreachable").await;
    let traces = collector.spans_of(&["refused", "unreachable", "unmetered"]).await;

    let refused = &traces[0];
    assert!(refused.queue.is_none() && refused.upstream.is_none() && !has_failed(&refused.request));
    assert_eq!(refused.request.name, "GET");
    assert_attributes(
        &refused.request,
        &[
            ("client.address", "127.0.0.0"),
            ("http.request.method", "GET"),
            ("http.response.status_code", "404"),
            ("tiergate.reason", "not_found"),
            ("tiergate.request_id", "refused"),
            ("url.path", "/nothing"),
            ("url.scheme", "http"),
        ],
    );
    for (trace, name) in [(&traces[1], "GET /search"), (&traces[2], "GET /image/{*rest}")] {
        let upstream = trace.upstream.as_ref().expect("it was tried");
        assert_eq!(trace.request.name, name);
        for span in [&trace.request, upstream] {
            assert_eq!(text(span, "error.type").as_deref(), Some("upstream_unreachable"));
            assert!(has_failed(span));
        }
        assert_eq!(text(upstream, "http.response.status_code"), None);
        assert_eq!(
            text(&trace.request, "http.response.status_code").as_deref(),
            Some("502")
        );
    }
}

#[tokio::test]
async fn a_job_that_leaves_the_queue_says_why() {
    let (collector, server) = (Collector::start().await, UpstreamServer::start().await);
    let yaml = seven_tiers(1, &[(server.address, 1)], "log_addresses: none");
    let program = start(&yaml, collector.address, &[]).await;
    let (mut first, mut arrived, second) = queued(&server, program.address).await;
    until_queued(program.admin, "1").await;
    drop(second);
    until_queued(program.admin, "0").await;
    let mut third = Client::connect(program.address).await;
    let headers = |key: &str, id: &str| format!("x-api-key: {key}\r\nx-request-id: {id}\r\n");
    third.request("GET", "/search", &headers("key-20", "third")).await;
    until_queued(program.admin, "1").await;
    let mut fourth = Client::connect(program.address).await;
    fourth.request("GET", "/search", &headers("key-100", "fourth")).await;
    third.answer().await.assert_refused(503, "displaced");
    arrived.answer_with("404 Not Found", "", "nothing").await;
    assert_eq!(first.answer().await.status(), 404);
    let mut arrived = Arrived::on_either(arrived.stream, &server).await;
    drop(fourth);
    let traces = collector.spans_of(&["first", "second", "third", "fourth"]).await;
    // A job goes on without its client.
    arrived.answer("found").await;

    let error = |span: &Option<Span>| text(span.as_ref().expect("a span"), "error.type");
    let result = |span: &Option<Span>| text(span.as_ref().expect("a span"), "tiergate.queue.result");
    assert_eq!(error(&traces[0].upstream).as_deref(), Some("404"));
    assert_eq!(text(&traces[0].request, "error.type"), None);
    assert_eq!(result(&traces[1].queue).as_deref(), Some("hung_up"));
    assert_eq!(result(&traces[2].queue).as_deref(), Some("displaced"));
    assert_eq!(result(&traces[3].queue).as_deref(), Some("dispatched"));
    assert_eq!(error(&traces[3].upstream).as_deref(), Some("hung_up"));
    for trace in &traces {
        assert_eq!(text(&trace.request, "client.address"), None);
        assert_eq!(has_failed(&trace.request), text(&trace.request, "error.type").is_some());
    }
    for hung_up in [&traces[1], &traces[3]] {
        assert_eq!(text(&hung_up.request, "error.type").as_deref(), Some("hung_up"));
        assert_eq!(text(&hung_up.request, "http.response.status_code"), None);
    }
}
