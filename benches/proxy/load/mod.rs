//! The clients: their connections, what they send, and how fast.

mod client;
mod connection;
mod drive;
mod job;
mod pace;
mod window;
pub mod wrk;

pub use client::{Client, Target};
pub use drive::{Load, LoadOptions};
pub use job::{Expected, Job};
pub use pace::{Pace, until};
pub use window::{Window, percentile};
