//! What a client sends, and what it expects.

use super::connection::{Answer, Connection};
use crate::Result;
use crate::backend::{RESULT, received};

/// A kind of request, and its answer.
#[derive(Clone, Debug)]
pub struct Job {
    /// The path and query.
    pub path: String,
    /// Whether each request has a connection of its own.
    pub new_connections: bool,
    /// The length of its body.
    pub upload: Option<usize>,
    /// The answer.
    pub expected: Expected,
}

/// An answer that is right.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// The upstream server's usual one.
    Result,
    /// The pattern, of that many bytes.
    Download(usize),
    /// That the upstream server has received that many bytes intact.
    Received(usize),
    /// A refusal with that status and a body.
    Refusal(u16),
    /// The usual one, or 503 because the queue is full.
    ResultOrFull,
}

impl Job {
    /// A search.
    pub fn search() -> Self {
        Self {
            path: "/search".to_owned(),
            new_connections: false,
            upload: None,
            expected: Expected::Result,
        }
    }

    /// A search that is refused.
    pub fn refused(status: u16, new_connections: bool) -> Self {
        Self {
            new_connections,
            expected: Expected::Refusal(status),
            ..Self::search()
        }
    }

    /// A search with a body of that length.
    pub fn upload(bytes: usize) -> Self {
        Self {
            upload: Some(bytes),
            expected: Expected::Received(bytes),
            ..Self::search()
        }
    }

    /// A search whose answer is that long.
    pub fn download(bytes: usize) -> Self {
        Self {
            path: format!("/search?bytes={bytes}"),
            expected: Expected::Download(bytes),
            ..Self::search()
        }
    }
}

impl Expected {
    /// Whether it was a success; fails if it is not what was expected.
    pub fn check(self, connection: &Connection, answer: Answer) -> Result<bool> {
        let body = || connection.body(answer);
        let is_right = match self {
            Self::Result => answer.status == 200 && body() == RESULT,
            Self::Download(bytes) => answer.status == 200 && answer.length == bytes,
            Self::Received(bytes) => answer.status == 200 && body() == received(bytes, true).as_bytes(),
            Self::Refusal(status) => answer.status == status && answer.length > 0,
            Self::ResultOrFull => match answer.status {
                200 => body() == RESULT,
                status => status == 503 && answer.length > 0,
            },
        };
        if is_right {
            return Ok(answer.status == 200);
        }
        let head = String::from_utf8_lossy(connection.head(answer));
        let body = String::from_utf8_lossy(body());
        let body: String = body.chars().take(200).collect();
        Err(format!("expected {self:?}, but got:\n{}\n\n{body}", head.trim_end()).into())
    }
}
