//! An idle proxy that reloads a file answers every request as one that starts with it, save for what needs a restart.
//! The files are those of `tests/diff.rs`, which use every setting.

use serde_json::Value;
use tiergate::clock::Clock;
use tiergate::policy::time::{Timestamp, UnixTime};

use crate::document::Document;
use crate::knobs::{KNOBS, ORDERS, base};
use crate::support::dice::Dice;
use crate::support::{Answer, Client, Mirror, Proxy, hash};

const PAIRS: usize = 60;
/// Settings in which two files may differ.
const TURNS_MAX: u64 = 12;
/// A time in the middle of every window aligned to the clock.
const NOON: UnixTime = UnixTime::from_secs(1_800_014_415);
/// The secrets of the base's keys `…abc0` to `…abc3`.
const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];

/// The requests: method, path, and header lines starting with the host.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("GET", "/you", "host: example.org\r\n"),
    ("GET", "/you", "host: example.org\r\nx-api-key: k0\r\n"),
    ("GET", "/me", "host: example.org\r\nx-api-key: k1\r\n"),
    ("GET", "/you", "host: example.org\r\nx-api-key: k3\r\n"),
    ("GET", "/you?key=k2", "host: example.org\r\n"),
    ("GET", "/you?k=k2", "host: example.org\r\n"),
    ("GET", "/you", "host: example.org\r\nauthorization: Bearer k0\r\n"),
    ("GET", "/you", "host: example.org\r\nx-trace-key: k1\r\n"),
    (
        "GET",
        "/you",
        "host: example.org\r\nx-api-key: k1\r\nx-trace-key: k0\r\n",
    ),
    ("GET", "/you", "host: example.org\r\nx-api-key: unknown\r\n"),
    ("GET", "/you", "host: example.org\r\nforwarded: for=198.51.100.7\r\n"),
    ("GET", "/you", "host: example.org\r\nx-forwarded-for: 198.51.100.7\r\n"),
    ("GET", "/you", "host: example.org\r\nx-forwarded-for: 192.0.2.9\r\n"),
    ("GET", "/you", "host: example.org\r\nx-forwarded-for: 10.1.2.3\r\n"),
    ("GET", "/s", "host: example.org\r\n"),
    ("GET", "/stats?type=speed", "host: example.org\r\n"),
    ("GET", "/you", "host: other.example\r\n"),
    ("OPTIONS", "/search", "host: example.org\r\n"),
    ("DELETE", "/search", "host: example.org\r\n"),
    (
        "OPTIONS",
        "/search",
        "host: example.org\r\norigin: https://b.example\r\naccess-control-request-method: POST\r\n",
    ),
    ("GET", "/you", "host: example.org\r\norigin: https://a.example\r\n"),
    ("GET", "/you", "host: example.org\r\norigin: https://c.example\r\n"),
    ("GET", "/nowhere", "host: example.org\r\n"),
    ("GET", "/image/7", "host: other.example\r\n"),
    ("GET", "/a/b/c", "host: other.example\r\nx-api-key: k1\r\n"),
    (
        "POST",
        "/search",
        "host: example.org\r\nx-api-key: k0\r\ncontent-length: 30000000\r\n",
    ),
    // A body of five bytes, of which the last two complete the request.
    (
        "POST",
        "/search",
        "host: example.org\r\nx-api-key: k0\r\ncontent-length: 5\r\n\r\nhel",
    ),
    ("POST", "/search", "host: example.org\r\nx-api-key: k0\r\n"),
    ("GET", "/search", "host: example.org\r\nx-api-key: k1\r\n"),
    ("POST", "/search", "host: example.org\r\nx-trace-key: k1\r\n"),
    ("POST", "/search", "host: example.org\r\nx-trace-key: k1\r\n"),
    ("POST", "/search", "host: example.org\r\nx-trace-key: k1\r\n"),
    ("POST", "/search", "host: example.org\r\nx-trace-key: k1\r\n"),
    ("POST", "/search", "host: example.org\r\nx-trace-key: k1\r\n"),
    ("POST", "/search", "host: other.example\r\nx-api-key: k1\r\n"),
    ("POST", "/search", "host: example.org\r\n"),
    ("POST", "/search", "host: example.org\r\nprefer: wait=0\r\n"),
    ("GET", "/you", "host: example.org\r\nx-api-key: k0\r\n"),
    ("GET", "/you", "host: example.org\r\nx-api-key: k1\r\n"),
    ("GET", "/you", "host: example.org\r\n"),
];

/// The upstream servers, by their names in the files and by their real addresses.
struct Mirrors {
    searching: [Mirror; 3],
    web: Mirror,
    extra: Mirror,
}

impl Mirrors {
    async fn start() -> Self {
        Self {
            searching: [Mirror::start().await, Mirror::start().await, Mirror::start().await],
            web: Mirror::start().await,
            extra: Mirror::start().await,
        }
    }

    fn file(&self, document: &Document) -> String {
        let mut text = document.to_string();
        let named = [
            ("127.0.0.1:8081", &self.searching[0]),
            ("127.0.0.1:8082", &self.searching[1]),
            ("127.0.0.1:8083", &self.searching[2]),
            ("worker", &self.searching[2]),
            ("[::1]:8090", &self.web),
            ("a", &self.extra),
        ];
        for (name, mirror) in named {
            let url = |host: &dyn std::fmt::Display| format!("\"http://{host}\"");
            text = text.replace(&url(&name), &url(&mirror.address));
        }
        for (at, key) in KEYS.iter().enumerate() {
            text = text.replace(&format!("{:064x}", 0xabc0 + at), &hash(key));
        }
        // All requests come from there, and may name a client.
        text.replace("10.0.0.0/8", "127.0.0.0/8")
    }

    /// The text without what two proxies with the same file may answer differently: which of the equal servers it was.
    fn told(&self, text: &str) -> String {
        let servers = self.searching.iter().map(|mirror| mirror.address.to_string());
        servers.fold(text.to_owned(), |text, server| text.replace(&server, "a server"))
    }
}

/// A file with some settings changed and some lists reordered.
fn by_chance(dice: &mut Dice) -> Document {
    let mut document = base();
    for _ in 0..dice.below(TURNS_MAX) {
        let knob = KNOBS[dice.below(KNOBS.len() as u64) as usize];
        let (choice, _) = knob.choices[dice.below(knob.choices.len() as u64) as usize];
        // Each of these proxies has its own token.
        if knob.at != "/admin/token" {
            document.set(knob.at, choice);
        }
    }
    if dice.below(2) == 0 {
        let (at, _) = ORDERS[dice.below(ORDERS.len() as u64) as usize];
        document.rotate(at, 1);
    }
    document
}

/// All answers of the proxy to these requests, and what the operator sees then.
async fn told(proxy: &Proxy, mirrors: &Mirrors) -> Vec<String> {
    let mut told = Vec::new();
    for (method, path, headers) in QUESTIONS {
        let mut client = Client::connect(proxy.address).await;
        let head = format!("{method} {path} HTTP/1.1\r\nx-request-id: the-same\r\n{headers}\r\n");
        client.send(head).await;
        let answer = client.answer_to(method).await;
        let question = format!("{method} {path}\n{headers}");
        told.push(format!("{question}\n{}", mirrors.told(&words(&answer))));
    }
    proxy.jobs_until(0, 0).await;
    let mut queue = proxy.queue().await;
    let pools = queue["pools"].as_array_mut().expect("a list");
    pools.sort_by_key(|pool| pool["upstream"].to_string());
    told.push(mirrors.told(&queue.to_string()));
    told
}

/// An answer without what differs each time.
fn words(answer: &Answer) -> String {
    let varies = |name: &str| matches!(name, "date" | "server-timing");
    let headers = answer.head.headers.iter().filter(|(name, _)| !varies(name));
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{}\n{headers}\n{}", answer.head.line, answer.text())
}

/// Whether the texts are equal, save for numbers that differ by at most `apart_s`, as times in seconds may.
fn same(one: &str, other: &str, apart_s: u64) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let mut parts = vec![String::new()];
        for c in text.chars() {
            let last = parts.last().and_then(|part| part.chars().last());
            if last.is_some_and(|last| last.is_ascii_digit() != c.is_ascii_digit()) {
                parts.push(String::new());
            }
            parts.last_mut().expect("there is one").push(c);
        }
        parts
    };
    let near = |one: &String, other: &String| match (one.parse::<u64>(), other.parse::<u64>()) {
        (Ok(one), Ok(other)) => one.abs_diff(other) <= apart_s,
        _ => one == other,
    };
    let (one, other) = (parts(one), parts(other));
    one.len() == other.len()
        && one
            .iter()
            .zip(&other)
            .all(|(one, other)| one == other || near(one, other))
}

async fn document(proxy: &Proxy) -> Value {
    proxy.operator("GET", "/config", "").await.json()["config"].clone()
}

#[tokio::test]
async fn an_idle_reload_equals_a_fresh_start() {
    let (mut dice, seed) = Dice::of_environment();
    println!("TIERGATE_SEED={seed}");
    let mirrors = Mirrors::start().await;
    let mut answered = 0;
    for pair in 0..PAIRS {
        let (one, other) = (by_chance(&mut dice), by_chance(&mut dice));
        let (one, other) = (mirrors.file(&one), mirrors.file(&other));
        let about = format!("TIERGATE_SEED={seed}, pair {pair}:\n{one}\n{other}\n");
        let clock = Clock::start();
        let edited = Proxy::start_live_at(NOON, &one);
        edited.save(&other);
        let reloaded = edited.operator("POST", "/reload", "").await;
        assert_eq!(reloaded.status(), 200, "{about}{}", reloaded.text());
        let started = Proxy::start_live_at(NOON, &other);
        assert_eq!(document(&edited).await, document(&started).await, "{about}");
        let (by_edit, by_start) = (told(&edited, &mirrors).await, told(&started, &mirrors).await);
        // Each proxy's time began with it, so their clocks differ by no more than this.
        let apart_s = clock.now().since(Timestamp::ZERO).as_secs_ceil() + 1;
        for (by_edit, by_start) in by_edit.iter().zip(&by_start) {
            assert!(
                same(by_edit, by_start, apart_s),
                "{about}after the edit:\n{by_edit}\nfrom the start:\n{by_start}"
            );
        }
        answered += by_edit.iter().filter(|told| told.contains("HTTP/1.1 200")).count();
    }
    println!("{PAIRS} pairs, {answered} answers of 200");
    assert!(answered > PAIRS * 5, "the files refuse nearly every request");
}
