//! What the witnesses of a request say: its client, and its line in the access log; the third one is [`Handled`].

use serde_json::Value;

use super::clients::CALLERS;
use super::operator::Numbers;
use super::servers::{Did, Handled};

/// The shortest timeout of an upstream.
pub const TIMEOUT_MS: f64 = Numbers::AT_FIRST.timeout_ms as f64;

/// What a client says of a request that it sent.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: String,
    /// Its place among [`CALLERS`](super::clients::CALLERS).
    pub caller: usize,
    pub method: &'static str,
    /// Without the query.
    pub path: &'static str,
    /// The most bytes of a body that it has sent.
    pub sent: u64,
    pub has_body: bool,
    pub saw: Saw,
    /// Whether the proxy may never have read the request: its connection was reset.
    pub may_be_lost: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saw {
    /// An answer, whole.
    Whole {
        status: u16,
        /// Of a refusal in tiergate's words.
        reason: Option<String>,
        bytes: u64,
    },
    /// The proxy ended the connection before that.
    Cut,
    /// It left.
    Nothing,
}

/// A line of the access log.
#[derive(Clone, Debug)]
pub struct Line {
    pub id: String,
    pub client: String,
    pub account: Option<String>,
    pub tier: Option<String>,
    pub route: String,
    pub method: String,
    pub path: String,
    pub status: Option<u16>,
    pub reason: Option<String>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub wait_ms: Option<f64>,
    pub upstream: Option<String>,
    pub server: Option<String>,
    pub service_ms: Option<f64>,
    pub total_ms: f64,
    /// When it arrived.
    pub time: String,
}

impl Line {
    /// Reads a line, which has no member that isn't here.
    pub fn read(text: &str) -> Self {
        let mut json: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        let members = json.as_object_mut().expect("an object");
        let mut take = |name: &str| members.remove(name);
        let mut word = |name: &str| take(name).map(|word| word.as_str().expect("text").to_owned());
        let (time, id) = (word("time").expect("a time"), word("request_id").expect("an id"));
        let client = word("client").expect("log_addresses is full");
        let [account, tier, reason, upstream, server] =
            ["account", "tier", "reason", "upstream", "server"].map(&mut word);
        let [route, method, path] = ["route", "method", "path"].map(|name| word(name).expect("text"));
        let mut number = |name: &str| take(name).map(|number| number.as_f64().expect("a number"));
        let status = number("status").map(|status| status as u16);
        let [bytes_in, bytes_out] = ["bytes_in", "bytes_out"].map(|name| number(name).expect("a number") as u64);
        let [wait_ms, service_ms] = ["wait_ms", "service_ms"].map(&mut number);
        let total_ms = number("total_ms").expect("a number");
        assert!(members.is_empty(), "unknown members in {text}");
        Self {
            id,
            client,
            account,
            tier,
            route,
            method,
            path,
            status,
            reason,
            bytes_in,
            bytes_out,
            wait_ms,
            upstream,
            server,
            service_ms,
            total_ms,
            time,
        }
    }

    /// The class of its status, as metrics name it.
    pub fn class(&self) -> &'static str {
        match self.status.map(|status| status / 100) {
            Some(1) => "1xx",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            Some(_) => panic!("{self:?}"),
            None => "none",
        }
    }
}

/// The three witnesses say the same of one request.
pub fn agree(line: &Line, asked: &Asked, handled: Option<&Handled>) {
    let says = || format!("\n{line:?}\n{asked:?}\n{handled:?}");
    let caller = &CALLERS[asked.caller];
    assert_eq!((&*line.method, &*line.path), (asked.method, asked.path), "{}", says());
    assert_eq!(line.client, caller.address(), "{}", says());
    // A key that is wrong, or a request that is refused before, names nobody.
    if let Some(tier) = &line.tier {
        assert_eq!(tier, caller.tier, "{}", says());
        assert_eq!(
            line.account.as_deref().unwrap_or_default(),
            caller.account,
            "{}",
            says()
        );
    } else {
        assert!(line.account.is_none() && line.wait_ms.is_none(), "{}", says());
    }
    match &asked.saw {
        Saw::Whole { status, reason, bytes } => {
            assert_eq!(line.status, Some(*status), "{}", says());
            assert_eq!(line.bytes_out, *bytes, "{}", says());
            // The answer to HEAD has no body that could tell.
            if line.method != "HEAD" {
                assert_eq!(&line.reason, reason, "{}", says());
            }
        }
        Saw::Cut => {
            assert_eq!(line.status, Some(200), "{}", says());
            // The server broke off, or did not end before the upstream's timeout.
            let is_late = line.total_ms >= TIMEOUT_MS;
            assert!(
                handled.is_some_and(|handled| handled.did == Did::Half || is_late),
                "{}",
                says()
            );
        }
        Saw::Nothing => {}
    }
    assert!(line.bytes_in <= asked.sent, "{}", says());
    assert_eq!(line.upstream.is_some(), line.server.is_some(), "{}", says());
    assert!(line.service_ms.is_none() || line.server.is_some(), "{}", says());
    let Some(Handled { server, did, received }) = handled else {
        return;
    };
    assert_eq!(line.server.as_deref(), Some(&*server.to_string()), "{}", says());
    assert!(*received <= line.bytes_in, "{}", says());
    if let (Did::Answered(status), Saw::Whole { status: seen, .. }) = (did, &asked.saw)
        && line.reason.is_none()
    {
        assert_eq!((status, received), (seen, &asked.sent), "{}", says());
        assert_eq!(line.bytes_in, asked.sent, "{}", says());
    }
}
