//! A client that sends many requests to a preset, and the limits that the answers state.

use tiergate::policy::time::UnixTime;

use crate::support::{Answer, Client, Proxy};

/// A client at an address, on one connection.
pub struct Visitor {
    client: Client,
    /// The header lines of every request.
    headers: String,
}

/// The values of `X-RateLimit-Limit`, `-Remaining` and `-Reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
    pub reset: Option<u64>,
}

impl Told {
    pub fn new(limit: u64, remaining: u64, reset: impl Into<Option<u64>>) -> Self {
        Self {
            limit: Some(limit),
            remaining: Some(remaining),
            reset: reset.into(),
        }
    }
}

impl Visitor {
    /// At 127.0.0.`host`.
    pub async fn at(host: u8, proxy: &Proxy) -> Self {
        Self {
            client: Client::connect_from(host, proxy.address).await,
            headers: String::new(),
        }
    }

    /// At the address that a trusted proxy names.
    pub async fn behind_a_proxy(address: &str, proxy: &Proxy) -> Self {
        Self {
            client: Client::connect(proxy.address).await,
            headers: format!("x-forwarded-for: {address}\r\n"),
        }
    }

    /// With that key.
    pub fn with_key(mut self, header: &str, key: &str) -> Self {
        self.headers.push_str(&format!("{header}: {key}\r\n"));
        self
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", "proxy.example", path).await
    }

    pub async fn post(&mut self, path: &str) -> Answer {
        self.ask("POST", "proxy.example", path).await
    }

    pub async fn ask(&mut self, method: &str, host: &str, path: &str) -> Answer {
        let headers = &self.headers;
        let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
        let text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}{length}\r\n");
        self.client.send(text).await;
        self.client.answer_to(method).await
    }

    /// So many requests, which are admitted; returns the last answer.
    pub async fn passes(&mut self, times: u64, path: &str) -> Answer {
        let mut last = None;
        for number in 1..=times {
            let answer = self.get(path).await;
            assert_eq!(answer.status(), 200, "number {number} of {times}: {}", answer.text());
            last = Some(answer);
        }
        last.expect("at least one was asked for")
    }
}

pub fn told(answer: &Answer) -> Told {
    let number = |name: &str| {
        answer
            .head
            .get(name)
            .map(|value| value.parse().expect("a whole number"))
    };
    Told {
        limit: number("x-ratelimit-limit"),
        remaining: number("x-ratelimit-remaining"),
        reset: number("x-ratelimit-reset"),
    }
}

/// `Retry-After`, in seconds.
pub fn retry_after(answer: &Answer) -> u64 {
    let value = answer.head.get("retry-after").expect("a Retry-After");
    value.parse().expect("whole seconds")
}

/// Whether that point of Unix time is so many seconds after `since`, give or take what the test takes itself.
pub fn is_about(at: u64, since: UnixTime, seconds: u64) -> bool {
    (since.as_secs() + seconds..=since.as_secs() + seconds + 20).contains(&at)
}

/// Whether the answer mentions no limit at all.
pub fn tells_nothing(answer: &Answer) -> bool {
    let nothing = Told {
        limit: None,
        remaining: None,
        reset: None,
    };
    told(answer) == nothing
        && ["ratelimit", "ratelimit-policy"]
            .iter()
            .all(|name| answer.head.get(name).is_none())
}
