//! HTTP, on the client's side.
//!
//! [`listener`] accepts connections and [`way`] is the request path, top to bottom, by the active [`site`]. `target` reads the
//! host and the target, [`routes`] finds the route, [`caller`] the key, [`headers`] prepares the forwarded headers, and [`reply`]
//! turns refusals into answers.

pub mod account;
pub mod address;
pub mod admin;
pub mod bodies;
mod body;
pub mod caller;
pub mod cors;
mod forward;
mod found;
pub mod headers;
mod host;
pub mod limits;
pub mod listener;
mod newer;
mod observation;
mod patience;
pub mod prefer;
pub mod proxy_protocol;
mod quotas;
mod rare_log;
pub mod ratelimit;
pub mod recent;
pub mod reply;
pub mod routes;
pub mod site;
pub mod socket;
mod standing;
pub mod status;
mod stop;
mod target;
mod unenforced;
mod visit;
pub mod way;
