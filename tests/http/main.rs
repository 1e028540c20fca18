//! The door over real sockets: a real listener, real workers, real clients.

#[path = "../support/mod.rs"]
mod support;

mod hangups;
mod life;
mod table;
mod workers;
