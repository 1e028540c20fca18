//! The configuration: which one is active, the result of the last reload, reloading it, and what another one would change.
//!
//! The reload task takes a [`ConfigRequest`] at a time, and reads and swaps configurations. It also produces the JSON.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::controls::record;
use super::operator::Stamped;
use super::problem::Problem;
use super::times::written;
use super::wire::read;
use super::{Admin, BODY_TIMEOUT, CONFIG_BYTES_MAX};
use crate::http::caller::decoded;
use crate::policy::time::UnixTime;

/// JSON as the answers contain it.
pub use serde_json::Value as Json;
use serde_json::json;

/// The channel to the reload task. When it is full, requests are refused as busy.
pub type ConfigRequestSender = mpsc::Sender<ConfigRequest>;

/// The most operator requests that may wait for an answer at once.
pub const CONFIG_REQUESTS_MAX: usize = 16;
/// What messages call a posted configuration without a name.
const NAME_DEFAULT: &str = "the posted file";
/// The longest name of a posted configuration, percent-encoded: a path of the system.
const NAME_BYTES_MAX: usize = 3 * 4096;

/// A request to the reload task.
#[derive(Debug)]
pub enum ConfigRequest {
    /// Read the file again now.
    Reload(oneshot::Sender<ReloadOutcome>),
    /// What would change if the file held these bytes.
    Compare {
        /// What messages call them.
        name: String,
        /// The content.
        bytes: Bytes,
        /// `Err`: what is wrong with them.
        answer: oneshot::Sender<Result<Json, Json>>,
    },
}

/// The result of a requested reload.
#[derive(Clone, Debug)]
pub enum ReloadOutcome {
    /// The configuration in the file is active.
    Done(ConfigLoad),
    /// The file is invalid, and nothing has changed.
    Failed(ConfigLoad),
    /// Tiergate runs a preset: there is no file to read.
    NoFile,
}

/// A configuration that was read, and the result.
#[derive(Clone, Debug)]
pub struct ConfigLoad {
    /// When it was read.
    pub at: UnixTime,
    /// `started`, `applied`, `unchanged` or `failed`.
    pub result: &'static str,
    /// What it changed: `{ "changes": [ … ] }`.
    pub changes: Json,
    /// What is wrong with it, as `tiergate check --json` prints it; `null` if nothing is.
    pub wrong: Json,
}

/// The active configuration.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its file, or `preset NAME`.
    pub name: String,
    /// When it became active.
    pub since: UnixTime,
    /// Its content, without secrets.
    pub document: Json,
    /// What `tiergate check --json` warns of; `null` without a file.
    pub lint: Json,
    /// Changes in the file that need a restart: `{ "changes": [ … ] }`.
    pub restart: Json,
    /// The last configuration that was read.
    pub last: ConfigLoad,
}

#[derive(Debug, Serialize)]
struct ConfigLoadLine {
    at: String,
    result: &'static str,
    #[serde(flatten)]
    changes: Json,
    wrong: Json,
}

impl From<ConfigLoad> for ConfigLoadLine {
    fn from(load: ConfigLoad) -> Self {
        Self {
            at: written(load.at),
            result: load.result,
            changes: load.changes,
            wrong: load.wrong,
        }
    }
}

/// Which configuration is in force, and the last reload, as `GET /status` shows them.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    file: String,
    since: String,
    last: ConfigLoadLine,
    restart: Json,
}

impl Summary {
    pub(super) fn of(running: &Running) -> Self {
        Self {
            file: running.name.clone(),
            since: written(running.since),
            last: running.last.clone().into(),
            restart: running.restart["changes"].clone(),
        }
    }

    /// Whether the file last read is invalid.
    pub(super) fn is_wrong(&self) -> bool {
        !self.last.wrong.is_null()
    }
}

/// `GET /config`.
#[derive(Serialize)]
pub(super) struct RunningPage {
    file: String,
    since: String,
    last: ConfigLoadLine,
    restart: Json,
    /// The warnings about it.
    warnings: Json,
    config: Json,
}

pub(super) async fn show(State(admin): State<Arc<Admin>>) -> axum::Json<RunningPage> {
    let running = Running::clone(&admin.running.load());
    axum::Json(RunningPage {
        file: running.name,
        since: written(running.since),
        last: running.last.into(),
        restart: running.restart["changes"].clone(),
        warnings: match &running.lint["problems"] {
            Json::Null => json!([]),
            problems => problems.clone(),
        },
        config: running.document,
    })
}

/// `POST /reload`: 422 if the file is invalid.
pub(super) async fn reload(State(admin): State<Arc<Admin>>, Stamped(stamp): Stamped) -> Result<Response, Problem> {
    let outcome = ask(&admin, ConfigRequest::Reload).await?;
    if let ReloadOutcome::Done(load) | ReloadOutcome::Failed(load) = &outcome {
        // Who asked; what it changed is in a row of its own.
        let (file, detail) = (admin.running.load().name.clone(), json!({ "result": load.result }));
        record(&admin, stamp, "reload_asked", file, detail).await;
    }
    match outcome {
        ReloadOutcome::Done(load) => Ok(axum::Json(ConfigLoadLine::from(load)).into_response()),
        ReloadOutcome::Failed(load) => Ok((StatusCode::UNPROCESSABLE_ENTITY, axum::Json(load.wrong)).into_response()),
        ReloadOutcome::NoFile => Err(Problem::no_file()),
    }
}

/// `POST /config/diff?name=NAME`: 422 if the posted configuration is invalid. Messages call it by that name.
pub(super) async fn compare(State(admin): State<Arc<Admin>>, request: Request) -> Result<Response, Problem> {
    let name = name_of(request.uri().query().unwrap_or_default())?;
    let bytes = read(request, CONFIG_BYTES_MAX, BODY_TIMEOUT, admin.gate.clock()).await?;
    match ask(&admin, |answer| ConfigRequest::Compare { name, bytes, answer }).await? {
        Ok(changes) => Ok(axum::Json(changes).into_response()),
        Err(wrong) => Ok((StatusCode::UNPROCESSABLE_ENTITY, axum::Json(wrong)).into_response()),
    }
}

/// The name of the posted configuration in messages.
fn name_of(query: &str) -> Result<String, Problem> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(NAME_DEFAULT.to_owned()),
        Some(("name", name)) if !name.contains('&') && name.len() <= NAME_BYTES_MAX => {
            Ok(String::from_utf8_lossy(&decoded(name)).into_owned())
        }
        _ => {
            let error = format!("the query may only have `name`, at most {NAME_BYTES_MAX} bytes");
            Err(Problem::bad_request(error))
        }
    }
}

async fn ask<T>(admin: &Admin, request: impl FnOnce(oneshot::Sender<T>) -> ConfigRequest) -> Result<T, Problem> {
    let (answer, answered) = oneshot::channel();
    admin
        .config_requests
        .try_send(request(answer))
        .map_err(|_| Problem::busy())?;
    // Nobody answers any more during shutdown.
    answered.await.map_err(|_| Problem::busy())
}
