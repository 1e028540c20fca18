//! Failures of upstream servers, as metrics tell them apart.

use crate::policy::time::UnixTime;

/// A kind of failure of an upstream server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFailure {
    /// It could not be connected to.
    Connect,
    /// It took too long to answer.
    Timeout,
    /// It broke the connection before its answer was complete.
    Broken,
    /// It did not answer a health probe with success.
    Probe,
}

impl ServerFailure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Broken, Self::Probe];

    /// The name in metrics and for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Probe => "probe",
        }
    }
}

/// The failures of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailureLevel {
    /// Their number.
    pub count: u64,
    /// When the last one was; the epoch, if there was none.
    pub last: UnixTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_listed_in_the_order_of_their_numbers() {
        for (at, kind) in ServerFailure::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{}", kind.name());
        }
    }
}
