//! The systems that tiergate comes from: what their documents promise, run on presets of ours, a module per system.

#[path = "../support/mod.rs"]
mod support;

mod queue_table;
mod quota_table;
mod shotit;
mod trace_moe;
