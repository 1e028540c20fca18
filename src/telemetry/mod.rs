//! Metrics and logs. No label grows with client input: no caller, no key, no path.

mod config;
pub mod database;
pub mod exposition;
pub mod logs;
pub mod meters;
pub mod registry;

pub use config::{ConfigMeters, ReloadResult};
pub use database::DatabaseMeters;
pub use meters::Meters;
