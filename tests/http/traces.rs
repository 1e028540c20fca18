//! A build without the feature `otlp`. tests/otlp has what a build with it does.

use std::sync::Arc;

use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{Answer, Client, Mirror, seven_tiers};

#[tokio::test]
async fn a_build_without_traces_says_so() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 4)], "");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let env = |more: &[(&str, &str)]| -> Vec<(String, String)> {
        let all = std::iter::once(&endpoint).chain(more);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let said =
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this tiergate was built without OTLP; build it with --features otlp";
    for (more, says) in [(&[][..], true), (&[("OTEL_TRACES_EXPORTER", "none")], false)] {
        let folder = Arc::new(Folder::new());
        let program = Program::begin_in_environment(folder, &yaml, "info", &env(more)).opened();
        let program = program.await.expect("it starts");
        assert_eq!(program.log().contains(said), says, "{}", program.log());
        let mut client = Client::connect(program.address).await;
        let answer: Answer = client.ask("GET", "/search", "traceparent: as it is\r\n").await;
        assert_eq!(answer.mirrored().await.all("traceparent"), ["as it is"]);
    }
}
