//! Path normalization: one canonical spelling, so that no alternative spelling of a metered path passes as another path.
//!
//! | file | subject |
//! |---|---|
//! | `spelling` | the one canonical text of a request's path: what an unmetered route is matched against, and what is forwarded |
//! | `folded` | every way in which a lenient upstream may read that text: what a metered route is matched against |
//! | `pattern` | a route's path: matching, and which of two patterns is the narrower |
//! | `pattern_error` | why a text is not a valid pattern |
//! | `escape` | percent-escapes and segments, byte by byte |
//!
//! Pure, and independent of the rest of the crate. `http::routes` handles hosts and methods, and chooses among routes.
mod escape;
mod folded;
mod pattern;
mod pattern_error;
mod spelling;

pub use folded::{Folded, PathReading, READ_BYTES_MAX, READINGS_MAX, ROUNDS_MAX};
pub use pattern::{Pattern, SEGMENTS_MAX};
pub use pattern_error::PatternError;
pub use spelling::{BadPath, PATH_BYTES_MAX, Spelling};
