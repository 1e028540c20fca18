//! The configuration: which one runs, what became of the last one that was read, to read it again, and what another one would
//! change.
//!
//! Absent on purpose: reading and exchanging it. Both is done by whoever has the other end of the [`Desk`], one after the other;
//! what it says of that in JSON comes from where configurations are known.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::problem::Problem;
use super::times::written;
use super::wire::read;
use super::{Admin, BODY_TIMEOUT, CONFIG_BYTES_MAX};
use crate::policy::time::UnixTime;

/// What is told to programs.
pub use serde_json::Value as Json;

/// Where operators ask. Who asks while so many wait is told to come back.
pub type Desk = mpsc::Sender<Asked>;

/// Operators that may wait for an answer at once.
pub const ASKED_MAX: usize = 16;

/// What is asked of whoever exchanges configurations.
#[derive(Debug)]
pub enum Asked {
    /// To read the file again, now.
    Reload(oneshot::Sender<Reloaded>),
    /// What would change if these bytes were the file's. `Err`: what is wrong with them.
    Compare(Bytes, oneshot::Sender<Result<Json, Json>>),
}

/// What became of a reload that was asked for.
#[derive(Clone, Debug)]
pub enum Reloaded {
    /// The door runs what the file says.
    Done(Taken),
    /// The file is wrong, and nothing has changed.
    Failed(Taken),
    /// The door runs a preset: there is no file to read.
    NoFile,
}

/// A configuration that was read, and what became of it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// When.
    pub at: UnixTime,
    /// `started`, `applied`, `unchanged` or `failed`.
    pub result: &'static str,
    /// What it has changed: `{ "changes": [ … ] }`.
    pub changes: Json,
    /// What is wrong with it, as `tiergate check --json` tells it; `null` if nothing is.
    pub wrong: Json,
}

/// The configuration that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its file, or `preset NAME`.
    pub name: String,
    /// Since when.
    pub since: UnixTime,
    /// What it says, without secrets.
    pub document: Json,
    /// What of the file needs a restart: `{ "changes": [ … ] }`.
    pub restart: Json,
    /// The last one that was read.
    pub last: Taken,
}

#[derive(Serialize)]
struct TakenLine {
    at: String,
    result: &'static str,
    #[serde(flatten)]
    changes: Json,
    wrong: Json,
}

impl From<Taken> for TakenLine {
    fn from(taken: Taken) -> Self {
        Self {
            at: written(taken.at),
            result: taken.result,
            changes: taken.changes,
            wrong: taken.wrong,
        }
    }
}

/// `GET /config`.
#[derive(Serialize)]
pub(super) struct RunningPage {
    file: String,
    since: String,
    last: TakenLine,
    restart: Json,
    config: Json,
}

pub(super) async fn show(State(admin): State<Arc<Admin>>) -> axum::Json<RunningPage> {
    let running = Running::clone(&admin.running.load());
    axum::Json(RunningPage {
        file: running.name,
        since: written(running.since),
        last: running.last.into(),
        restart: running.restart["changes"].clone(),
        config: running.document,
    })
}

/// `POST /reload`: 422 if the file is wrong.
pub(super) async fn reload(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    match ask(&admin, Asked::Reload).await? {
        Reloaded::Done(taken) => Ok(axum::Json(TakenLine::from(taken)).into_response()),
        Reloaded::Failed(taken) => Ok((StatusCode::UNPROCESSABLE_ENTITY, axum::Json(taken.wrong)).into_response()),
        Reloaded::NoFile => Err(Problem::no_file()),
    }
}

/// `POST /config/diff`: 422 if what was sent is wrong.
pub(super) async fn compare(State(admin): State<Arc<Admin>>, request: Request) -> Result<Response, Problem> {
    let sent = read(request, CONFIG_BYTES_MAX, BODY_TIMEOUT, admin.gate.clock()).await?;
    match ask(&admin, |answer| Asked::Compare(sent, answer)).await? {
        Ok(changes) => Ok(axum::Json(changes).into_response()),
        Err(wrong) => Ok((StatusCode::UNPROCESSABLE_ENTITY, axum::Json(wrong)).into_response()),
    }
}

async fn ask<T>(admin: &Admin, asked: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Result<T, Problem> {
    let (answer, answered) = oneshot::channel();
    admin.desk.try_send(asked(answer)).map_err(|_| Problem::busy())?;
    // Nobody answers any more once the door is closing.
    answered.await.map_err(|_| Problem::busy())
}
