//! Reloading the configuration of a running proxy: over real sockets, a real file, and the program itself.

#[path = "../diff/document.rs"]
mod document;
#[allow(dead_code, reason = "each test program uses its part")]
#[path = "../diff/knobs.rs"]
mod knobs;
#[path = "../support/mod.rs"]
mod support;

mod applied;
mod bad_files;
mod commands;
mod edits;
mod load;
mod names;
mod nothing_dropped;
mod renamed;
mod same;
