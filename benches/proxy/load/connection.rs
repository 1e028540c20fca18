//! A client's connection: it sends a request and reads the whole answer.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::{Result, pattern};

/// Bodies up to this are kept; longer ones are compared with the pattern as they arrive.
const KEPT_MAX: usize = 64 * 1_024;
const BUFFER: usize = 128 * 1_024;
const HEADERS_MAX: usize = 64;

/// An answer that has been read.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The length of its body.
    pub length: usize,
    /// Whether the connection ends with it.
    pub closes: bool,
    head: usize,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    /// Connects from that address.
    pub async fn open(from: Ipv4Addr, to: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    /// Sends a head, and a body of the pattern after it.
    pub async fn send(&mut self, head: &[u8], upload: Option<usize>) -> Result<()> {
        self.stream.write_all(head).await?;
        let length = upload.unwrap_or(0);
        let mut sent = 0;
        while sent < length {
            sent += self.stream.write(pattern::at(sent, length)).await?;
        }
        Ok(())
    }

    /// Reads an answer. A long body must be the pattern.
    pub async fn receive(&mut self) -> Result<Answer> {
        self.input.clear();
        let answer = loop {
            if self.input.len() == self.input.capacity() {
                self.input.reserve(4_096);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err("the connection ended before an answer".into());
            }
            if let Some(answer) = parse(&self.input)? {
                break answer;
            }
        };
        if answer.length <= KEPT_MAX {
            self.keep(answer).await?;
        } else {
            self.compare(answer).await?;
        }
        Ok(answer)
    }

    /// The head of an answer just received, whose body was kept.
    pub fn head(&self, answer: Answer) -> &[u8] {
        self.input.get(..answer.head).unwrap_or_default()
    }

    /// The body of an answer just received; empty if it was not kept.
    pub fn body(&self, answer: Answer) -> &[u8] {
        self.input.get(answer.head..).unwrap_or_default()
    }

    async fn keep(&mut self, answer: Answer) -> Result<()> {
        let whole = answer.head + answer.length;
        while self.input.len() < whole {
            self.input.reserve(whole - self.input.len());
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err("the connection ended within an answer".into());
            }
        }
        match self.input.len() > whole {
            true => Err("more came than one answer".into()),
            false => Ok(()),
        }
    }

    async fn compare(&mut self, answer: Answer) -> Result<()> {
        let mut begin = answer.head;
        let mut read = 0;
        loop {
            let piece = &self.input[begin..];
            if !pattern::holds(read, piece) {
                return Err(format!("the body differs within {} bytes after {read}", piece.len()).into());
            }
            read += piece.len();
            if read >= answer.length {
                break;
            }
            self.input.clear();
            self.input.reserve(BUFFER);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(format!("the connection ended after {read} bytes of {}", answer.length).into());
            }
            begin = 0;
        }
        // What is left here is the end of a body, not a head and a body.
        self.input.clear();
        match read > answer.length {
            true => Err("more came than one answer".into()),
            false => Ok(()),
        }
    }
}

/// The head of an answer, once it is complete. Its body must have a Content-Length.
fn parse(input: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(input)? else {
        return Ok(None);
    };
    let (mut length, mut closes) = (None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)?.parse().ok();
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let status = response.code.ok_or("an answer has no status")?;
    let length = length.ok_or_else(|| format!("an answer with status {status} has no Content-Length"))?;
    Ok(Some(Answer {
        status,
        length,
        closes,
        head,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_parsed_once_its_head_is_complete() {
        let text = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n{}";
        assert!(parse(&text[..40]).expect("a beginning").is_none());
        let answer = parse(text).expect("an answer").expect("complete");
        assert_eq!((answer.status, answer.length, answer.closes), (429, 2, true));
        assert_eq!(answer.head, text.len() - 2);
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "it has no length");
    }
}
