//! Bodies of metered requests, which are complete before their jobs take a queue place or a slot (rules §2.4).
//!
//! A body is kept in memory while there is room, otherwise in an unlinked file. Room is shared by all uploads and taken as bytes
//! arrive; nobody waits for it. Without room, the upload of the lowest priority ends (`budget`). A complete body can be sent
//! any number of times (`body`).
//!
//! Invariant: what a body takes up is counted until the body is dropped, and no longer.

mod body;
mod budget;
mod error;
mod receive;
mod spool;

pub use body::{ReceivedBody, Replay};
pub use budget::{BodyBounds, UploadBudget, UploadRoom, Usage};
pub use error::UploadError;
pub use receive::{BodyPace, Upload, UploadProgress};
pub use spool::{SPOOL_FOLDER, SPOOL_FREE_BYTES_MIN, SpoolDir};
