//! `Prefer: wait=10` (RFC 7240): the longest time that a client is willing to wait. Other preferences are left to the upstream
//! server.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::time::Span;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The first `wait` of whole seconds in the request. Invalid values are ignored (RFC 7240 §2).
pub fn wait(headers: &HeaderMap) -> Option<Span> {
    let lines = headers.get_all(PREFER).iter().filter_map(|line| line.to_str().ok());
    let mut waits = lines.flat_map(|line| line.split(',')).filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds: u32 = value.trim().trim_matches('"').parse().ok()?;
        name.trim()
            .eq_ignore_ascii_case("wait")
            .then_some(Span::from_secs(seconds.into()))
    });
    waits.next()
}

/// Adds `Preference-Applied`.
pub fn applied(headers: &mut HeaderMap, wait: Span) {
    let text = format!("wait={}", wait.as_secs_ceil());
    let value = HeaderValue::from_str(&text).expect("digits are valid in a header");
    headers.append(PREFERENCE_APPLIED, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_seconds_are_a_wait() {
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(value));
            wait(&headers)
        };
        assert_eq!(wait("wait=10"), Some(Span::from_secs(10)));
        assert_eq!(wait("respond-async, Wait = \"3\"; x=y"), Some(Span::from_secs(3)));
        assert_eq!(wait("wait=0"), Some(Span::ZERO));
        for none in ["wait", "wait=", "wait=-1", "wait=1.5", "waiter=5", "wait=99999999999"] {
            assert_eq!(wait(none), None, "{none}");
        }
    }
}
