//! The client is whom the slow one finds in any two headers, and a connection begins with what the slow one reads there.
#![no_main]

#[path = "../../tests/address/oracle.rs"]
mod oracle;

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use oracle::{Believed, Greeting};
use tiergate::http::address::{ForwardedHeader, NetworkSet, TrustedProxies};
use tiergate::http::proxy_protocol::{self, Header, NoHeader};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// Half of all addresses, so that a chain goes on now and then.
const TRUSTED: [&str; 3] = ["10.0.0.0/8", "128.0.0.0/1", "8000::/1"];

/// Those of the server, for each header that it may believe, and the oracle's word for that.
static PROXIES: LazyLock<[(TrustedProxies, Believed); 3]> = LazyLock::new(|| {
    [
        (ForwardedHeader::Either, Believed::Either),
        (ForwardedHeader::XForwardedFor, Believed::XForwardedFor),
        (ForwardedHeader::Forwarded, Believed::Forwarded),
    ]
    .map(|(header, believed)| (TrustedProxies::new(trusted(), header), believed))
});

static NETWORKS: LazyLock<NetworkSet> = LazyLock::new(|| NetworkSet::new(trusted()));

fn trusted() -> Vec<ipnet::IpNet> {
    TRUSTED.map(|network| network.parse().expect("a network")).to_vec()
}

/// As lines of headers: those that begin with `x` are of `X-Forwarded-For`, the others of `Forwarded`.
fn check_headers(bytes: &[u8]) {
    let (mut x_forwarded_for, mut forwarded) = (Vec::new(), Vec::new());
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let (name, lines, line) = match line {
            [b'x', line @ ..] => ("x-forwarded-for", &mut x_forwarded_for, line),
            line => ("forwarded", &mut forwarded, line),
        };
        // Others arrive in no header.
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static(name), value);
            lines.push(line.to_vec());
        }
    }
    let is_trusted = |address: IpAddr| NETWORKS.contain(address);
    for (proxies, believed) in PROXIES.iter() {
        let fast = proxies.client(SocketAddr::new(PEER, 1), &headers);
        let fast = fast.ok().map(|client| client.address);
        let slow = oracle::client(PEER, &is_trusted, *believed, &x_forwarded_for, &forwarded);
        assert_eq!(fast, slow, "{believed:?}");
    }
}

fn door_says(bytes: &[u8]) -> Greeting {
    match proxy_protocol::header(bytes) {
        Ok(None) => Greeting::Begun,
        Ok(Some(Header { length, source })) => Greeting::Header(length, source),
        Err(NoHeader) => Greeting::Garbage,
    }
}

fuzz_target!(|bytes: &[u8]| {
    check_headers(bytes);
    let whole = door_says(bytes);
    assert_eq!(whole, oracle::greeting(bytes));
    let half = door_says(&bytes[..bytes.len() / 2]);
    assert!(half == whole || half == Greeting::Begun, "{half:?}, then {whole:?}");
});
