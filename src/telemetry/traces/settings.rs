//! The settings of traces: the environment variables of OpenTelemetry. Those that the SDK and the exporter read themselves are
//! only checked here, since both replace what they don't know by a default, silently.

use std::time::Duration;

use http::Uri;

use super::Endpoint;

/// The longest export, unless the environment says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most spans that wait to be exported, unless the environment says otherwise.
const PENDING_SPANS_MAX: usize = 2_048;

/// Where spans go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TraceSettings {
    pub(super) endpoint: Endpoint,
    /// The longest export of a batch.
    pub(super) timeout: Duration,
    /// The most spans that wait to be exported; further ones are dropped.
    pub(super) pending_max: usize,
    /// The name that overrides all others.
    pub(super) service_name: Option<String>,
}

impl TraceSettings {
    /// The settings in these variables; `None` if they ask for no traces.
    ///
    /// # Errors
    /// They ask for something that tiergate can't do.
    pub(super) fn read(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let Some(endpoint) = Endpoint::wanted(variable) else {
            return Ok(None);
        };
        check_endpoint(&endpoint)?;
        check_supported(variable)?;
        check_sampler(variable)?;
        let of_traces = |of_all: &str| {
            let specific = of_all.replace("OTLP_", "OTLP_TRACES_");
            variable(&specific).or_else(|| variable(of_all))
        };
        let timeout = of_traces("OTEL_EXPORTER_OTLP_TIMEOUT").and_then(|millis| millis.parse().ok());
        let pending_max = variable("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|spans| spans.parse().ok());
        Ok(Some(Self {
            endpoint,
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            pending_max: pending_max.filter(|max| *max > 0).unwrap_or(PENDING_SPANS_MAX),
            service_name: variable("OTEL_SERVICE_NAME"),
        }))
    }
}

fn check_endpoint(endpoint: &Endpoint) -> Result<(), String> {
    let Endpoint { variable, url } = endpoint;
    // The value is not repeated: it may have a password.
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    match uri.as_ref().and_then(Uri::scheme_str) {
        Some("http") => Ok(()),
        Some("https") => Err(format!(
            "{variable} is https, and tiergate exports by plain HTTP only: run a collector beside it"
        )),
        _ => Err(format!("{variable} is no URL such as http://127.0.0.1:4318")),
    }
}

fn check_supported(variable: &impl Fn(&str) -> Option<String>) -> Result<(), String> {
    for (name, supported) in [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
    ] {
        if variable(name).is_some_and(|value| value != supported) {
            return Err(format!("{name} can only be {supported}"));
        }
    }
    Ok(())
}

fn check_sampler(variable: &impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let Some(name) = variable("OTEL_TRACES_SAMPLER") else {
        return Ok(());
    };
    match name.strip_prefix("parentbased_").unwrap_or(&name) {
        "always_on" | "always_off" => Ok(()),
        "traceidratio" => {
            let ratio = variable("OTEL_TRACES_SAMPLER_ARG").and_then(|ratio| ratio.parse::<f64>().ok());
            match ratio {
                Some(0.0..=1.0) => Ok(()),
                _ => Err("OTEL_TRACES_SAMPLER_ARG is no ratio from 0.0 to 1.0".to_owned()),
            }
        }
        _ => Err(
            "OTEL_TRACES_SAMPLER can only be always_on, always_off, traceidratio, or one of these after parentbased_"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
        TraceSettings::read(&|name| {
            let mut variables = variables.iter();
            variables
                .find(|(of, _)| *of == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    #[test]
    fn an_endpoint_turns_traces_on() {
        for off in [
            &[][..],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            &[("OTEL_TRACES_SAMPLER", "unknown"), ("OTEL_SERVICE_NAME", "x")],
        ] {
            assert_eq!(read(off), Ok(None), "{off:?}");
        }
        let on = read(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "otlp")]);
        let on = on.expect("valid").expect("on");
        assert_eq!((on.timeout, on.pending_max), (TIMEOUT, PENDING_SPANS_MAX));
        assert_eq!((on.endpoint.variable, &*on.endpoint.url), ENDPOINT);
    }

    #[test]
    fn variables_of_traces_come_first() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/traces"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
        ]);
        let settings = settings.expect("valid").expect("on");
        assert_eq!(settings.endpoint.variable, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert_eq!((settings.timeout, settings.pending_max), (Duration::from_secs(2), 16));
    }

    #[test]
    fn what_is_not_supported_is_an_error() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a b"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ] {
            let error = read(&[(name, value), ENDPOINT]).expect_err(value);
            assert!(error.starts_with(name), "{error}");
        }
        let ratio = |ratio| {
            read(&[
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", ratio),
            ])
        };
        assert!(ratio("0.25").is_ok());
        assert!(ratio("1.5").is_err() && ratio("NaN").is_err() && ratio("a quarter").is_err());
    }
}
