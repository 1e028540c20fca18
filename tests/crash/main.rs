//! The real program on a real disk: killed at random moments under load, on disks that fail, in folders that it can't use.
//!
//! ```text
//! cargo test --test crash                                                     50 kills
//! TIERGATE_CRASHES=1000 cargo test --test crash kills -- --nocapture          1000 kills (see `long.sh`)
//! TIERGATE_SEED=7 cargo test --test crash                                     other moments, other searches
//! TIERGATE_FAULTS=all cargo test --test crash every_k -- --nocapture          each write and each sync fails in each way; a table
//! TIERGATE_KILLS=all cargo test --test crash under_way -- --nocapture         every write and sync of each operation
//! ```
//!
//! SIGKILL takes the process and leaves the system: what was written stays, synced or not. What a loss of power leaves is told
//! by `tests/store`, on a disk of its own, and by `every_k`, from the history of what was synced.

#[path = "../support/mod.rs"]
mod support;

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod clock;
#[cfg(target_os = "linux")]
mod descriptors;
mod disks;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod every_k;
mod folders;
mod kills;
mod load;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod under_way;

/// Waits in real time: nothing reports when a process is killed, a disk is tried again, or the system's clock is read.
#[allow(clippy::disallowed_methods, reason = "the program under test runs in real time")]
async fn let_pass(ms: u64) {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}
