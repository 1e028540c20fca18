//! An operator who pauses and resumes, stops and starts, edits the file well and badly, cancels jobs and drains a server, and knows
//! how often.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tiergate::clock::Clock;
use tiergate::policy::time::Timestamp;

use super::let_pass;
use super::model::{Counts, bump};
use super::rig::file;
use super::servers::Servers;
use super::sources::operator;
use crate::support::dice::Dice;
use crate::support::folder::Folder;

/// What the operator has done.
#[derive(Debug, Default)]
pub struct Acts {
    /// By the audit log's name.
    pub audited: Counts,
    /// Files that were saved and differed from the one before, and those that were wrong.
    pub applied: u64,
    pub failed: u64,
    /// The numbers in force.
    numbers: Numbers,
}

/// Numbers of the file that the operator changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub length: u32,
    pub max_wait_ms: u32,
    pub timeout_ms: u32,
    pub mid_priority: u32,
    pub low_concurrency: u32,
}

impl Numbers {
    pub const AT_FIRST: Self = Self {
        length: 8,
        max_wait_ms: 150,
        timeout_ms: 700,
        mid_priority: 4,
        low_concurrency: 2,
    };
}

impl Default for Numbers {
    fn default() -> Self {
        Self::AT_FIRST
    }
}

pub struct Operator {
    pub admin: SocketAddr,
    pub folder: Arc<Folder>,
    pub servers: Servers,
    pub dice: Dice,
    pub acts: Acts,
}

impl Operator {
    /// Acts until then, and leaves everything as it was but for the numbers.
    pub async fn act_until(mut self, clock: Clock, end: Timestamp) -> Acts {
        while clock.now() < end {
            match self.dice.below(9) {
                0 => {
                    self.there_and_back("POST /dispatch/pause", "POST /dispatch/resume")
                        .await
                }
                1 => {
                    self.there_and_back("POST /admission/stop", "POST /admission/start")
                        .await
                }
                2 => {
                    let drain = format!("/servers/search/{}/drain", self.servers.addresses[1]);
                    self.there_and_back(&format!("POST {drain}"), &format!("DELETE {drain}"))
                        .await;
                }
                3 => self.edit_badly().await,
                5 => self.servers.rest(),
                4 => {
                    let numbers = Numbers {
                        length: [5, 8][self.dice.below(2) as usize],
                        mid_priority: [1, 3, 4][self.dice.below(3) as usize],
                        low_concurrency: 1 + self.dice.below(3) as u32,
                        ..self.acts.numbers
                    };
                    self.edit(numbers).await;
                }
                _ => self.cancel_someone().await,
            }
            let_pass(Duration::from_millis(10 + self.dice.below(100))).await;
        }
        self.acts
    }

    async fn there_and_back(&mut self, there: &str, back: &str) {
        self.switch(there).await;
        let_pass(Duration::from_millis(self.dice.below(80))).await;
        self.switch(back).await;
    }

    /// An action that changes something. `what` is a method and a path.
    pub async fn switch(&mut self, what: &str) {
        let answer = self.told(200, what).await;
        assert_eq!(answer["changed"], true, "{what}: {answer}");
        let (method, path) = what.split_once(' ').expect("a method and a path");
        let action = match (method, path.rsplit('/').next()) {
            ("DELETE", Some("drain")) => "server_undrain",
            (_, Some("drain")) => "server_drain",
            (_, Some("pause")) => "dispatch_pause",
            (_, Some("resume")) => "dispatch_resume",
            (_, Some("stop")) => "admission_stop",
            (_, Some("start")) => "admission_start",
            _ => panic!("no such action: {what}"),
        };
        bump(&mut self.acts.audited, action);
    }

    /// Saves a file with those numbers, and has it applied.
    pub async fn edit(&mut self, numbers: Numbers) {
        if numbers == self.acts.numbers {
            return;
        }
        self.save(&file(&self.servers, &self.folder, numbers));
        self.told(200, "POST /reload").await;
        self.acts.numbers = numbers;
        self.acts.applied += 1;
        bump(&mut self.acts.audited, "reload_asked");
    }

    /// A wrong file, and the right one again.
    async fn edit_badly(&mut self) {
        let right = file(&self.servers, &self.folder, self.acts.numbers);
        self.save(&right.replace("queue:", "queu:"));
        self.told(422, "POST /reload").await;
        self.save(&right);
        self.told(200, "POST /reload").await;
        self.acts.failed += 1;
        bump(&mut self.acts.audited, "reload_asked");
        bump(&mut self.acts.audited, "reload_asked");
    }

    fn save(&self, text: &str) {
        let path = self.folder.path();
        let new = path.join("tiers.yaml.new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, path.join("tiers.yaml")).expect("a file");
    }

    /// Cancels a job that waits, if one does and goes on doing so.
    async fn cancel_someone(&mut self) {
        let queue = self.told(200, "GET /queue").await;
        let waiting = queue["waiting"].as_array().expect("a list");
        if waiting.is_empty() {
            return;
        }
        let job = &waiting[self.dice.below(waiting.len() as u64) as usize];
        self.cancel(job["id"].as_str().expect("an id")).await;
    }

    /// Cancels the job, unless it has a slot or has ended.
    pub async fn cancel(&mut self, id: &str) {
        let (status, answer) = operator(self.admin, self.folder.path(), "DELETE", &format!("/queue/{id}")).await;
        match status {
            200 => bump(&mut self.acts.audited, "job_cancel"),
            404 | 409 => {}
            _ => panic!("{status}: {answer}"),
        }
    }

    pub async fn told(&self, status: u16, what: &str) -> Value {
        let (method, path) = what.split_once(' ').expect("a method and a path");
        let (told, answer) = operator(self.admin, self.folder.path(), method, path).await;
        assert_eq!(told, status, "{what}: {answer}");
        answer
    }
}
