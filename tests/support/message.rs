//! Requests and responses as they come over a connection: heads, and bodies by their framing.

use std::collections::HashMap;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

pub struct Ahead<'a> {
    pub ahead: Vec<u8>,
    pub stream: &'a mut TcpStream,
}

pub trait ReadSome {
    async fn some(&mut self) -> std::io::Result<Vec<u8>>;
}

impl ReadSome for TcpStream {
    async fn some(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; 64 * 1024];
        let read = self.read(&mut bytes).await?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

impl ReadSome for Ahead<'_> {
    async fn some(&mut self) -> std::io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.stream.some().await
        } else {
            Ok(std::mem::take(&mut self.ahead))
        }
    }
}

/// A request's or an answer's first line and headers, names in lower case.
#[derive(Clone, Debug)]
pub struct Head {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Head {
    pub fn status(&self) -> u16 {
        self.line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("an answer has a status")
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(of, _)| of == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(of, _)| of == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The head that a [`Mirror`] got.
    pub async fn mirrored(&self) -> Head {
        assert_eq!(self.status(), 200, "{}", self.text());
        read_head(&mut Read(self.body.clone()))
            .await
            .0
            .expect("a mirror answers with a head")
    }

    /// Checks that this is a refusal in the proxy's own words.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, reason: &str) {
        assert_eq!(
            (self.status(), self.reason()),
            (status, reason.to_owned()),
            "{}",
            self.text()
        );
        assert_eq!(self.get("content-type"), Some("application/json"));
        assert!(
            self.json()["error"].as_str().is_some_and(|error| !error.is_empty()),
            "{}",
            self.text()
        );
    }

    /// The refusal in JSON without the request's id, which is that of the header.
    #[track_caller]
    pub fn explanation(&self) -> serde_json::Value {
        let mut json = self.json();
        let id = json.as_object_mut().and_then(|members| members.remove("request_id"));
        assert_eq!(
            id.as_ref().and_then(|id| id.as_str()),
            self.get("x-request-id"),
            "{}",
            self.text()
        );
        json
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Bytes that have been read already.
struct Read(Vec<u8>);

impl ReadSome for Read {
    async fn some(&mut self) -> std::io::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.0))
    }
}

pub async fn read_head(stream: &mut impl ReadSome) -> (Option<Head>, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let ahead = bytes.split_off(end + 4);
            let text = String::from_utf8(bytes).expect("heads are text");
            let mut lines = text.trim_end().split("\r\n");
            let line = lines.next().expect("a head has a first line").to_owned();
            let header = |line: &str| {
                let (name, value) = line.split_once(':').expect("a header has a colon");
                (name.to_ascii_lowercase(), value.trim().to_owned())
            };
            return (
                Some(Head {
                    line,
                    headers: lines.map(header).collect(),
                }),
                ahead,
            );
        }
        match stream.some().await {
            Ok(more) if !more.is_empty() => bytes.extend(more),
            _ => return (None, bytes),
        }
    }
}

pub async fn read_answer_body(
    stream: &mut TcpStream,
    head: &Head,
    ahead: Vec<u8>,
) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    if head.get("content-length").is_none() && head.get("transfer-encoding").is_none() {
        let body = read_body(stream, head, ahead, true).await?;
        return Ok((body, Vec::new()));
    }
    read_framed(stream, head, ahead).await
}

pub async fn read_body(
    stream: &mut TcpStream,
    head: &Head,
    mut ahead: Vec<u8>,
    to_the_end: bool,
) -> std::io::Result<Vec<u8>> {
    if to_the_end {
        stream.read_to_end(&mut ahead).await?;
        return Ok(ahead);
    }
    read_framed(stream, head, ahead).await.map(|(body, _)| body)
}

/// The body and what comes after it.
pub async fn read_framed(
    stream: &mut TcpStream,
    head: &Head,
    mut bytes: Vec<u8>,
) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    if let Some(length) = head.get("content-length") {
        let length: usize = length.parse().expect("a length is a number");
        while bytes.len() < length {
            more(stream, &mut bytes).await?;
        }
        let ahead = bytes.split_off(length);
        return Ok((bytes, ahead));
    }
    if head.get("transfer-encoding").is_none() {
        return Ok((Vec::new(), bytes));
    }
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
                break end;
            }
            more(stream, &mut bytes).await?;
        };
        let size = std::str::from_utf8(&bytes[..line]).expect("sizes are text");
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).expect("a size is a number");
        while bytes.len() < line + 2 + size + 2 {
            more(stream, &mut bytes).await?;
        }
        body.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes.drain(..line + 2 + size + 2);
        if size == 0 {
            return Ok((body, bytes));
        }
    }
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let more = stream.some().await?;
    if more.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend(more);
    Ok(())
}

/// Header lines by name, for comparing.
pub fn by_name(head: &Head) -> HashMap<&str, &str> {
    head.headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
