//! A real proxy, real upstream servers and real clients, on loopback sockets.
//!
//! An upstream server is driven by its test: it hands over each request as it comes, and the test decides what is answered and
//! when. So tests wait for what they wait for and never sleep.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod client;
pub mod database;
pub mod dice;
pub mod fast;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub mod faultfs;
pub mod folder;
pub mod message;
pub mod operator;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
pub mod power;
pub mod program;
pub mod proxy;
#[path = "../../crates/policy/tests/support/request.rs"]
pub mod request;
#[path = "../../crates/policy/tests/support/rules.rs"]
pub mod rules;
pub mod upstream_server;
pub mod yaml;

use std::future::Future;
use std::time::Duration;

#[allow(unused_imports, reason = "each test program uses its part")]
pub use client::{Client, get, reset};
#[allow(unused_imports, reason = "each test program uses its part")]
pub use message::{Answer, Head, by_name};
#[allow(unused_imports, reason = "each test program uses its part")]
pub use proxy::{Proxy, limited, metric_sum};
#[allow(unused_imports, reason = "each test program uses its part")]
pub use upstream_server::{Arrived, Mirror, UpstreamServer};
#[allow(unused_imports, reason = "each test program uses its part")]
pub use yaml::{Plan, hash, seven_tiers, yaml};

/// The longest that a test waits for anything. Nothing takes so long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("in vain: {what}"))
}
