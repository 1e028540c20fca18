//! The commands, run as operators run them, against a running door.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod check;
mod diff;
mod journal;
mod networks;
mod presets;
mod relative;
mod secrets;
mod transfer;
