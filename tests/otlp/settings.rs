//! The environment variables.

use super::collector::{Collector, attributes, begin, start};
use crate::support::{Client, get, seven_tiers, soon};

fn yaml() -> String {
    seven_tiers(8, &[("127.0.0.1:1".parse().expect("an address"), 1)], "")
}

#[tokio::test]
async fn the_resource_and_headers_are_the_environments() {
    let collector = Collector::start().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=se%20cret,x-tenant=a"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ("OTEL_SERVICE_NAME", "front"),
    ];
    let program = start(&yaml(), collector.address, &env).await;
    let mut client = Client::connect(program.address).await;
    client.ask("GET", "/nothing", "x-request-id: one\r\n").await;
    collector.spans_of(&["one"]).await;
    let export = &collector.exports()[0];
    assert_eq!(export.head.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(export.head.get("host"), Some(&*collector.address.to_string()));
    assert_eq!(export.head.get("content-type"), Some("application/x-protobuf"));
    assert_eq!(
        (export.head.get("x-token"), export.head.get("x-tenant")),
        (Some("se cret"), Some("a"))
    );
    let spans = &export.decoded.resource_spans[0];
    let resource = attributes(&spans.resource.as_ref().expect("a resource").attributes);
    assert_eq!(resource["service.name"], "front");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "test");
    let scope = spans.scope_spans[0].scope.as_ref().expect("a scope");
    assert_eq!(scope.name, "tiergate");
    assert!(!program.log().contains("se cret"), "{}", program.log());
}

#[tokio::test]
async fn the_service_is_tiergate_unless_it_is_named() {
    let collector = Collector::start().await;
    let program = start(&yaml(), collector.address, &[]).await;
    get(program.address, "/nothing").await;
    soon("an export", async {
        while collector.exports().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let export = &collector.exports()[0];
    let resource = export.decoded.resource_spans[0].resource.as_ref();
    assert_eq!(
        attributes(&resource.expect("a resource").attributes)["service.name"],
        "tiergate"
    );
    let exported = r#"tiergate_trace_spans_total{result="exported"}"#;
    soon("the metric", async {
        while !get(program.admin, "/metrics")
            .await
            .text()
            .contains(&format!("{exported} 1\n"))
        {}
    })
    .await;
}

/// Nobody is refused a search for the sake of traces.
#[tokio::test]
async fn settings_that_are_not_supported_leave_traces_off() {
    let collector = Collector::start().await;
    for (name, value, told) in [
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://collector.example",
            "run a collector beside it",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "OTEL_EXPORTER_OTLP_PROTOCOL can only be http/protobuf",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://a b",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ),
    ] {
        let program = begin(&yaml(), collector.address, &[(name, value)]).opened().await;
        let program = program.expect("it starts without traces");
        assert_eq!(get(program.address, "/nothing").await.status(), 404);
        let log = program.log();
        assert!(
            log.contains("can't export traces; they stay off") && log.contains(told),
            "{log}"
        );
    }
    assert!(collector.exports().is_empty());
}
