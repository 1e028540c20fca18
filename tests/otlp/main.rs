//! Traces of the real program, as a collector gets them over a socket.

#[path = "../support/mod.rs"]
mod support;

mod collector;
mod losses;
mod parents;
mod settings;
mod spans;
