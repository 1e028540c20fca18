//! Why a body did not arrive.

use std::fmt;

/// Why a body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadError {
    /// The client went away.
    ClientGone,
    /// Its framing is invalid.
    Malformed,
    /// It is longer than its route allows.
    TooLong {
        /// The most bytes that the route allows.
        limit: u64,
    },
    /// It arrived too slowly.
    TooSlow,
    /// There was no room for it, and others went before.
    TooMany,
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientGone => "the client closed the connection before its request was complete",
            Self::Malformed => "the request's body has invalid HTTP/1.1 framing",
            Self::TooLong { .. } => "the request's body is too long",
            Self::TooSlow => "the request's body arrived too slowly",
            Self::TooMany => "there was no room for the request's body",
        })
    }
}

impl std::error::Error for UploadError {}
