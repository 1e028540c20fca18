//! A client: it sends one request after the other.

use std::net::SocketAddr;

use super::connection::{Answer, Connection};
use super::job::Job;
use crate::Result;
use crate::callers::{Caller, local_address};

/// Where requests go.
pub type Target = SocketAddr;

/// A client with at most one connection.
#[derive(Debug)]
pub struct Client {
    target: Target,
    number: u32,
    opened: u32,
    connection: Option<Connection>,
    head: Vec<u8>,
}

impl Client {
    /// The client of that number. It connects when it sends.
    pub fn new(target: Target, number: u32) -> Self {
        Self {
            target,
            number,
            opened: 0,
            connection: None,
            head: Vec::new(),
        }
    }

    /// Sends a request and checks the answer. Returns whether it was a success.
    pub async fn send(&mut self, job: &Job, caller: Caller) -> Result<bool> {
        caller.write_head(&mut self.head, &job.path, job.new_connections, job.upload);
        let (connection, answer) = self.exchange(job.upload).await?;
        let is_success = job.expected.check(connection, answer)?;
        if answer.closes || job.new_connections {
            self.connection = None;
        }
        Ok(is_success)
    }

    /// Sends a head as it is. Returns the answer's status and its head and body as text.
    pub async fn send_raw(&mut self, head: &str) -> Result<(u16, String)> {
        head.as_bytes().clone_into(&mut self.head);
        let (connection, answer) = self.exchange(None).await?;
        let text = [connection.head(answer), connection.body(answer)].concat();
        if answer.closes {
            self.connection = None;
        }
        Ok((answer.status, String::from_utf8_lossy(&text).into_owned()))
    }

    async fn exchange(&mut self, upload: Option<usize>) -> Result<(&mut Connection, Answer)> {
        if self.connection.is_none() {
            // Another address for each connection, so that ports that have not expired don't matter.
            let from = local_address(self.number.wrapping_mul(31).wrapping_add(self.opened));
            self.opened = self.opened.wrapping_add(1);
            self.connection = Some(Connection::open(from, self.target).await?);
        }
        let connection = self.connection.as_mut().expect("it was opened above");
        connection.send(&self.head, upload).await?;
        let answer = connection.receive().await?;
        Ok((connection, answer))
    }
}
