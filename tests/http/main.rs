//! The door over real sockets: a real listener, real workers, real clients.

#[path = "../support/mod.rs"]
mod support;

mod admin_accounts;
mod admin_import;
mod admin_networks;
mod answers;
mod books;
mod browsers;
mod closing;
mod connections;
mod crowd;
mod hangups;
mod headers;
mod keys;
mod life;
mod limit_answers;
mod limit_blocks;
mod limits;
mod operators;
mod overspend;
mod quota_answers;
mod quota_settlement;
mod quotas;
mod ratelimit;
mod refusals;
mod relocation;
mod routing;
mod seatless;
mod spoofing;
mod statistics;
mod strangers;
mod streaming;
mod table;
mod unenforced;
mod uploads;
mod users;
mod workers;
