//! The operator's requests to a proxy and their answers, in few words.

use std::fmt::Display;

use serde_json::Value;

use super::{Answer, Proxy};

impl Answer {
    /// Its JSON, after a look at the status.
    #[track_caller]
    pub fn told(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{}", self.text());
        self.json()
    }
}

impl Proxy {
    /// The JSON that the operator is told, after a look at the status. `what` is a method and a path: `GET /accounts`.
    pub async fn told(&self, status: u16, what: impl AsRef<str>, body: impl Display) -> Value {
        let (method, path) = split(what.as_ref());
        self.operator(method, path, &body.to_string()).await.told(status)
    }

    /// The same, for accounts that are imported in that format.
    pub async fn imports(&self, kind: &str, lines: &str) -> Value {
        let answer = self.operator_with("POST", "/accounts/import", kind, lines).await;
        answer.told(201)
    }

    /// The operator is refused, with that status, reason and, among others, these words.
    pub async fn refuses(&self, what: impl AsRef<str>, body: impl Display, (status, reason): (u16, &str), words: &str) {
        let (method, path) = split(what.as_ref());
        let answer = self.operator(method, path, &body.to_string()).await;
        answer.assert_refused(status, reason);
        assert!(
            answer.text().contains(words),
            "{method} {path} {body}: {}",
            answer.text()
        );
    }
}

fn split(what: &str) -> (&str, &str) {
    what.split_once(' ').expect("a method and a path")
}

/// The cells of a table: a row a line, with ` | ` between cells. Blank lines are skipped.
pub fn rows<const CELLS: usize>(table: &str) -> impl Iterator<Item = [&str; CELLS]> {
    table.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        cells
            .try_into()
            .unwrap_or_else(|cells: Vec<&str>| panic!("{} cells in {line}", cells.len()))
    })
}
