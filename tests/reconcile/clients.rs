//! Callers that do all that callers do: search, upload, ask for what isn't there, show wrong keys, hang up.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tiergate::clock::Clock;
use tiergate::policy::time::Timestamp;
use tokio::io::AsyncWriteExt;

use super::let_pass;
use super::witness::{Asked, Saw};
use crate::support::dice::Dice;
use crate::support::{Answer, Client, soon};

/// A caller, who has one address.
#[derive(Debug)]
pub struct Caller {
    /// Its account's name, which is its key as well; empty for a network.
    pub account: &'static str,
    pub tier: &'static str,
    /// The last number of its address 127.0.0.x.
    pub host: u8,
    /// More than the tier's concurrency of some.
    pub connections: u32,
}

const fn caller(account: &'static str, tier: &'static str, host: u8, connections: u32) -> Caller {
    Caller {
        account,
        tier,
        host,
        connections,
    }
}

/// All of them. [`BLOCKED`] asks once in a while.
pub const CALLERS: [Caller; 9] = [
    caller("", "free", 11, 4),
    caller("", "free", 12, 2),
    caller("lou", "low", 21, 4),
    caller("len", "low", 22, 2),
    caller("mia", "mid", 23, 6),
    caller("max", "mid", 24, 2),
    caller("hal", "high", 25, 5),
    caller("few", "few", 26, 2),
    caller("", "free", BLOCKED_HOST, 0),
];
/// Callers of this tier never leave, so what happens to their jobs is known to the last one.
const PATIENT_TIER: &str = "mid";
/// The place of the caller whose network is blocked.
pub const BLOCKED: usize = 8;
const BLOCKED_HOST: u8 = 66;
/// The longest body of a search.
pub const BODY_MAX: usize = 64 * 1024;

impl Caller {
    pub fn key(&self) -> String {
        match self.account {
            "" => String::new(),
            account => format!("x-api-key: key-of-{account}\r\n"),
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.{}", self.host)
    }

    /// As reports name it: an account, or an address.
    pub fn name(&self) -> String {
        match self.account {
            "" => self.address(),
            account => account.to_owned(),
        }
    }
}

/// A request to be sent.
#[derive(Clone, Debug)]
struct Deed {
    method: &'static str,
    path: &'static str,
    query: String,
    headers: String,
    body: Body,
    /// The client leaves after that time without an answer, or within it.
    leaves: Option<Duration>,
    resets: bool,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    None,
    Length(usize),
    Chunked(usize),
    /// Says that it is so long, and sends that much.
    Short(usize, usize),
}

impl Deed {
    fn get(path: &'static str) -> Self {
        Self {
            method: "GET",
            path,
            query: String::new(),
            headers: String::new(),
            body: Body::None,
            leaves: None,
            resets: false,
        }
    }

    /// Any request.
    fn any(dice: &mut Dice, may_leave: bool) -> Self {
        let deed = Self::any_of(dice);
        match deed.leaves {
            Some(_) if !may_leave => Self::get("/search").wishing("do=ok", dice),
            _ => deed,
        }
    }

    fn any_of(dice: &mut Dice) -> Self {
        match dice.below(5) {
            0..=2 => Self::search(dice),
            3 => Self::hasty(dice),
            _ => Self::other(dice),
        }
    }

    /// A search, or another metered request, that is waited for.
    fn search(dice: &mut Dice) -> Self {
        let (get, upload) = (Self::get, Self::upload);
        match dice.below(60) {
            0..34 => get("/search").wishing("do=ok", dice),
            34..38 => upload(Body::Length(dice.below(BODY_MAX as u64) as usize)).wishing("do=ok", dice),
            38..40 => upload(Body::Chunked(dice.below(BODY_MAX as u64) as usize)).wishing("do=ok", dice),
            40..44 => get("/heavy").wishing("do=ok", dice),
            44..47 => Self {
                method: "HEAD",
                ..get("/search").wishing("do=ok", dice)
            },
            47..50 => get("/search").wishing("do=500", dice),
            50 => get("/search").wishing("do=404", dice),
            51 => get("/search").wishing("do=gone", dice),
            52 => get("/heavy").wishing("do=gone", dice),
            53 => get("/search").wishing("do=half", dice),
            54 if dice.below(4) == 0 => get("/search").with_query("do=ok&ms=900"),
            54..57 => get("/search").wishing("do=ok", dice).with_headers("prefer: wait=0\r\n"),
            57 => get("/search").wishing("do=ok", dice).with_headers("prefer: wait=1\r\n"),
            58 => get("/search")
                .wishing("do=ok", dice)
                .with_headers("expect: 100-continue\r\n"),
            _ => get("/SEARCH").wishing("do=ok", dice),
        }
    }

    /// A request whose client may not wait for the answer, or whose body is at fault.
    fn hasty(dice: &mut Dice) -> Self {
        let (get, upload) = (Self::get, Self::upload);
        let leaving = |deed: Self, dice: &mut Dice| Self {
            leaves: Some(Duration::from_millis(dice.below(60))),
            ..deed.wishing("do=ok", dice)
        };
        match dice.below(20) {
            0..6 => leaving(get("/search"), dice),
            6..9 => leaving(get("/heavy"), dice),
            9 => Self {
                resets: true,
                ..leaving(get("/search"), dice)
            },
            10..13 => leaving(upload(Body::Short(20_000, dice.below(19_000) as usize)), dice),
            13 => leaving(get("/image/c"), dice),
            14..16 => Self {
                leaves: Some(Duration::from_millis(400)),
                ..get("/status/events")
            },
            16 => upload(Body::Short(BODY_MAX + 1, 0)),
            _ => upload(Body::Chunked(BODY_MAX + 1 + dice.below(BODY_MAX as u64) as usize)),
        }
    }

    /// What is no search, or is refused before it is one.
    fn other(dice: &mut Dice) -> Self {
        let get = Self::get;
        match dice.below(25) {
            0..8 => get("/image/a").wishing("do=ok", dice),
            8 => get("/image/b").wishing("do=gone", dice),
            9 | 10 => get("/me"),
            11 => get("/me").with_query("period=minute"),
            12 => get("/stats").with_query("period=minute"),
            13 => get("/status"),
            14 => get("/status.json"),
            15 => Self {
                method: "OPTIONS",
                ..get("/search")
            },
            16 | 17 => Self {
                method: "PUT",
                ..get("/search")
            },
            18..20 => get("/nowhere"),
            20..23 => get("/search").with_headers("x-api-key: nobody's\r\n"),
            _ => get("/search").with_headers("x-api-key: one\r\nx-api-key: another\r\n"),
        }
    }

    fn upload(body: Body) -> Self {
        Self {
            method: "POST",
            body,
            ..Self::get("/search")
        }
    }

    /// With what the upstream server is to do, in some time and at some length.
    fn wishing(mut self, what: &str, dice: &mut Dice) -> Self {
        let length = [2, 2, 2, 1_500, 90_000][dice.below(5) as usize];
        let chunked = ["", "&chunked"][dice.below(2) as usize];
        self.query = format!("{what}&ms={}&len={length}{chunked}", dice.below(25));
        self
    }

    fn with_query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// Lines that take the place of the caller's own key, if they have one.
    fn with_headers(mut self, headers: &str) -> Self {
        headers.clone_into(&mut self.headers);
        self
    }

    fn head(&self, id: &str, caller: &Caller) -> String {
        let Self {
            method,
            path,
            query,
            headers,
            ..
        } = self;
        let mark = if query.is_empty() { "" } else { "?" };
        let key = match headers.starts_with("x-api-key") {
            true => String::new(),
            false => caller.key(),
        };
        let framing = match self.body {
            Body::None => String::new(),
            Body::Length(length) | Body::Short(length, _) => format!("content-length: {length}\r\n"),
            Body::Chunked(_) => "transfer-encoding: chunked\r\n".to_owned(),
        };
        format!(
            "{method} {path}{mark}{query} HTTP/1.1\r\nhost: tiergate.example\r\nx-request-id: {id}\r\n{key}{headers}{framing}\r\n"
        )
    }

    fn body(&self) -> Vec<u8> {
        match self.body {
            Body::None => Vec::new(),
            Body::Length(length) | Body::Short(_, length) => vec![b'y'; length],
            Body::Chunked(length) => {
                let whole = vec![b'y'; length];
                let mut bytes = Vec::new();
                for chunk in whole.chunks(10_000) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
                bytes
            }
        }
    }

    /// Bytes of the body that are sent, without framing.
    fn sent(&self) -> u64 {
        match self.body {
            Body::None => 0,
            Body::Length(length) | Body::Chunked(length) | Body::Short(_, length) => length as u64,
        }
    }
}

impl Deed {
    /// What its client notes.
    fn noted(&self, id: &str, caller: usize, saw: Saw) -> Asked {
        let has_left = saw == Saw::Nothing;
        Asked {
            id: id.to_owned(),
            caller,
            method: self.method,
            path: self.path,
            sent: self.sent(),
            has_body: !matches!(self.body, Body::None),
            saw,
            may_be_lost: self.resets && has_left,
        }
    }
}

/// What all clients have noted.
pub type Notes = Arc<Mutex<Vec<Asked>>>;

/// A connection of a caller that asks until the time is over.
pub struct Asker {
    pub proxy: SocketAddr,
    pub caller: usize,
    /// Begins all ids of its requests.
    pub name: String,
    pub dice: Dice,
    pub notes: Notes,
}

impl Asker {
    pub async fn ask_until(mut self, clock: Clock, end: Timestamp) {
        let mut client = None;
        let mut number = 0;
        while clock.now() < end {
            number += 1;
            let id = format!("{}-{number}", self.name);
            // Strangers' troubles don't end a connection.
            client = match self.dice.below(150) {
                0 => self.ask_as(BLOCKED, &id, Deed::get("/search")).await,
                1 => self.send_no_request().await,
                _ => {
                    let deed = Deed::any(&mut self.dice, CALLERS[self.caller].tier != PATIENT_TIER);
                    let on = match client {
                        Some(client) => client,
                        None => self.connect(self.caller).await,
                    };
                    self.ask_on(on, self.caller, &id, deed).await
                }
            };
            let_pass(Duration::from_millis(self.dice.below(20))).await;
        }
    }

    /// One search on a connection of its own, and what came back.
    pub async fn search(&self, query: &str) -> Saw {
        let client = self.connect(self.caller).await;
        self.ask_on(client, self.caller, &self.name, Deed::get("/search").with_query(query))
            .await;
        let notes = self.notes.lock().expect("nobody panics with it");
        let mine = notes.iter().find(|asked| asked.id == self.name);
        mine.expect("just noted").saw.clone()
    }

    /// The same, leaving after that time.
    pub async fn search_in_vain(&self, query: &str, leaves: Duration) {
        let client = self.connect(self.caller).await;
        let deed = Deed {
            leaves: Some(leaves),
            ..Deed::get("/search").with_query(query)
        };
        self.ask_on(client, self.caller, &self.name, deed).await;
    }

    /// One of tiergate's own pages in JSON.
    pub async fn page(&self, path: &'static str, query: &str) -> Value {
        let (saw, page) = self.answer(path, query).await;
        assert!(matches!(saw, Saw::Whole { status: 200, .. }), "{path}: {saw:?}");
        page
    }

    /// The same, or the refusal that came instead.
    pub async fn answer(&self, path: &'static str, query: &str) -> (Saw, Value) {
        let mut client = self.connect(self.caller).await;
        let deed = Deed::get(path).with_query(query);
        client.send(deed.head(&self.name, &CALLERS[self.caller])).await;
        let answer = client.answer().await;
        let saw = seen(&answer);
        self.note(deed.noted(&self.name, self.caller, saw.clone()));
        (saw, answer.json())
    }

    async fn connect(&self, caller: usize) -> Client {
        Client::connect_from(CALLERS[caller].host, self.proxy).await
    }

    async fn ask_as(&self, caller: usize, id: &str, deed: Deed) -> Option<Client> {
        let client = self.connect(caller).await;
        self.ask_on(client, caller, id, deed).await;
        None
    }

    /// Sends the request and notes what comes back. The connection, if it goes on.
    async fn ask_on(&self, mut client: Client, caller: usize, id: &str, deed: Deed) -> Option<Client> {
        let mut is_sent = false;
        let exchange = exchange(&mut client, id, &CALLERS[caller], &deed, &mut is_sent);
        let (saw, goes_on) = match deed.leaves {
            None => soon(id, exchange).await,
            Some(after) => tokio::select! {
                biased;
                answered = exchange => answered,
                () = let_pass(after) => (Saw::Nothing, false),
            },
        };
        let mut note = deed.noted(id, caller, saw);
        note.may_be_lost |= !is_sent;
        let resets = note.may_be_lost;
        self.note(note);
        if resets {
            client.reset();
            return None;
        }
        goes_on.then_some(client)
    }

    /// What is no request gets an id from the proxy.
    async fn send_no_request(&self) -> Option<Client> {
        let mut client = self.connect(self.caller).await;
        client.send("no request\r\n\r\n").await;
        let answer = client.answer().await;
        self.note(Asked {
            id: answer.get("x-request-id").expect("an id").to_owned(),
            caller: self.caller,
            method: "-",
            path: "-",
            sent: 0,
            has_body: false,
            saw: seen(&answer),
            may_be_lost: false,
        });
        None
    }

    fn note(&self, asked: Asked) {
        self.notes.lock().expect("nobody panics with it").push(asked);
    }
}

/// Sends a request whole, of which the head `is_sent` then, and reads its answer; whether the connection goes on.
async fn exchange(client: &mut Client, id: &str, caller: &Caller, deed: &Deed, is_sent: &mut bool) -> (Saw, bool) {
    client.send(deed.head(id, caller)).await;
    *is_sent = true;
    // The proxy may refuse, and close its end, before all is sent; its answer comes nevertheless.
    let sent = client.stream.write_all(&deed.body()).await;
    match client.try_answer(deed.method).await {
        Ok(answer) => {
            assert_eq!(answer.get("x-request-id"), Some(id), "{:?}", answer.head);
            let closes = answer
                .get("connection")
                .is_some_and(|word| word.eq_ignore_ascii_case("close"));
            (seen(&answer), sent.is_ok() && !closes)
        }
        Err(_) => (Saw::Cut, false),
    }
}

fn seen(answer: &Answer) -> Saw {
    let is_own =
        !answer.body.is_empty() && answer.get("content-type") == Some("application/json") && answer.status() >= 400;
    Saw::Whole {
        status: answer.status(),
        reason: is_own.then(|| answer.reason()).filter(|reason| !reason.is_empty()),
        bytes: answer.body.len() as u64,
    }
}
