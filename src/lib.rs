//! tiergate: a reverse proxy with admission control, by sponsor tier.
//!
//! # Modules
//!
//! | module | what it is for |
//! |---|---|
//! | [`policy`] | all decisions: pure functions of state, events and a given time. Its own crate, `crates/policy` |
//! | [`gate`] | the shared state: its lock, one clock reading per decision, the policy, a `Permit` |
//! | [`store`] | persistent state in one SQLite database: finished jobs, accounts, keys, networks |
//! | [`upload`] | bodies of metered requests: who gets room, memory and files |
//! | [`upstream`] | the upstream servers: connections, health, answers |
//! | [`http`] | HTTP: sockets, routes, callers, refusals, `/me`, the admin listener |
//! | [`path`] | path normalization, and the patterns of routes |
//! | [`template`] | texts with placeholders |
//! | [`web`] | the files of tiergate's own pages |
//! | [`small_file`] | short files that settings name, such as one with a token |
//! | [`config`] | parsing and validation of tiers.yaml, its lints and its schema |
//! | [`cli`] | the subcommands, which query the running server, read its database or check a file |
//! | [`server`] | the composition root, the one module that names every concrete type |
//! | [`clock`] | the system clock; no other module reads it |
//! | [`telemetry`] | metrics, logs and traces |
//!
//! # Dependencies
//!
//! `a ← b` means that `b` may use `a`. `tests/architecture.rs` fails on any other dependency.
//!
//! ```text
//! policy ← store ← gate ← upstream ← http ← server ← main       each may use all modules to its left
//! policy ← config ← server                                       no other module sees the configuration
//! policy ← config, store ← cli ← main                            the subcommands, beside the server
//! upload ← upstream, http, server                                uses policy and clock
//! path, template ← config, http                                  these two use no other module
//! small_file ← config, store; web ← http                         nor do these
//! clock, telemetry                                               used by all but policy, path, template, config; use policy
//! ```
//!
//! # Invariants
//!
//! - The policy has no async, I/O, lock, clock, randomness, logging or serde. The same history gives the same decisions.
//! - One value holds what a job holds: a `QueuedJob`, a `Permit`, a `Relocating` or a `Committing`. Dropping it gives everything
//!   back.
//! - State that changes together is under one lock. No lock is held across an await, and no task is woken under one.
//! - A request keeps the routes and keys of the configuration it came in under; its tier, limits and quotas are those of the
//!   newest one. The gate and the limiter reject older rules as stale.
//! - An id of a tier, a window, an upstream or a server is never reused for another name.
//! - Lock order: shards of the request limits by number, then the gate state.
//! - One table, `http::reply`, maps refusals to statuses.
//! - The last part of an answer is sent only after its debit is durable and its job has released everything.
//! - Everything that clients can make grow has a named bound.

pub mod cli;
pub mod clock;
pub mod config;
pub mod gate;
pub mod http;
pub mod path;
pub mod server;
pub mod small_file;
pub mod store;
mod sync;
pub mod telemetry;
pub mod template;
pub mod upload;
pub mod upstream;
pub mod web;

pub use tiergate_policy as policy;
