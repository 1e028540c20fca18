//! Two upstream servers that do what a request's query says, and note what they did, by the request's id.
//!
//! `do` is `ok`, a status, `gone` (hangs up without an answer), `half` (hangs up within its body), `hold` (answers when it is told
//! to); `ms` is how long that takes, `len` the length of the body, `chunked` sends it in chunks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::let_pass;
use crate::support::message::{Ahead, Head, read_framed, read_head};
use crate::support::soon;

/// How long a server rests.
const REST: Duration = Duration::from_millis(80);

/// How a request ended at an upstream server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// It was answered with that status. Who was to receive it may have been gone.
    Answered(u16),
    /// Half of an answer with status 200 was sent.
    Half,
    /// The connection was closed without an answer.
    Gone,
    /// Its body did not arrive.
    Unread,
}

/// A request that arrived at an upstream server.
#[derive(Clone, Copy, Debug)]
pub struct Handled {
    pub server: SocketAddr,
    pub did: Did,
    /// Bytes of its body.
    pub received: u64,
}

/// The two servers. They end with the runtime.
#[derive(Clone)]
pub struct Servers {
    pub addresses: [SocketAddr; 2],
    /// By the request's id.
    handled: Arc<Mutex<HashMap<String, Handled>>>,
    holding: watch::Sender<bool>,
    /// How often the second one has been told to rest.
    rests: watch::Sender<u32>,
}

impl Servers {
    pub async fn start() -> Self {
        let listener = async || TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let listeners = [listener().await, listener().await];
        let addresses = listeners.each_ref().map(|of| of.local_addr().expect("it listens"));
        let servers = Self {
            addresses,
            handled: Arc::default(),
            holding: watch::Sender::new(true),
            rests: watch::Sender::new(0),
        };
        for listener in listeners {
            tokio::spawn(accept(listener, servers.clone()));
        }
        servers
    }

    /// Answers whatever is held, and holds nothing from now on, or begins to hold.
    pub fn hold(&self, holds: bool) {
        self.holding.send_replace(holds);
    }

    /// The second server takes no connections for a moment. Those that it has go on.
    pub fn rest(&self) {
        self.rests.send_modify(|rests| *rests += 1);
    }

    /// What happened since the last call, by request.
    pub fn take_handled(&self) -> HashMap<String, Handled> {
        std::mem::take(&mut *self.handled.lock().expect("nobody panics with it"))
    }

    fn note(&self, id: &str, handled: Handled) {
        let mut all = self.handled.lock().expect("nobody panics with it");
        let before = all.insert(id.to_owned(), handled);
        assert!(before.is_none(), "{id} was sent twice: {before:?}, then {handled:?}");
    }
}

async fn accept(mut listener: TcpListener, servers: Servers) {
    let address = listener.local_addr().expect("it listens");
    let is_second = address == servers.addresses[1];
    let mut rests = servers.rests.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("descriptors are left");
                stream.set_nodelay(true).expect("a socket");
                tokio::spawn(serve(stream, address, servers.clone()));
            }
            told = rests.changed(), if is_second => {
                told.expect("the servers outlive their tasks");
                drop(listener);
                let_pass(REST).await;
                listener = listen_again(address).await;
            }
        }
    }
}

/// A client may have got the port for a while.
async fn listen_again(address: SocketAddr) -> TcpListener {
    soon("the port is free", async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => let_pass(REST).await,
            }
        }
    })
    .await
}

/// What a query asks for.
struct Wish {
    what: String,
    after: Duration,
    length: usize,
    chunked: bool,
}

impl Wish {
    fn of(head: &Head) -> Self {
        let target = head.line.split(' ').nth(1).unwrap_or_default();
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(of, _)| *of == name).map(|(_, value)| value)
        };
        let number = |name, default| value(name).map_or(default, |text| text.parse().expect("a number"));
        Self {
            what: value("do").unwrap_or("ok").to_owned(),
            after: Duration::from_millis(number("ms", 0)),
            length: usize::try_from(number("len", 2)).expect("a length"),
            chunked: query.contains("chunked"),
        }
    }

    fn did(&self) -> Did {
        match self.what.as_str() {
            "ok" | "hold" => Did::Answered(200),
            "gone" => Did::Gone,
            "half" => Did::Half,
            status => Did::Answered(status.parse().expect("a status")),
        }
    }
}

async fn serve(mut stream: TcpStream, server: SocketAddr, servers: Servers) {
    let mut ahead = Vec::new();
    loop {
        let mut reader = Ahead {
            ahead,
            stream: &mut stream,
        };
        let (Some(head), rest) = read_head(&mut reader).await else {
            return;
        };
        let (id, wish) = (head.get("x-request-id").expect("it is always sent"), Wish::of(&head));
        let read = read_framed(&mut stream, &head, rest).await;
        let (did, received) = match &read {
            Ok((body, _)) => (wish.did(), body.len() as u64),
            Err(_) => (Did::Unread, 0),
        };
        servers.note(id, Handled { server, did, received });
        let Ok((_, rest)) = read else { return };
        ahead = rest;
        let_pass(wish.after).await;
        if wish.what == "hold" {
            let mut holding = servers.holding.subscribe();
            let told = holding.wait_for(|holds| !holds).await;
            drop(told.expect("the servers outlive their connections"));
        }
        let has_body = !head.line.starts_with("HEAD ");
        if !answer(&mut stream, did, &wish, has_body).await {
            return;
        }
    }
}

/// Answers; whether the connection goes on.
async fn answer(stream: &mut TcpStream, did: Did, wish: &Wish, has_body: bool) -> bool {
    let (status, sent) = match did {
        Did::Answered(status) => (status, wish.length),
        Did::Half => (200, wish.length / 2),
        Did::Gone | Did::Unread => return false,
    };
    let framing = match wish.chunked {
        true => "transfer-encoding: chunked".to_owned(),
        false => format!("content-length: {}", wish.length),
    };
    let mut bytes = format!("HTTP/1.1 {status} Whatever\r\n{framing}\r\n\r\n").into_bytes();
    if has_body && sent > 0 {
        let body = vec![b'x'; sent];
        match wish.chunked {
            true => {
                bytes.extend(format!("{sent:x}\r\n").as_bytes());
                bytes.extend(body);
                bytes.extend(b"\r\n");
            }
            false => bytes.extend(body),
        }
    }
    if has_body && wish.chunked && did != Did::Half {
        bytes.extend(b"0\r\n\r\n");
    }
    stream.write_all(&bytes).await.is_ok() && did != Did::Half
}
