//! Counters of everything that has happened (rules §9.1).

/// Counts since the start. At every moment
/// `arrived = refused + upload_ended + displaced + waited_out + hung_up + shut_down + cancelled_by_operator + cancelled +
/// succeeded + failed + in flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests for admission.
    pub arrived: u64,
    /// Refused on arrival, or when the body was complete.
    pub refused: u64,
    /// Ended before the body was complete: client gone or too slow, body rejected, or the server shut down.
    pub upload_ended: u64,
    /// Displaced from the queue by a higher priority.
    pub displaced: u64,
    /// Reached the longest wait.
    pub waited_out: u64,
    /// Client gone while queued.
    pub hung_up: u64,
    /// Refused while queued because the server shut down.
    pub shut_down: u64,
    /// Cancelled by an operator while queued.
    pub cancelled_by_operator: u64,
    /// Client gone while running or moving.
    pub cancelled: u64,
    /// Answered with success.
    pub succeeded: u64,
    /// Answered otherwise, or the upstream failed.
    pub failed: u64,
}

impl Stats {
    /// Jobs that have ended.
    pub const fn ended(&self) -> u64 {
        self.refused
            + self.upload_ended
            + self.displaced
            + self.waited_out
            + self.hung_up
            + self.shut_down
            + self.cancelled_by_operator
            + self.cancelled
            + self.succeeded
            + self.failed
    }

    /// Arrivals and ends: grows with every event.
    pub(super) const fn events(&self) -> u64 {
        self.arrived + self.ended()
    }
}
