//! Upstream servers that a test drives, and one that answers by itself.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::message::{Ahead, Head, ReadSome, read_body, read_framed, read_head};
use super::soon;

/// An upstream server that does what its test says.
pub struct UpstreamServer {
    pub address: SocketAddr,
    listener: TcpListener,
}

/// A request at an upstream server: the head is read, the body isn't.
#[derive(Debug)]
pub struct Arrived {
    /// Request line and headers.
    pub head: Head,
    /// What came after the head with the same read.
    pub ahead: Vec<u8>,
    pub stream: TcpStream,
}

impl UpstreamServer {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn at(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).await.expect("loopback has free ports"))
    }

    pub fn on(listener: TcpListener) -> Self {
        Self {
            address: listener.local_addr().expect("it listens"),
            listener,
        }
    }

    /// The next connection.
    pub async fn connection(&self) -> TcpStream {
        soon("a connection to the upstream server", self.listener.accept())
            .await
            .expect("accepting works")
            .0
    }

    /// The next request, on a new connection.
    pub async fn request(&self) -> Arrived {
        Arrived::on(self.connection().await).await
    }
}

impl Arrived {
    /// The next request on this connection.
    pub async fn on(mut stream: TcpStream) -> Self {
        let (head, ahead) = soon("a request's head", read_head(&mut stream)).await;
        Self {
            head: head.expect("the proxy sends a head"),
            ahead,
            stream,
        }
    }

    /// The next request, on this connection or on a new one: which of them is the proxy's affair, as its cores have
    /// connections of their own.
    pub async fn on_either(stream: TcpStream, server: &UpstreamServer) -> Self {
        let mut first = [0];
        tokio::select! {
            read = stream.peek(&mut first) => {
                assert_eq!(read.ok(), Some(1), "the proxy closed its connection");
                Self::on(stream).await
            }
            new = server.request() => new,
        }
    }

    /// Reads until the proxy has closed the connection.
    pub async fn until_closed(&mut self) {
        soon("the end", async {
            while matches!(self.stream.some().await, Ok(bytes) if !bytes.is_empty()) {}
        })
        .await;
    }

    /// Reads the body, which has a Content-Length or is chunked, to its end.
    pub async fn body(&mut self) -> Vec<u8> {
        let body = read_body(&mut self.stream, &self.head, std::mem::take(&mut self.ahead), false);
        soon("a request's body", body).await.expect("the proxy sends the body")
    }

    /// Answers with status 200 and this body, and keeps the connection.
    pub async fn answer(&mut self, body: &str) {
        self.answer_with("200 OK", "", body).await;
    }

    /// Answers with that status, these header lines (each with its CRLF) and that body, and keeps the connection.
    pub async fn answer_with(&mut self, status: &str, headers: &str, body: &str) {
        let text = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.write(text.as_bytes()).await;
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        soon("the upstream server writes", self.stream.write_all(bytes))
            .await
            .expect("the proxy reads");
    }
}

/// An upstream server that answers every request at once: status 200 and, as the body, the request's head as it arrived.
pub struct Mirror {
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Mirror {
    pub async fn start() -> Self {
        let server = UpstreamServer::start().await;
        let address = server.address;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = server.listener.accept().await {
                tokio::spawn(mirror(stream));
            }
        });
        Self { address, task }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn mirror(mut stream: TcpStream) {
    let mut ahead = Vec::new();
    loop {
        let mut reader = Ahead {
            ahead,
            stream: &mut stream,
        };
        let (Some(head), rest) = read_head(&mut reader).await else {
            return;
        };
        let Ok((_, rest)) = read_framed(&mut stream, &head, rest).await else {
            return;
        };
        ahead = rest;
        let lines = head.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let body = format!("{}\r\n{}\r\n", head.line, lines.collect::<String>());
        let length = body.len();
        let body = if head.line.starts_with("HEAD ") { "" } else { &body };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
