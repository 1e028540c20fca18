//! A small but real image search with tiergate in front of it, as a library for the program and its tests.
//!
//! `proxy` is everything that concerns tiergate; `search_server` is the upstream server behind it, `page` what it shows in a
//! browser; `index`, `descriptor`, `scenes` and `samples` are the search itself; `traffic` simulates clients; `observe` runs
//! Prometheus.

#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own, which lets real time pass; the ban is for tiergate"
)]

pub mod descriptor;
pub mod index;
pub mod observe;
pub mod page;
pub mod progress;
pub mod proxy;
pub mod samples;
pub mod scenes;
pub mod search_server;
pub mod traffic;
