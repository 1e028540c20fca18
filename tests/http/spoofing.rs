//! Who the client is: only listed proxies are believed, in headers and in the PROXY protocol, and those are understood.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Answer, Arrived, Client, Mirror, Plan, Proxy, UpstreamServer, seven_tiers};

/// A proxy in front of a mirror; `more` is added at the top level.
async fn open(more: &str) -> (Proxy, Mirror) {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], more));
    (proxy, mirror)
}

/// The client's id as the proxy sees it, by `/me`.
async fn id(client: &mut Client, headers: &str) -> String {
    let me: Value = client.ask("GET", "/me", headers).await.json();
    me["id"].as_str().expect("every caller has an id").to_owned()
}

/// Headers with which a client claims to be another.
const FORGED: &str = "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6;proto=https;host=\"6.6.6.6\"\r\nX-Real-IP: 6.6.6.6\r\n\
    X_Real_IP: 6.6.6.6\r\nX-Client-IP: 6.6.6.6\r\nX-Cluster-Client-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\n\
    CF-Connecting-IP: 6.6.6.6\r\nFastly-Client-IP: 6.6.6.6\r\nX-Original-Forwarded-For: 6.6.6.6\r\n\
    X_Forwarded_For: 6.6.6.6\r\nX.Forwarded.For: 6.6.6.6\r\nX-Forwarded-By: 6.6.6.6\r\nX-Forwarded: for=6.6.6.6\r\n";

#[tokio::test]
async fn untrusted_peers_cannot_claim_another_address() {
    for more in [
        "",
        "trusted_proxies: [127.0.0.2]",
        "trusted_proxies: [127.0.0.2]\nforwarded_header: forwarded",
    ] {
        let (proxy, _mirror) = open(more).await;
        let mut untrusted = Client::connect_from(9, proxy.address).await;
        assert_eq!(id(&mut untrusted, FORGED).await, "127.0.0.9", "{more}");
        for path in ["/search", "/image/1"] {
            let answer = untrusted.ask("GET", path, FORGED).await;
            let seen = answer.mirrored().await;
            assert!(!answer.text().contains("6.6.6.6"), "{more}: {}", answer.text());
            assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.9"]);
            assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
        }
    }
}

/// `X-Forwarded-For`, the same as `Forwarded`, and the address among them that is the client.
const CHAINS: [(&str, &str, &str); 12] = [
    // The first entry is forged in all of these.
    ("6.6.6.6, 192.0.2.7", "for=6.6.6.6, for=192.0.2.7", "192.0.2.7"),
    (
        "6.6.6.6, 192.0.2.7, 10.0.0.2",
        "for=6.6.6.6, for=192.0.2.7;proto=https, for=10.0.0.2;by=_x",
        "192.0.2.7",
    ),
    (
        "10.0.0.9, 192.0.2.7:4711",
        "for=10.0.0.9, for=\"192.0.2.7:4711\"",
        "192.0.2.7",
    ),
    (
        "6.6.6.6, [2001:db8:2::7]:4711, 10.0.0.2",
        "for=6.6.6.6, for=\"[2001:db8:2::7]:4711\", for=10.0.0.2",
        "2001:db8:2::7",
    ),
    (
        "6.6.6.6, 2001:db8:2::7",
        "for=6.6.6.6, for=\"[2001:db8:2::7]\"",
        "2001:db8:2::7",
    ),
    (
        "192.0.2.7, [2001:db8:1::9]:80",
        "for=192.0.2.7, for=\"[2001:db8:1::9]:_p\"",
        "192.0.2.7",
    ),
    (
        "6.6.6.6, ::ffff:192.0.2.7",
        "for=6.6.6.6, for=\"[::ffff:192.0.2.7]\"",
        "192.0.2.7",
    ),
    (
        "192.0.2.7, ::ffff:10.0.0.2",
        "for=192.0.2.7, for=\"[::ffff:10.0.0.2]\"",
        "192.0.2.7",
    ),
    // A proxy that hides its client counts as the client.
    (
        "6.6.6.6, unknown, 10.0.0.2",
        "for=6.6.6.6, for=unknown, for=10.0.0.2",
        "10.0.0.2",
    ),
    ("6.6.6.6, _hidden", "for=6.6.6.6, for=_hidden", "127.0.0.1"),
    ("6.6.6.6, ", "for=6.6.6.6, proto=http", "127.0.0.1"),
    // A quotation mark that a client opens ends before the part that the proxy adds.
    ("\"6.6.6.6, 192.0.2.7", "for=\"6.6.6.6, for=192.0.2.7", "192.0.2.7"),
];

#[tokio::test]
async fn the_rightmost_untrusted_address_is_the_client() {
    let (proxy, _mirror) = open("trusted_proxies: [127.0.0.0/8, 10.0.0.0/8, \"2001:db8:1::/48\"]").await;
    let mut trusted = Client::connect(proxy.address).await;
    for (x_forwarded_for, forwarded, client) in CHAINS {
        let (one, other) = (
            format!("x-forwarded-for: {x_forwarded_for}\r\n"),
            format!("forwarded: {forwarded}\r\n"),
        );
        assert_eq!(id(&mut trusted, &one).await, client, "{one}");
        assert_eq!(id(&mut trusted, &other).await, client, "{other}");
        assert_eq!(id(&mut trusted, &format!("{one}{other}")).await, client, "{one}{other}");
    }
}

/// A different client in each.
const CONFLICT: &str = "x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.2\r\n";

/// A proxy that sets one of the two headers passes the other on as its client sent it. With any `Forwarded` of its own
/// a client used to be counted as the proxy: outside the block and the limits of its network, and at the expense of the
/// proxy's other clients.
#[tokio::test]
async fn adding_the_other_header_does_not_change_the_client() {
    let limits =
        "limits: [ { name: http, per: network, limit: 3, window: 60s } ]\nblocked_networks: [203.0.113.0/24]\n";
    let (proxy, _mirror) = open(&format!("trusted_proxies: [127.0.0.1]\n{limits}")).await;
    let mut trusted = Client::connect(proxy.address).await;
    let blocked = "x-forwarded-for: 203.0.113.7\r\n";
    trusted
        .ask("GET", "/image/1", blocked)
        .await
        .assert_refused(403, "blocked");
    for forged in [
        "forwarded: x\r\n",
        "forwarded: \r\n",
        "forwarded: for=192.0.2.1\r\n",
        "forwarded: for=unknown\r\n",
        "forwarded: for=203.0.113.7\r\nforwarded: for=192.0.2.1\r\n",
        "forwarded: for=\"203.0.113.7\r\n",
    ] {
        for path in ["/image/1", "/search", "/me", "/nowhere"] {
            let headers = format!("{blocked}{forged}");
            let refused = trusted.ask("GET", path, &headers).await;
            refused.assert_refused(400, "bad_request");
            assert_eq!(refused.get("x-ratelimit-limit"), None, "{forged}: nothing is charged");
        }
    }
    // A blocked client that sends the same in both stays blocked.
    let same = format!("{blocked}forwarded: for=203.0.113.7\r\n");
    trusted.ask("GET", "/me", &same).await.assert_refused(403, "blocked");
    let refused = trusted.ask("GET", "/search", CONFLICT).await;
    refused.assert_refused(400, "bad_request");
    let error = refused.json()["error"].as_str().expect("words").to_owned();
    for word in ["X-Forwarded-For", "Forwarded", "forwarded_header", "tiers.yaml"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // None of these was charged.
    for address in ["192.0.2.1", "192.0.2.2", "127.0.0.1"] {
        let headers = format!("x-forwarded-for: {address}\r\n");
        let answer = trusted.ask("GET", "/image/1", &headers).await;
        assert_eq!(answer.get("x-ratelimit-remaining"), Some("2"), "{address}");
    }
    // From an untrusted peer both headers are ignored.
    let mut untrusted = Client::connect_from(9, proxy.address).await;
    assert_eq!(id(&mut untrusted, CONFLICT).await, "127.0.0.9");
}

/// A non-ASCII byte from a client used to make the proxy drop the whole line, so the upstream took the trusted proxy
/// for the client.
#[tokio::test]
async fn non_ascii_bytes_do_not_drop_the_forwarded_client() {
    let (proxy, _mirror) = open("trusted_proxies: [127.0.0.1]").await;
    let mut trusted = Client::connect(proxy.address).await;
    let headers = "x-forwarded-for: é, 192.0.2.7\r\n";
    assert_eq!(id(&mut trusted, headers).await, "192.0.2.7");
    let seen = trusted.ask("GET", "/search", headers).await.mirrored().await;
    assert_eq!(seen.all("x-forwarded-for"), ["é, 192.0.2.7, 127.0.0.1"]);
}

/// A server that reads `X-Forwarded-For` finds the client there too, whichever header the proxy used.
#[tokio::test]
async fn forwarded_alone_also_sets_x_forwarded_for() {
    let (proxy, _mirror) = open("trusted_proxies: [127.0.0.1]").await;
    let mut trusted = Client::connect(proxy.address).await;
    let seen = trusted.ask("GET", "/search", "forwarded: for=192.0.2.7\r\n").await;
    let seen = seen.mirrored().await;
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.7, 127.0.0.1"]);
    assert_eq!(seen.all("forwarded"), ["for=192.0.2.7, for=127.0.0.1"]);
}

/// A proxy that sets one of the two headers passes the other on as its client sent it. tiergate ignored that one, yet
/// forwarded it with its own address appended, as if it had checked it.
#[tokio::test]
async fn the_ignored_forwarding_header_is_not_passed_on() {
    let (proxy, _mirror) = open("trusted_proxies: [127.0.0.1]\nforwarded_header: x-forwarded-for").await;
    let mut trusted = Client::connect(proxy.address).await;
    assert_eq!(id(&mut trusted, CONFLICT).await, "192.0.2.1");
    assert_eq!(id(&mut trusted, "forwarded: for=192.0.2.2\r\n").await, "127.0.0.1");
    let seen = trusted.ask("GET", "/search", CONFLICT).await.mirrored().await;
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.1, 127.0.0.1"]);
    assert_eq!(seen.get("forwarded"), None);

    let (proxy, _mirror) = open("trusted_proxies: [127.0.0.1]\nforwarded_header: forwarded").await;
    let mut trusted = Client::connect(proxy.address).await;
    assert_eq!(id(&mut trusted, CONFLICT).await, "192.0.2.2");
    assert_eq!(id(&mut trusted, "x-forwarded-for: 192.0.2.1\r\n").await, "127.0.0.1");
    let seen = trusted.ask("GET", "/search", CONFLICT).await.mirrored().await;
    assert_eq!(seen.all("x-forwarded-for"), ["192.0.2.2, 127.0.0.1"]);
    assert_eq!(seen.all("forwarded"), ["for=192.0.2.2, for=127.0.0.1"]);
}

const SPOKEN: &str = "proxy_protocol: [127.0.0.1]\n";

/// A header of version 1.
fn line(source: &str) -> Vec<u8> {
    let family = if source.contains(':') { "TCP6" } else { "TCP4" };
    let own = if source.contains(':') { "::1" } else { "192.0.2.254" };
    format!("PROXY {family} {source} {own} 4711 443\r\n").into_bytes()
}

/// A header of version 2: command, family, and what follows.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("it is short").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, block].concat()
}

/// The addresses in one, of the client and of the balancer.
fn addresses(source: SocketAddr) -> Vec<u8> {
    let ports = [source.port().to_be_bytes(), 443_u16.to_be_bytes()].concat();
    match source {
        SocketAddr::V4(v4) => [&v4.ip().octets()[..], &[192, 0, 2, 254], &ports].concat(),
        SocketAddr::V6(v6) => [&v6.ip().octets()[..], &[1; 16], &ports].concat(),
    }
}

fn binary_for(source: &str) -> Vec<u8> {
    let source: SocketAddr = source.parse().expect("a socket address");
    binary(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &addresses(source))
}

/// A connection that starts with these bytes.
async fn greeted(proxy: &Proxy, header: &[u8]) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client.send(header).await;
    client
}

#[tokio::test]
async fn listed_peers_name_the_client_by_proxy_protocol() {
    let (proxy, _mirror) = open(SPOKEN).await;
    for (header, client) in [
        (line("192.0.2.7"), "192.0.2.7"),
        (line("2001:db8:2::7"), "2001:db8:2::7"),
        (line("::ffff:192.0.2.7"), "192.0.2.7"),
        (binary_for("192.0.2.7:4711"), "192.0.2.7"),
        (binary_for("[2001:db8:2::7]:4711"), "2001:db8:2::7"),
        (binary_for("[::ffff:192.0.2.7]:4711"), "192.0.2.7"),
        // With further data behind the addresses.
        (
            binary(
                0x21,
                0x11,
                &[&addresses("192.0.2.7:1".parse().unwrap())[..], b"\x02\0\x04name"].concat(),
            ),
            "192.0.2.7",
        ),
        // For the balancer itself, or without an address: the socket's address counts.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN 192.0.2.7 192.0.2.1 1 2\r\n".to_vec(), "127.0.0.1"),
        (binary(0x20, 0x00, b""), "127.0.0.1"),
        (binary(0x20, 0x11, b""), "127.0.0.1"),
        (
            binary(0x20, 0x11, &addresses("192.0.2.7:1".parse().unwrap())),
            "127.0.0.1",
        ),
        (binary(0x21, 0x00, b""), "127.0.0.1"),
        // A UNIX socket has no internet address.
        (binary(0x21, 0x31, &[b'/'; 216]), "127.0.0.1"),
    ] {
        let shown = String::from_utf8_lossy(&header).into_owned();
        let mut client_of = greeted(&proxy, &header).await;
        assert_eq!(id(&mut client_of, FORGED).await, client, "{shown:?}");
        let answer = client_of.ask("GET", "/search", FORGED).await;
        assert!(!answer.text().contains("6.6.6.6"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_client_named_by_a_balancer_can_be_a_trusted_proxy() {
    let (proxy, _mirror) = open(&format!("{SPOKEN}trusted_proxies: [192.0.2.0/24]\n")).await;
    let headers = "x-forwarded-for: 6.6.6.6, 198.51.100.7, 192.0.2.9\r\n";
    for header in [line("192.0.2.7"), binary_for("192.0.2.7:1")] {
        let mut trusted = greeted(&proxy, &header).await;
        assert_eq!(id(&mut trusted, headers).await, "198.51.100.7");
        let seen = trusted.ask("GET", "/search", headers).await.mirrored().await;
        assert_eq!(
            seen.all("x-forwarded-for"),
            ["6.6.6.6, 198.51.100.7, 192.0.2.9, 192.0.2.7"]
        );
        let mut untrusted = greeted(&proxy, &line("203.0.113.1")).await;
        assert_eq!(id(&mut untrusted, headers).await, "203.0.113.1");
    }
    // Being listed here does not make the balancer trusted for headers.
    let mut balancer = greeted(&proxy, &binary(0x20, 0, b"")).await;
    assert_eq!(id(&mut balancer, headers).await, "127.0.0.1");
}

#[tokio::test]
async fn proxy_protocol_from_unlisted_peers_is_refused() {
    let (proxy, _mirror) = open(SPOKEN).await;
    for header in [line("192.0.2.7"), binary_for("192.0.2.7:4711")] {
        let mut untrusted = Client::connect_from(2, proxy.address).await;
        untrusted.send(&header).await;
        untrusted.request("GET", "/me", "").await;
        untrusted.answer().await.assert_refused(400, "bad_request");
        // Nor is a second header accepted.
        let mut twice = greeted(&proxy, &header).await;
        twice.send(&header).await;
        twice.request("GET", "/me", "").await;
        twice.answer().await.assert_refused(400, "bad_request");
    }
    let mut untrusted = Client::connect_from(2, proxy.address).await;
    assert_eq!(id(&mut untrusted, "").await, "127.0.0.2");
}

/// Half a header would hold a connection place without end.
#[tokio::test]
async fn a_stalled_proxy_protocol_header_closes_the_connection() {
    let (proxy, _mirror) = open(&format!("{SPOKEN}connections: {{ head_timeout: 1s }}\n")).await;
    let header = binary_for("192.0.2.7:4711");
    let mut silent = Vec::new();
    for half in [
        &b""[..],
        b"P",
        b"PROXY TCP4 192.0.2.7",
        b"\r\n",
        &header[..14],
        &header[..20],
    ] {
        silent.push(greeted(&proxy, half).await);
    }
    for _ in 0..4 {
        let mut other = greeted(&proxy, &header).await;
        assert_eq!(id(&mut other, "").await, "192.0.2.7");
    }
    for mut client in silent {
        assert_eq!(client.rest().await, b"");
    }
}

#[tokio::test]
async fn header_and_requests_can_be_split_anywhere() {
    let (proxy, _mirror) = open(SPOKEN).await;
    for header in [line("192.0.2.7"), binary_for("192.0.2.7:4711")] {
        let request = b"GET /me HTTP/1.1\r\nhost: proxy.example\r\n\r\n";
        let whole = [&header[..], request].concat();
        let mut at_once = greeted(&proxy, &whole).await;
        assert_eq!(at_once.answer().await.json()["id"], "192.0.2.7");
        let mut bit_by_bit = greeted(&proxy, b"").await;
        bit_by_bit.stream.set_nodelay(true).expect("it is open");
        for byte in &whole {
            bit_by_bit.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(bit_by_bit.answer().await.json()["id"], "192.0.2.7");
        assert_eq!(id(&mut bit_by_bit, "").await, "192.0.2.7", "and so it stays");
        for cut in [1, header.len() - 1, header.len(), header.len() + 1] {
            let mut client = greeted(&proxy, &whole[..cut]).await;
            // So that the proxy has most likely read the first part before the second arrives.
            assert_eq!(
                id(&mut Client::connect_from(2, proxy.address).await, "").await,
                "127.0.0.2"
            );
            client.send(&whole[cut..]).await;
            assert_eq!(client.answer().await.json()["id"], "192.0.2.7");
        }
    }
}

#[tokio::test]
async fn pipelined_requests_and_uploads_arrive_whole_after_a_header() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], SPOKEN));
    let body: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    let mut bytes = line("192.0.2.7");
    for _ in 0..3 {
        bytes.extend_from_slice(b"GET /me HTTP/1.1\r\nhost: proxy.example\r\n\r\n");
    }
    let length = body.len();
    bytes.extend_from_slice(
        format!("POST /search HTTP/1.1\r\nhost: proxy.example\r\ncontent-length: {length}\r\n\r\n").as_bytes(),
    );
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(b"GET /me HTTP/1.1\r\nhost: proxy.example\r\n\r\n");
    let (mut client, mut sending) = Client::connect(proxy.address).await.into_halves();
    let sender = tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut sending, &bytes).await });
    for _ in 0..3 {
        assert_eq!(client.answer().await.json()["id"], "192.0.2.7");
    }
    let mut arrived: Arrived = server.request().await;
    assert_eq!(arrived.head.all("x-forwarded-for"), ["192.0.2.7"]);
    assert_eq!(arrived.body().await, body);
    arrived.answer("{}").await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(client.answer().await.json()["id"], "192.0.2.7");
    sender.await.expect("no panic").expect("the proxy reads");
}

#[tokio::test]
async fn an_invalid_header_closes_the_connection_silently() {
    let (proxy, _mirror) = open(SPOKEN).await;
    let request = b"GET /me HTTP/1.1\r\nhost: proxy.example\r\n\r\n";
    let mut over_long = binary(
        0x21,
        0x11,
        &[&addresses("192.0.2.7:1".parse().unwrap())[..], &[4; 5000]].concat(),
    );
    over_long.extend_from_slice(request);
    for bytes in [
        request.to_vec(),
        b"garbage".to_vec(),
        b"PROXX".to_vec(),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.777 192.0.2.1 4711 80\r\n".to_vec(),
        [b"PROXY UNKNOWN ", vec![b'x'; 93].as_slice(), b"\r\n", request].concat(),
        vec![b'\r'; 2],
        binary(0x22, 0x11, &[0; 12]),
        binary(0x11, 0x11, &[0; 12]),
        binary(0x21, 0x11, &[0; 11]),
        binary(0x21, 0x41, &[0; 216]),
        over_long[..16].to_vec(),
        over_long,
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let mut client = Client::connect(proxy.address).await;
        // The proxy may close before it has everything.
        let _gone = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bytes).await;
        let said = client.read_some().await.unwrap_or_default();
        assert_eq!(said, b"", "{shown:?}");
    }
    let mut sane = greeted(&proxy, &line("192.0.2.7")).await;
    assert_eq!(id(&mut sane, "").await, "192.0.2.7");
}

#[tokio::test]
async fn limits_count_the_client_that_the_balancer_names() {
    let limits = "limits: [ { name: http, per: network, limit: 2, window: 60s, kind: fixed } ]\nblocked_networks: [203.0.113.0/24]\n";
    let (proxy, _mirror) = open(&format!("{SPOKEN}{limits}")).await;
    let ask = async |header: Vec<u8>| -> Answer { greeted(&proxy, &header).await.ask("GET", "/image/1", FORGED).await };
    assert_eq!(ask(line("192.0.2.7")).await.status(), 200);
    assert_eq!(ask(binary_for("192.0.2.7:1")).await.status(), 200);
    ask(line("192.0.2.7")).await.assert_refused(429, "rate_limited");
    assert_eq!(ask(line("192.0.2.8")).await.status(), 200);
    assert_eq!(ask(binary(0x20, 0, b"")).await.status(), 200);
    ask(line("203.0.113.9")).await.assert_refused(403, "blocked");
}

#[tokio::test]
async fn hanging_up_after_a_header_is_noticed_while_queued() {
    let server = UpstreamServer::start().await;
    let proxy = Plan {
        cores: 1,
        servers: &[(server.address, 1)],
        more: "drain_timeout: 100ms\nproxy_protocol: [127.0.0.1]",
        ..Plan::default()
    }
    .start();
    let mut first = greeted(&proxy, &line("192.0.2.7")).await;
    first.search("p5").await;
    proxy.jobs_until(0, 1).await;
    for header in [line("192.0.2.8"), binary_for("192.0.2.8:1")] {
        let request = "GET /search HTTP/1.1\r\nhost: proxy.example\r\nx-api-key: p5\r\n\r\n";
        for pipelined in [1, 2] {
            for with_reset in [false, true] {
                let bytes = [&header[..], request.repeat(pipelined).as_bytes()].concat();
                let client = greeted(&proxy, &bytes).await;
                proxy.jobs_until(1, 1).await;
                if with_reset {
                    client.reset()
                } else {
                    drop(client)
                }
                proxy.jobs_until(0, 1).await;
            }
        }
    }
    server.request().await.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
}
