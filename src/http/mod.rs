//! The only room that knows HTTP.
//!
//! A request's way: [`listener`] takes the connection, [`way`] reads top to bottom what happens to a request (a `visit`) at the
//! [`door`],
//! `target` says what it is for, [`routes`] finds its route, [`caller`] who asks, [`headers`] what a worker gets to see,
//! [`reply`] how a refusal looks.
//!
//! Absent on purpose: reasons to refuse (`policy`), YAML (`config`).

pub mod account;
pub mod address;
pub mod admin;
pub mod body;
pub mod caller;
pub mod cors;
mod forward;
pub mod headers;
pub mod limits;
pub mod listener;
mod newer;
mod patience;
pub mod prefer;
pub mod proxy_protocol;
mod quotas;
pub mod ratelimit;
pub mod reply;
pub mod routes;
pub mod site;
pub mod socket;
mod standing;
mod target;
mod unenforced;
mod visit;
pub mod way;
