//! Hosts of routes, limits and requests, compared without regard to case, port and trailing dot.

use std::net::Ipv6Addr;

/// A host in its canonical spelling, except for case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host<T> {
    /// Without port and trailing dot.
    Name(T),
    V6(Ipv6Addr),
}

impl<'h> Host<&'h str> {
    /// Parses a host with or without port. A malformed one becomes a name that no route has.
    pub(super) fn parse(text: &'h str) -> Self {
        let bracketed = text.strip_prefix('[').and_then(|inner| inner.split_once(']'));
        if let Ok(address) = bracketed.map_or(text, |(inner, _)| inner).parse() {
            return Self::V6(address);
        }
        let name = match text.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => text,
        };
        Self::Name(name.strip_suffix('.').unwrap_or(name))
    }

    pub(super) fn to_owned(&self) -> Host<String> {
        match self {
            Self::Name(name) => Host::Name(name.to_ascii_lowercase()),
            Self::V6(address) => Host::V6(*address),
        }
    }
}

impl Host<String> {
    /// Whether both are the same host.
    pub(super) fn is(&self, other: &Host<&str>) -> bool {
        match (self, other) {
            (Self::Name(own), Host::Name(other)) => own.eq_ignore_ascii_case(other),
            (Self::V6(own), Host::V6(other)) => own == other,
            _ => false,
        }
    }
}
