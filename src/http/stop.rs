//! Why a request ends without an upstream server's answer.

use http::HeaderValue;

use super::address::Contradiction;
use crate::policy::refusal::Refusal;
use crate::upload::UploadError;
use crate::upstream::exchange::{SLOW_BODY, malformed_body};

/// The client is gone, so there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client hung up")
    }
}

impl std::error::Error for HungUp {}

/// Why a request ends without an upstream server's answer.
#[derive(Debug)]
pub(super) enum Stop {
    Refused {
        refusal: Refusal,
        allow: Option<HeaderValue>,
    },
    HungUp,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal, allow: None }
    }
}

impl From<Contradiction> for Stop {
    fn from(contradiction: Contradiction) -> Self {
        Refusal::BadRequest(contradiction.to_string().into()).into()
    }
}

impl From<UploadError> for Stop {
    fn from(fault: UploadError) -> Self {
        match fault {
            UploadError::ClientGone => Self::HungUp,
            UploadError::Malformed => malformed_body().into(),
            UploadError::TooLong { limit } => Refusal::BodyTooLarge { limit }.into(),
            UploadError::TooMany => Refusal::TooManyUploads.into(),
            UploadError::TooSlow => Refusal::RequestTimeout(SLOW_BODY).into(),
        }
    }
}
