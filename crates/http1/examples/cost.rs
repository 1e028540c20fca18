//! What it costs to parse and filter a browser's request head: `cargo run --release -p tiergate-http1 --example cost`.
//! httparse, which only parses, is measured beside it.
//!
//! `cost NAME TIMES` runs one of them that often, to count instructions: `valgrind --tool=callgrind cost "parse request" 1000`.

use std::hint::black_box;
use std::time::Instant;

use tiergate_http1::{ChunkLimits, ChunkedDecoder, HeadLimits, NameSet, Names, Piece, RequestHead, ResponseHead};

const ROUNDS: u32 = 9;
const TIMES: u32 = 200_000;

const REQUEST: &[u8] = b"GET /search?url=https%3A%2F%2Fimages.example%2Fa.jpg&cutBorders=1 HTTP/1.1\r\n\
    Host: api.example.org\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept: application/json, text/plain, */*\r\n\
    X-Api-Key: 0123456789abcdef0123456789abcdef\r\n\
    Origin: https://app.example.org\r\n\
    Sec-Fetch-Site: same-site\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Referer: https://app.example.org/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    X-Forwarded-For: 192.0.2.17\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Date: Tue, 10 Nov 2026 10:00:00 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 1234\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: no-store\r\n\
    Vary: Origin\r\n\
    X-Content-Type-Options: nosniff\r\n\r\n";

#[expect(clippy::disallowed_methods, reason = "time is what is measured")]
fn measure(what: &str, mut run: impl FnMut()) {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|wanted| !what.starts_with(&wanted)) {
        return;
    }
    if let Some(times) = arguments.next() {
        return (0..times.parse::<u32>().expect("a number")).for_each(|_| run());
    }
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for _ in 0..TIMES {
            run();
        }
        best = best.min(begin.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES));
    }
    println!("{what:44} {best:7.0} ns");
}

fn main() {
    let dropped = [
        "x-api-key",
        "authorization",
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "via",
        "x-forwarded-host",
    ];
    let names = Names::new(dropped).expect("tokens");
    let drop = dropped
        .iter()
        .fold(NameSet::REWRITTEN, |set, name| set.with(names.find(name.as_bytes())));
    let limits = HeadLimits::default();
    println!(
        "request: {} bytes, 14 fields; response: {} bytes, 7 fields",
        REQUEST.len(),
        RESPONSE.len()
    );

    let mut head = RequestHead::new();
    let mut out = Vec::with_capacity(4096);
    measure("parse request", || {
        head.clear();
        black_box(head.parse(black_box(REQUEST), &names, &limits)).expect("accepted");
    });
    head.clear();
    let parsed = head.parse(REQUEST, &names, &limits);
    assert_eq!(parsed, Ok(Some(REQUEST.len())));
    measure("filter request", || {
        out.clear();
        let keep = |field: &tiergate_http1::Field| {
            !(drop.contains(field.known()) || field.is_nominated() || field.has_underscore())
        };
        head.fields().copy(black_box(REQUEST), &mut out, keep);
        black_box(&out);
    });
    measure("httparse: request", || {
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; 64];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(black_box(REQUEST), &mut headers);
        black_box(parsed).expect("accepted");
        black_box(&request);
    });
    let mut head = ResponseHead::new();
    measure("parse response", || {
        head.clear();
        black_box(head.parse(black_box(RESPONSE), &names, &limits)).expect("accepted");
    });
    measure("httparse: response", || {
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; 64];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut response, black_box(RESPONSE), &mut headers);
        black_box(parsed).expect("accepted");
        black_box(&response);
    });
    let mut body = Vec::new();
    for _ in 0..16 {
        tiergate_http1::write_chunk(&mut body, &[b'x'; 1000]);
    }
    body.extend_from_slice(tiergate_http1::LAST_CHUNK);
    measure("decode 16 chunks of 1,000 bytes", || {
        let mut decoder = ChunkedDecoder::new(ChunkLimits::default());
        let mut at = 0;
        while let Piece::Data(range) = decoder.next(black_box(&body[at..])).expect("accepted") {
            at += range.end;
        }
        assert!(decoder.is_complete());
    });
}
