//! The commands, run as operators run them, against a running proxy.

#[path = "../support/mod.rs"]
mod support;

mod account_use;
mod accounts;
mod backup;
mod check;
mod controls;
mod data;
mod diff;
mod jobs;
mod networks;
mod presets;
mod queries;
mod relative;
mod secrets;
mod status;
mod transfer;
mod usage;
mod verify;
