//! Metrics, logs and traces. No metric's label grows with client input: no caller, no key, no path.

pub mod access_log;
mod config;
pub mod connections;
pub mod database;
pub mod exposition;
pub mod gauges;
pub mod logs;
pub mod meters;
mod process;
pub mod registry;
pub mod request_id;
pub mod requests;
pub mod traces;
pub mod upstreams;

pub use config::{ConfigMeters, ReloadResult};
pub use database::DatabaseMeters;
pub use meters::Meters;
