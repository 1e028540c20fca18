//! What operators see: metrics and logs.
//!
//! Absent on purpose: any label that a stranger can make grow. No caller, no key, no path.

mod config;
pub mod database;
pub mod exposition;
pub mod logs;
pub mod meters;
pub mod registry;

pub use config::{ConfigMeters, Reload};
pub use database::DatabaseMeters;
pub use meters::Meters;
