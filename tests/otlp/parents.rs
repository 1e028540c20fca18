//! `traceparent` from the caller to the upstream server, and which requests are sampled.

use super::collector::{Collector, hex, start};
use crate::support::{Answer, Client, Head, Mirror, seven_tiers};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// The head at the upstream server of a search with that id and these headers.
async fn told(address: std::net::SocketAddr, id: &str, headers: &str) -> Head {
    let mut client = Client::connect(address).await;
    let headers = format!("x-request-id: {id}\r\n{headers}");
    let answer: Answer = client.ask("GET", "/search", &headers).await;
    answer.mirrored().await
}

#[tokio::test]
async fn an_unsampled_parent_is_passed_on_untouched() {
    let (collector, mirror) = (Collector::start().await, Mirror::start().await);
    let yaml = seven_tiers(8, &[(mirror.address, 4)], "");
    let program = start(&yaml, collector.address, &[]).await;
    // A later version's line, which the exporter would have written otherwise.
    let parent = format!("cc-{TRACE}-{SPAN}-00-later");
    let headers = format!("traceparent: {parent}\r\ntracestate: a=1\r\ntracestate: b=2\r\n");
    let head = told(program.address, "unsampled", &headers).await;
    assert_eq!(head.all("traceparent"), [parent]);
    assert_eq!(head.all("tracestate"), ["a=1", "b=2"]);

    // Spans are exported in their order: what comes before this would be here too.
    told(program.address, "sampled", "").await;
    collector.spans_of(&["sampled"]).await;
    let traces = collector.spans();
    assert!(traces.iter().all(|span| hex(&span.trace_id) != TRACE), "{traces:?}");
}

#[tokio::test]
async fn an_invalid_parent_begins_a_new_trace() {
    let (collector, mirror) = (Collector::start().await, Mirror::start().await);
    let yaml = seven_tiers(8, &[(mirror.address, 4)], "");
    let program = start(&yaml, collector.address, &[]).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let invalid = [
        ("zeros", format!("traceparent: 00-{TRACE}-0000000000000000-01\r\n")),
        ("two", format!("traceparent: {parent}\r\ntraceparent: {parent}\r\n")),
        ("none", String::new()),
    ];
    for (id, headers) in &invalid {
        let head = told(program.address, id, &format!("{headers}tracestate: a=1\r\n")).await;
        let trace = &collector.spans_of(&[id]).await[0];
        assert!(trace.request.parent_span_id.is_empty());
        assert_ne!(hex(&trace.request.trace_id), TRACE);
        let upstream = trace.upstream.as_ref().expect("it was served");
        let expected = format!("00-{}-{}-01", hex(&upstream.trace_id), hex(&upstream.span_id));
        assert_eq!(head.all("traceparent"), [expected]);
        assert!(head.get("tracestate").is_none(), "of another trace");
    }
}

/// What is not sampled here is not sampled by the upstream server either: otherwise it would begin traces of its own.
#[tokio::test]
async fn the_sampler_of_the_environment_decides() {
    let (collector, mirror) = (Collector::start().await, Mirror::start().await);
    let yaml = seven_tiers(8, &[(mirror.address, 4)], "");
    let sampler = [
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ];
    let program = start(&yaml, collector.address, &sampler).await;
    let head = told(program.address, "unsampled", "tracestate: a=1\r\n").await;
    let line = head.get("traceparent").expect("it was made").to_owned();
    assert!(
        line.starts_with("00-") && line.ends_with("-00") && line.len() == 55,
        "{line}"
    );
    assert!(head.get("tracestate").is_none());
    told(
        program.address,
        "sampled",
        &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n"),
    )
    .await;
    collector.spans_of(&["sampled"]).await;
    let spans = collector.spans();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:?}");
}
