//! OpenTelemetry traces by OTLP: a span for each request, with children for its wait in the queue and for its exchange with an
//! upstream server (docs/tracing.md).
//!
//! Without the feature `otlp`, [`Traces`] and [`RequestTrace`] have no values, so that the calls in the request path are compiled
//! away.

#[cfg(feature = "otlp")]
mod client;
#[cfg(not(feature = "otlp"))]
mod disabled;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod provider;
#[cfg(feature = "otlp")]
mod request;
#[cfg(feature = "otlp")]
mod settings;
#[cfg(feature = "otlp")]
mod traceparent;

#[cfg(not(feature = "otlp"))]
pub use disabled::{RequestTrace, Traces};
#[cfg(feature = "otlp")]
pub use provider::Traces;
#[cfg(feature = "otlp")]
pub use request::RequestTrace;

/// The collector, as the environment names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    /// The variable that names it.
    variable: &'static str,
    /// Its URL, as it is written there.
    url: String,
}

impl Endpoint {
    /// Where the environment wants traces sent. `None`: nowhere.
    fn wanted(variable: &impl Fn(&str) -> Option<String>) -> Option<Self> {
        let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled || variable("OTEL_TRACES_EXPORTER").as_deref() == Some("none") {
            return None;
        }
        let mut names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"].into_iter();
        names.find_map(|name| {
            let url = variable(name)?;
            Some(Self { variable: name, url })
        })
    }
}

/// A variable of this process. An empty one counts as unset, as OpenTelemetry has it.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
