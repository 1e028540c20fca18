//! The door over real sockets: a real listener, real workers, real clients.

#[path = "../support/mod.rs"]
mod support;

mod browsers;
mod connections;
mod headers;
mod keys;
mod life;
mod operators;
mod refusals;
mod routing;
mod uploads;
