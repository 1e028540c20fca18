//! tiergate: the front door of an expensive, sponsor-funded search service.
pub mod config;
pub mod path;
pub mod policy;
