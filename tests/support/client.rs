//! A client's connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::message::{Ahead, Answer, Head, read_answer_body, read_head};
use super::soon;

/// A client's connection.
pub struct Client {
    pub stream: TcpStream,
    ahead: Vec<u8>,
    /// The host that it asks for.
    host: &'static str,
}

/// The host that clients ask for.
const HOST: &str = "tiergate.example";

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address))
            .await
            .expect("the proxy listens");
        Self {
            stream,
            ahead: Vec::new(),
            host: HOST,
        }
    }

    /// A client of an admin listener, which answers operators only under its own name.
    pub async fn operator(address: SocketAddr) -> Self {
        Self {
            host: "localhost",
            ..Self::connect(address).await
        }
    }

    /// A client on a connection that there is already.
    pub fn on(stream: TcpStream) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            host: HOST,
        }
    }

    /// Connects from another loopback address, 127.0.0.`host`: another network to the proxy.
    pub async fn connect_from(host: u8, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::from(([127, 0, 0, host], 0)))
            .expect("all of 127/8 is ours");
        let stream = soon("a connection", socket.connect(address))
            .await
            .expect("the proxy listens");
        Self {
            stream,
            ahead: Vec::new(),
            host: HOST,
        }
    }

    /// The same connection twice, to read and to write at once.
    pub fn into_halves(self) -> (Self, TcpStream) {
        let stream = self.stream.into_std().expect("it is registered");
        let writer = stream.try_clone().expect("descriptors are left");
        let [reader, writer] = [stream, writer].map(|stream| TcpStream::from_std(stream).expect("it doesn't block"));
        let reader = Self {
            stream: reader,
            ahead: self.ahead,
            host: self.host,
        };
        (reader, writer)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("a client sends", self.stream.write_all(bytes.as_ref()))
            .await
            .expect("the proxy reads");
    }

    /// `METHOD PATH` with these header lines, each with its CRLF.
    pub async fn request(&mut self, method: &str, path: &str, headers: &str) {
        self.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n",
            self.host
        ))
        .await;
    }

    /// A search with that key, none if it is empty.
    pub async fn search(&mut self, key: &str) {
        let key = if key.is_empty() {
            String::new()
        } else {
            format!("x-api-key: {key}\r\n")
        };
        self.request("GET", "/search", &key).await;
    }

    /// An upload of that many bytes, of which none is sent yet.
    pub async fn upload(&mut self, key: &str, length: usize) {
        let headers = format!("x-api-key: {key}\r\ncontent-length: {length}\r\n");
        self.request("POST", "/search", &headers).await;
    }

    /// Breaks the connection off as a crashed program's system does: with a reset.
    pub fn reset(self) {
        reset(self.stream);
    }

    /// The next answer, whole.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&mut self, method: &str, path: &str, headers: &str) -> Answer {
        self.request(method, path, headers).await;
        self.answer_to(method).await
    }

    /// The bytes that the proxy sends until it closes the connection, in good order.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        loop {
            let some = self.read_some().await.expect("the connection ends, and isn't reset");
            if some.is_empty() {
                return rest;
            }
            rest.extend(some);
        }
    }

    /// The next answer to a request of that method, whole.
    pub async fn answer_to(&mut self, method: &str) -> Answer {
        soon("an answer", self.try_answer(method))
            .await
            .expect("the proxy answers")
    }

    /// The next answer, or how its connection ended instead.
    pub async fn try_answer(&mut self, method: &str) -> std::io::Result<Answer> {
        let mut stream = Ahead {
            ahead: std::mem::take(&mut self.ahead),
            stream: &mut self.stream,
        };
        let (head, ahead) = read_head(&mut stream).await;
        let head = head.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let bodiless = method == "HEAD" || head.status() == 204 || head.status() == 304;
        let (body, ahead) = if bodiless {
            (Vec::new(), ahead)
        } else {
            read_answer_body(stream.stream, &head, ahead).await?
        };
        self.ahead = ahead;
        Ok(Answer { head, body })
    }

    /// The head of the next answer; its body is left to be read.
    pub async fn answer_head(&mut self) -> Head {
        let mut stream = Ahead {
            ahead: std::mem::take(&mut self.ahead),
            stream: &mut self.stream,
        };
        let (head, ahead) = soon("an answer's head", read_head(&mut stream)).await;
        self.ahead = ahead;
        head.expect("the proxy answers")
    }

    /// The next bytes, at least one unless the connection has ended.
    pub async fn read_some(&mut self) -> std::io::Result<Vec<u8>> {
        if !self.ahead.is_empty() {
            return Ok(std::mem::take(&mut self.ahead));
        }
        let mut bytes = vec![0; 64 * 1024];
        let read = soon("bytes", self.stream.read(&mut bytes)).await?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Reads until what has come since the last head ends so.
    pub async fn until_ends_with(&mut self, end: &str) {
        let mut got = Vec::new();
        while !got.ends_with(end.as_bytes()) {
            let more = self.read_some().await.expect("the proxy sends more");
            assert!(!more.is_empty(), "the end, after {:?}", String::from_utf8_lossy(&got));
            got.extend(more);
        }
    }

    /// Waits until the proxy has closed the connection, whatever it still sends.
    pub async fn until_closed(&mut self) {
        while matches!(self.read_some().await, Ok(bytes) if !bytes.is_empty()) {}
    }
}

/// Closes a connection with a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket lingers as it is told");
}

/// One `GET` on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client.request("GET", path, "connection: close\r\n").await;
    client.answer().await
}
