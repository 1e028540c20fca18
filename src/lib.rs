//! tiergate: the front door of an expensive, sponsor-funded search service.
//!
//! # The map
//!
//! A room is a folder or a file of `src/`. Each opens with what it is for and what is absent from it on purpose.
//!
//! | room | what it is for |
//! |---|---|
//! | [`policy`] | every reason to say yes or no: pure decisions over state, events and a given time. A crate of its own, `crates/policy` |
//! | [`gate`] | where state changes: the lock, one reading of the clock, the policy, a `Pass` |
//! | [`store`] | what must survive, in one SQLite database: finished jobs, who has an account and a key, and what is said of networks |
//! | [`upstream`] | the worker pool: connections, health, uploads, answers |
//! | [`http`] | the only room that knows HTTP: sockets, routes, callers, refusals, `/me`, the operator's listener |
//! | [`path`] | one spelling for a path, and the patterns of routes |
//! | [`template`] | texts with places to fill in |
//! | [`small_file`] | files of a few lines that are named, such as one with a token |
//! | [`config`] | tiers.yaml to a validated `Config`, or everything that is wrong with it; what is unwise in it; its schema |
//! | [`cli`] | the commands for operators, which ask the running server, read its database or judge a file |
//! | [`server`] | the composition root, the one room that names every concrete type |
//! | [`clock`] | the only one who asks the system for the time |
//! | [`telemetry`] | metrics and logs |
//!
//! # The arrows
//!
//! "`a` ← `b`" says that `b` may know `a`. `tests/architecture.rs` fails on any other arrow.
//!
//! ```text
//! policy ← store ← gate ← upstream ← http ← server ← main       each may know all that stand left of it
//! policy ← config ← server                                       nobody else sees the configuration
//! policy ← config, store ← cli ← main                            the commands, beside the door
//! path, template ← config, http                                  and they know nobody
//! small_file ← config, store                                     nor does it
//! clock, telemetry                                               known to all but policy, path, template and config; they know policy
//! ```
//!
//! # Invariants
//!
//! - The policy has no async, I/O, lock, clock, randomness, logging or serde. The same history gives the same decisions.
//! - What a job holds is held by exactly one value: a `QueuedJob`, a `Pass`, a `Relocating` or a `Committing`; dropping it gives
//!   everything back.
//! - All that changes together changes under one lock, which is never held across an await and under which nobody is woken.
//! - A request keeps the routes and keys of the configuration that it came to; its tier, limits and quotas are those of the newest one.
//!   Whoever asks by older rules is told that they are stale.
//! - An id of a tier, a window, an upstream or a server is never given to another name.
//! - Locks are taken in one order: shards of the request limits by their numbers, then the hall.
//! - One table, `http::reply`, knows the status of a refusal.
//! - An answer's last part goes out only after its debit is durable and its job has given everything back.
//! - Everything that a stranger can make grow has a bound with a name.

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
pub mod upstream;

pub use tiergate_policy as policy;
