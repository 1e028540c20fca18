//! The systems that tiergate comes from: what their documents promise, run on presets of ours, a module per system.

mod queue_table;
mod shotit;
mod trace_moe;
