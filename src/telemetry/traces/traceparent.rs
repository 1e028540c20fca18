//! The headers of W3C Trace Context, level 1: `traceparent` and `tracestate`.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The length of a `traceparent` of version 00: `00-TRACE-PARENT-FLAGS`.
const LENGTH: usize = 55;

/// The caller's span, if the request names it validly. Otherwise the request begins a trace of its own.
pub(super) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let (trace_id, span_id, flags) = parse(line.as_bytes())?;
    let context = SpanContext::new(trace_id, span_id, flags, true, state(headers));
    context.is_valid().then_some(context)
}

fn parse(line: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    // Later versions may append fields.
    let (known, more) = line.split_at_checked(LENGTH)?;
    let is_known = more.is_empty() || (more[0] == b'-' && !known.starts_with(b"00"));
    let is_hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let dashes = [2, 35, 52];
    let has_dashes = dashes.iter().all(|at| known[*at] == b'-');
    let fields = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
    if !is_known || !has_dashes || known.starts_with(b"ff") || !fields.into_iter().all(is_hex) {
        return None;
    }
    let [_, trace_id, span_id, flags] = fields.map(|field| str::from_utf8(field).unwrap_or_default());
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some((
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        flags,
    ))
}

/// The vendors' entries, which may stand in several lines. Invalid ones count as none.
fn state(headers: &HeaderMap) -> TraceState {
    let lines = headers.get_all(TRACESTATE).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    lines.join(",").parse().unwrap_or_default()
}

/// Makes that span the parent of what the upstream server does. The caller's `tracestate` stays as it is, if that span is of the
/// caller's trace.
pub(super) fn set(headers: &mut HeaderMap, span: &SpanContext, is_callers_trace: bool) {
    let (trace_id, span_id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    let line = format!("00-{trace_id}-{span_id}-{flags:02x}");
    let line = HeaderValue::from_str(&line).expect("digits and dashes");
    headers.insert(TRACEPARENT, line);
    if !is_callers_trace {
        headers.remove(TRACESTATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn sent(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a header's value"));
        }
        headers
    }

    #[test]
    fn a_valid_parent_is_taken() {
        let headers = sent(&[("traceparent", VALID), ("tracestate", "a=1,b=2"), ("tracestate", "c=3")]);
        let context = parent(&headers).expect("valid");
        assert_eq!(context.trace_id().to_string(), &VALID[3..35]);
        assert_eq!(context.span_id().to_string(), &VALID[36..52]);
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state().header(), "a=1,b=2,c=3");

        let later = format!("cc{}-what-comes-later", &VALID[2..]);
        assert!(parent(&sent(&[("traceparent", &later)])).is_some());
        // Of the flags only the sampled one is known.
        let flags = VALID.replace("b7-01", "b7-fe");
        assert!(!parent(&sent(&[("traceparent", &flags)])).expect("valid").is_sampled());
    }

    #[test]
    fn an_invalid_parent_is_none() {
        let zeros = |digits: usize| "0".repeat(digits);
        for invalid in [
            String::new(),
            VALID[..54].to_owned(),
            format!("{VALID}-more"),
            format!("{VALID}0"),
            format!("ff{}", &VALID[2..]),
            VALID.to_uppercase(),
            VALID.replace('-', "_"),
            VALID.replace("4bf9", "+bf9"),
            VALID.replace(&VALID[3..35], &zeros(32)),
            VALID.replace(&VALID[36..52], &zeros(16)),
        ] {
            assert!(parent(&sent(&[("traceparent", &invalid)])).is_none(), "{invalid}");
        }
        assert!(parent(&sent(&[("traceparent", VALID), ("traceparent", VALID)])).is_none());
        let odd_state = sent(&[("traceparent", VALID), ("tracestate", "=,;")]);
        assert!(parent(&odd_state).expect("valid").trace_state().header().is_empty());
    }

    #[test]
    fn only_the_callers_own_state_is_passed_on() {
        let context = parent(&sent(&[("traceparent", VALID)])).expect("valid");
        for (is_callers_trace, left) in [(true, Some("a=1")), (false, None)] {
            let mut headers = sent(&[("traceparent", "x"), ("traceparent", "y"), ("tracestate", "a=1")]);
            set(&mut headers, &context, is_callers_trace);
            let lines: Vec<_> = headers.get_all(TRACEPARENT).iter().collect();
            assert_eq!(lines, [VALID]);
            assert_eq!(headers.get(TRACESTATE).map(|state| state.to_str().expect("text")), left);
        }
    }
}
