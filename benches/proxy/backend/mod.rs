//! The upstream server: it answers at once or after a set time, and notes when its slots were idle.

mod slots;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::load::until;
use crate::{Result, pattern};

pub use slots::SlotLog;

/// The body of its usual answer, a search's result of 1 kB.
pub const RESULT: &[u8] = &result();
const RESULT_BYTES: usize = 1_024;
const HEADERS_MAX: usize = 64;
const BUFFER: usize = 128 * 1_024;

const fn result() -> [u8; RESULT_BYTES] {
    let mut bytes = [b'x'; RESULT_BYTES];
    let (begin, end) = (br#"{"result":""#, br#""}"#);
    let mut place = 0;
    while place < begin.len() {
        bytes[place] = begin[place];
        place += 1;
    }
    let mut place = 0;
    while place < end.len() {
        bytes[RESULT_BYTES - end.len() + place] = end[place];
        place += 1;
    }
    bytes
}

/// The body of its answer to an upload.
pub fn received(bytes: usize, intact: bool) -> String {
    format!(r#"{{"received":{bytes},"intact":{intact}}}"#)
}

/// The upstream server, on this thread's runtime.
#[derive(Clone, Debug)]
pub struct Backend {
    address: SocketAddr,
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How long it works on a request.
    service: Cell<Duration>,
    slots: RefCell<Option<SlotLog>>,
    /// The next request's head goes here.
    head: RefCell<Option<String>>,
    keeps_head: Cell<bool>,
    connections: RefCell<JoinSet<()>>,
}

impl Backend {
    /// Listens on a free port. Must be called in a `LocalSet`.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, state) = (listener.local_addr()?, Rc::<State>::default());
        let backend = Self { address, state };
        let state = Rc::clone(&backend.state);
        tokio::task::spawn_local(async move {
            loop {
                // Fails while there are no descriptors; the clients report that.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let of_connection = Rc::clone(&state);
                state.connections.borrow_mut().spawn_local(async move {
                    // Fails when the proxy closes the connection within a request.
                    serve(stream, &of_connection).await.ok();
                });
            }
        });
        Ok(backend)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and is as it was in the beginning.
    pub fn reset(&self) {
        self.state.connections.replace(JoinSet::new());
        self.state.slots.replace(None);
        self.state.head.replace(None);
        self.state.keeps_head.set(false);
        self.state.service.set(Duration::ZERO);
    }

    /// From now on it works that long on each request.
    pub fn set_service(&self, time: Duration) {
        self.state.service.set(time);
    }

    /// Begins a log of its slots. No job may be running.
    pub fn log_slots(&self) {
        self.state.slots.replace(Some(SlotLog::new(Instant::now())));
    }

    /// Forgets what the log has so far but the jobs that are running.
    pub fn reset_slots(&self) {
        self.state.note(SlotLog::reset);
    }

    /// Ends the log.
    pub fn take_slots(&self) -> Option<SlotLog> {
        self.state.note(SlotLog::pass);
        self.state.slots.take()
    }

    /// Keeps the head of the next request.
    pub fn keep_head(&self) {
        self.state.keeps_head.set(true);
    }

    /// The head that was kept.
    pub fn take_head(&self) -> Option<String> {
        self.state.head.borrow_mut().take()
    }
}

impl State {
    fn note(&self, what: impl FnOnce(&mut SlotLog, Instant)) {
        if let Some(log) = &mut *self.slots.borrow_mut() {
            what(log, Instant::now());
        }
    }
}

/// What a request asks for.
struct Request {
    head: usize,
    upload: usize,
    download: Option<usize>,
}

async fn serve(mut stream: TcpStream, state: &State) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (Vec::with_capacity(4_096), Vec::with_capacity(2_048));
    loop {
        let request = loop {
            if let Some(request) = parse(&input)? {
                break request;
            }
            input.reserve(4_096);
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        };
        state.note(SlotLog::started);
        if state.keeps_head.take() {
            let head = String::from_utf8_lossy(&input[..request.head]).into_owned();
            state.head.replace(Some(head));
        }
        input.drain(..request.head);
        output.clear();
        match request.upload {
            0 => write_result(&mut output, request.download),
            length => {
                let intact = read_upload(&mut stream, &mut input, length).await?;
                write_head(&mut output, received(length, intact).as_bytes());
            }
        }
        let service = state.service.get();
        if !service.is_zero() {
            until(Instant::now() + service).await;
        } else if state.slots.borrow().is_some() {
            // Requests that have arrived on other connections begin too, so that the log sees them at once.
            tokio::task::yield_now().await;
        }
        state.note(SlotLog::finished);
        stream.write_all(&output).await?;
        write_download(&mut stream, request.download).await?;
    }
}

fn write_result(output: &mut Vec<u8>, download: Option<usize>) {
    match download {
        None => write_head(output, RESULT),
        Some(bytes) => output.extend_from_slice(
            format!("HTTP/1.1 200 OK\r\ncontent-type: image/jpeg\r\ncontent-length: {bytes}\r\n\r\n").as_bytes(),
        ),
    }
}

fn write_head(output: &mut Vec<u8>, body: &[u8]) {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    output.extend_from_slice(head.as_bytes());
    output.extend_from_slice(body);
}

async fn write_download(stream: &mut TcpStream, download: Option<usize>) -> Result<()> {
    let length = download.unwrap_or(0);
    let mut sent = 0;
    while sent < length {
        sent += stream.write(pattern::at(sent, length)).await?;
    }
    Ok(())
}

/// Reads a body, of which `input` may already have a part. Returns whether it is the pattern.
async fn read_upload(stream: &mut TcpStream, input: &mut Vec<u8>, length: usize) -> Result<bool> {
    let (mut read, mut intact) = (0, true);
    loop {
        intact &= pattern::holds(read, input);
        read += input.len();
        input.clear();
        if read >= length {
            return Ok(intact && read == length);
        }
        input.reserve(BUFFER);
        if stream.read_buf(input).await? == 0 {
            return Err("the connection ended within a request".into());
        }
    }
}

/// A request, once its head is complete.
fn parse(input: &[u8]) -> Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(input)? else {
        return Ok(None);
    };
    let upload = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let upload = match upload {
        Some(header) => std::str::from_utf8(header.value)?.parse()?,
        None => 0,
    };
    let query = request.path.and_then(|path| path.split_once("?bytes="));
    let download = query.map(|(_, bytes)| bytes.parse()).transpose()?;
    Ok(Some(Request { head, upload, download }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_json_of_a_kilobyte() {
        let json: serde_json::Value = serde_json::from_slice(RESULT).expect("JSON");
        assert!(json["result"].as_str().is_some_and(|text| text.len() > 1_000));
        assert_eq!(RESULT.len(), RESULT_BYTES);
    }

    #[test]
    fn a_request_says_what_it_uploads_and_downloads() {
        let head = b"POST /search?bytes=7 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        assert!(parse(&head[..30]).expect("a beginning").is_none());
        let request = parse(head).expect("a request").expect("complete");
        assert_eq!(
            (request.head, request.upload, request.download),
            (head.len(), 5, Some(7))
        );
    }
}
