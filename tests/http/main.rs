//! The door over real sockets: a real listener, real workers, real clients.

#[path = "../support/mod.rs"]
mod support;

mod closing;
mod crowd;
mod hangups;
mod life;
mod relocation;
mod seatless;
mod streaming;
mod table;
mod workers;
