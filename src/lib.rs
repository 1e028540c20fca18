//! tiergate: the front door of an expensive, sponsor-funded search service.

pub mod clock;
pub mod config;
pub mod gate;
pub mod http;
pub mod path;
pub mod policy;
pub mod serve;
pub mod store;
mod sync;
pub mod telemetry;
pub mod upstream;
