//! Metrics and logs. No label grows with client input: no caller, no key, no path.

mod config;
pub mod connections;
pub mod database;
pub mod exposition;
pub mod gauges;
pub mod logs;
pub mod meters;
mod process;
pub mod registry;
pub mod upstreams;

pub use config::{ConfigMeters, ReloadResult};
pub use database::DatabaseMeters;
pub use meters::Meters;
