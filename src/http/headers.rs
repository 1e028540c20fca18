//! Request headers on their way to an upstream server: hop-by-hop headers are removed, then forged headers of tiergate's names,
//! then tiergate adds its own (rules §2, RFC 9110 §7.6.1).
//!
//! API keys are removed in `caller`.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::address::Client;
use crate::policy::rules::Tier;
use crate::store::Account;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_TIERGATE_ACCOUNT: HeaderName = HeaderName::from_static("x-tiergate-account");
const X_TIERGATE_TIER: HeaderName = HeaderName::from_static("x-tiergate-tier");
const X_TIERGATE_PRIORITY: HeaderName = HeaderName::from_static("x-tiergate-priority");
/// The cookie of the operator's page on the admin listener. Browsers send it to every port of its host.
pub const SESSION_COOKIE: &str = "tiergate_session";
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Hop-by-hop headers, whether or not `Connection` names them.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes hop-by-hop headers: the usual ones, and all that `Connection` names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        // Parsed as bytes: a non-ASCII byte must not hide the other names in the line.
        let lines = headers.get_all(header::CONNECTION).iter();
        let names = lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        for name in names.collect::<Vec<HeaderName>>() {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Turns a client's headers into those for the upstream server, except for the caller's identity ([`add_caller_headers`]). `host` is the
/// requested host, empty if there was none. `Host` and the body's length are set when the request is sent.
pub fn prepare_for_upstream(headers: &mut HeaderMap, client: Client, host: &str) {
    remove_hop_by_hop(headers);
    headers.remove(header::EXPECT);
    remove_look_alikes(headers, client.peer_is_trusted);
    remove_session_cookie(headers);
    set_forwarded(headers, client, host);
}

/// The cookies of a header line, each as `NAME=VALUE`.
pub fn cookies(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

/// The value, if that cookie is the operator's session.
pub fn session_in(cookie: &[u8]) -> Option<&[u8]> {
    let rest = cookie.strip_prefix(SESSION_COOKIE.as_bytes())?.trim_ascii_start();
    match rest.strip_prefix(b"=") {
        Some(value) => Some(value.trim_ascii()),
        None => rest.is_empty().then_some(rest),
    }
}

/// Removes the operator's session: it would let an upstream server act as the operator. Other cookies stay as they are.
fn remove_session_cookie(headers: &mut HeaderMap) {
    let is_session = |cookie: &[u8]| session_in(cookie).is_some();
    let mut lines = headers.get_all(header::COOKIE).iter();
    if !lines.any(|line| cookies(line).any(is_session)) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for line in lines {
        let rest: Vec<&[u8]> = cookies(&line).filter(|cookie| !is_session(cookie)).collect();
        let rest = rest.join(&b"; "[..]);
        if !rest.is_empty() {
            let rest = HeaderValue::from_bytes(&rest).expect("parts of a header line are valid header bytes");
            headers.append(header::COOKIE, rest);
        }
    }
}

/// Adds the headers that tell the upstream server the caller and its tier, in place of any sent by the client.
pub fn add_caller_headers(headers: &mut HeaderMap, account: Option<&Account>, tier: &Tier) {
    if let Some(account) = account {
        headers.insert(X_TIERGATE_ACCOUNT, carried(&account.name));
    }
    headers.insert(X_TIERGATE_TIER, carried(&tier.name));
    headers.insert(X_TIERGATE_PRIORITY, HeaderValue::from(u16::from(tier.priority.get())));
}

/// Removes every header with one of tiergate's names, and those that an upstream server may take for one: many frameworks read
/// `X_Tiergate_Tier` and `X-Tiergate-Tier` as the same, some also `X.Tiergate.Tier`. A trusted proxy's `X-Forwarded-…` headers
/// and those that name the client ([`CLIENTS_ADDRESS`]) stay.
fn remove_look_alikes(headers: &mut HeaderMap, peer_is_trusted: bool) {
    let forged = |name: &HeaderName| {
        let name = name.as_str();
        let as_read = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
        let reads_as = |prefix: &str| name.bytes().map(as_read).take(prefix.len()).eq(prefix.bytes());
        let is_plain = || name.bytes().all(|byte| as_read(byte) == byte);
        let names_the_client = || {
            let is_it = |known: &&str| name.len() == known.len() && reads_as(known);
            reads_as(FORWARDED) || CLIENTS_ADDRESS.iter().any(is_it)
        };
        // All of those names begin with one of these letters.
        name.starts_with(['x', 't', 'c', 'f'])
            && (reads_as(OURS) || (!(peer_is_trusted && is_plain()) && names_the_client()))
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| forged(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

const OURS: &str = "x-tiergate-";
const FORWARDED: &str = "x-forwarded-";

/// Other headers in which proxies name the client. Tiergate reads none of them, but an upstream server might.
const CLIENTS_ADDRESS: [&str; 8] = [
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
];

/// `X-Forwarded-For`, `-Proto` and `-Host`: extended if a trusted proxy has sent them, otherwise set anew.
fn set_forwarded(headers: &mut HeaderMap, client: Client, host: &str) {
    let begun = |name| begun(headers, name);
    let begun_x_forwarded_for = client
        .naming_headers
        .x_forwarded_for
        .then(|| begun(X_FORWARDED_FOR))
        .flatten();
    let begun_forwarded = client
        .naming_headers
        .forwarded
        .then(|| begun(header::FORWARDED))
        .flatten();
    let trail = match begun_x_forwarded_for {
        Some(trail) => continued(trail, &client.peer.to_string()),
        None if client.address == client.peer => carried(&client.peer.to_string()),
        None => carried(&format!("{}, {}", client.address, client.peer)),
    };
    headers.insert(X_FORWARDED_FOR, trail);
    match begun_forwarded {
        Some(trail) => {
            let hop = match client.peer {
                IpAddr::V4(peer) => format!("for={peer}"),
                IpAddr::V6(peer) => format!("for=\"[{peer}]\""),
            };
            headers.insert(header::FORWARDED, continued(trail, &hop));
        }
        // An untrusted client's claims about its route are worthless.
        None => {
            headers.remove(header::FORWARDED);
        }
    }
    if !client.peer_is_trusted || !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !client.peer_is_trusted || !headers.contains_key(X_FORWARDED_HOST) {
        match host {
            "" => headers.remove(X_FORWARDED_HOST),
            host => headers.insert(X_FORWARDED_HOST, carried(host)),
        };
    }
}

/// The addresses in all headers of that name, byte for byte, so that a client's text can't drop what proxies appended. `None`:
/// there is no such header.
fn begun(headers: &HeaderMap, name: HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// The list with one more hop.
fn continued(mut trail: Vec<u8>, hop: &str) -> HeaderValue {
    trail.extend_from_slice(b", ");
    trail.extend_from_slice(hop.as_bytes());
    HeaderValue::from_bytes(&trail).expect("header lines, commas, spaces and an address are valid header bytes")
}

/// The value of a header. The configuration admits only names that a header can carry; addresses and hosts are valid too.
fn carried(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("names are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::super::address::NamingHeaders;
    use super::*;
    use crate::policy::caller::AccountId;
    use crate::policy::rules::Priority;
    use crate::policy::time::UnixTime;

    fn sent(lines: &[(&'static str, &'static str)], trusted: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        with_ours(headers, trusted)
    }

    fn with_ours(mut headers: HeaderMap, trusted: bool) -> HeaderMap {
        let tier = Tier {
            name: "$5".into(),
            priority: Priority::new(2).expect("a priority"),
            concurrency: 1,
            quotas: Vec::new(),
            max_wait: None,
            displacements_per_minute: 0,
            limits: Vec::new(),
        };
        let (name, tier_name) = ("acme-bot".to_owned(), tier.name.clone());
        let account = Account::declared(AccountId(1), &name, tier_name.to_string(), UnixTime::default());
        let peer = "10.0.0.1".parse().expect("an address");
        let client = Client {
            peer,
            address: peer,
            peer_is_trusted: trusted,
            naming_headers: NamingHeaders {
                x_forwarded_for: trusted,
                forwarded: trusted,
            },
        };
        prepare_for_upstream(&mut headers, client, "api.example");
        add_caller_headers(&mut headers, Some(&account), &tier);
        headers
    }

    #[test]
    fn the_operators_session_stays_here() {
        let ours = "tiergate_session=0123456789abcdef";
        for (lines, left) in [
            (vec![ours], vec![]),
            (vec!["a=1; b=\"2\";c=3"], vec!["a=1; b=\"2\";c=3"]),
            (vec!["a=1;tiergate_session=x;b=2"], vec!["a=1; b=2"]),
            (
                vec!["tiergate_session = x ; a=tiergate_session"],
                vec!["a=tiergate_session"],
            ),
            (
                vec!["tiergate_sessions=1; xtiergate_session=2"],
                vec!["tiergate_sessions=1; xtiergate_session=2"],
            ),
            (
                vec!["a=1", ours, "tiergate_session", "b=2; tiergate_session="],
                vec!["a=1", "b=2"],
            ),
        ] {
            let lines: Vec<(&str, &str)> = lines.into_iter().map(|line| ("cookie", line)).collect();
            let headers = sent(&lines, true);
            let found: Vec<&HeaderValue> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(found, left, "{lines:?}");
        }
    }

    #[test]
    fn connection_is_processed_before_ours_are_added() {
        let headers = sent(
            &[
                ("connection", "close, X-Tiergate-Tier, x-forwarded-for, x-mine"),
                ("x-mine", "1"),
                ("te", "trailers"),
                ("x-yours", "2"),
            ],
            false,
        );
        assert_eq!(headers["x-tiergate-tier"], "$5");
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        assert_eq!(headers["x-yours"], "2");
        assert!(
            ["connection", "x-mine", "te"]
                .iter()
                .all(|name| !headers.contains_key(*name))
        );
    }

    /// Regression: a non-ASCII byte in `X-Forwarded-For` dropped the whole line with the proxy's entry, so the upstream server
    /// took the proxy for the client. In `Connection` it kept the other named headers from being removed.
    #[test]
    fn a_non_ascii_byte_removes_no_other_header() {
        let mut headers = HeaderMap::new();
        let lines: [(&'static str, &[u8]); 4] = [
            ("x-forwarded-for", b"\xff, 192.0.2.1"),
            ("x-forwarded-for", b"10.0.0.9"),
            ("connection", b"\xff, x-mine"),
            ("x-mine", b"1"),
        ];
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value).expect("valid header bytes");
            headers.append(HeaderName::from_static(name), value);
        }
        let headers = with_ours(headers, true);
        assert_eq!(
            headers["x-forwarded-for"].as_bytes(),
            b"\xff, 192.0.2.1, 10.0.0.9, 10.0.0.1"
        );
        assert!(!headers.contains_key("x-mine"));
    }

    #[test]
    fn forged_copies_of_our_headers_are_removed() {
        let forged = [
            "x-tiergate-account",
            "x_tiergate_account",
            "x-tiergate_tier",
            "x-tiergate-admin",
            "x_forwarded_for",
        ];
        let headers = sent(&forged.map(|name| (name, "forged")), false);
        assert!(headers.values().all(|value| value != "forged"), "{headers:?}");
        assert_eq!(headers["x-tiergate-account"], "acme-bot");
        assert_eq!(headers["x-tiergate-priority"], "2");
    }

    #[test]
    fn forwarded_headers_are_continued_for_a_trusted_proxy_only() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "front.example"),
            ("forwarded", "for=192.0.2.1"),
        ];
        let (trusted, stranger) = (sent(&lines, true), sent(&lines, false));
        assert_eq!(trusted["x-forwarded-for"], "192.0.2.1, 10.0.0.1");
        assert_eq!(trusted["x-forwarded-proto"], "https");
        assert_eq!(trusted["x-forwarded-host"], "front.example");
        assert_eq!(stranger["x-forwarded-for"], "10.0.0.1");
        assert_eq!(stranger["x-forwarded-proto"], "http");
        assert_eq!(stranger["x-forwarded-host"], "api.example");
        assert!(!stranger.contains_key("forwarded"));
    }
}
