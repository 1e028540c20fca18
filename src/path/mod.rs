//! One spelling for a path, so that no trick spelling of a metered path passes for another.
//!
//! | file | subject |
//! |---|---|
//! | `spelling` | the one canonical text of a request's path: what an unmetered route is matched against, and what is forwarded |
//! | `folded` | every way in which a lenient upstream may read that text: what a metered route is matched against |
//! | `pattern` | a route's path: matching, and which of two patterns is the narrower |
//! | `escape` | percent-escapes and segments, byte by byte |
//!
//! Pure, and it imports nothing of the crate. Absent on purpose: hosts, methods and the choice among routes
//! (`http::routes`), and the query, which no route looks at.
mod escape;
mod folded;
mod pattern;
mod spelling;

pub use folded::{Folded, READ_BYTES_MAX, READINGS_MAX, ROUNDS_MAX, Reading};
pub use pattern::{Pattern, PatternError, SEGMENTS_MAX};
pub use spelling::{BadPath, PATH_BYTES_MAX, Spelling};
