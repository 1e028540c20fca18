//! The host of a request, and the target that the upstream server gets.

use std::net::Ipv6Addr;

use http::request::Parts;
use http::{Uri, Version, header};

use crate::policy::refusal::Refusal;

/// The host of the request: from the target if it names one, otherwise from `Host`, which HTTP/1.1 requires exactly once (RFC
/// 9112 §3.2).
pub(super) fn host(head: &Parts) -> Result<String, Refusal> {
    let mut lines = head.headers.get_all(header::HOST).iter();
    let (first, second) = (lines.next(), lines.next());
    if second.is_some() {
        return Err(Refusal::BadRequest("more than one Host header".into()));
    }
    let named = match (head.uri.authority(), first) {
        (Some(authority), _) => Some(authority.as_str()),
        (None, Some(host)) => host.to_str().ok(),
        (None, None) if head.version == Version::HTTP_11 => {
            return Err(Refusal::BadRequest("the Host header is missing".into()));
        }
        (None, None) => Some(""),
    };
    named
        .filter(|named| is_host(named))
        .map(str::to_owned)
        .ok_or_else(|| Refusal::BadRequest("the Host header is not a valid host".into()))
}

/// Whether this is a host with or without a port, or empty: nothing that an upstream server could read as two hosts, as user
/// information, or as a path.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (text, ""),
    };
    let bracketed = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let is_name = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    is_name && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The target for the upstream server: a path with its query (RFC 9112 §3.2.1).
pub(super) fn target(path: &str, query: Option<&str>) -> Result<Uri, Refusal> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    text.parse()
        .map_err(|_| Refusal::BadRequest("the request target is invalid".into()))
}
