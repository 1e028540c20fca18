//! Everything that ever happened, counted (semantics §9.1).

/// Counts since the door opened. At every moment
/// `arrived = refused + displaced + waited_out + hung_up + shut_down + cancelled + succeeded + failed + in the house`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Asked to be let in.
    pub arrived: u64,
    /// Refused at the door.
    pub refused: u64,
    /// Lost the seat to a higher priority.
    pub displaced: u64,
    /// Waited the longest.
    pub waited_out: u64,
    /// Client gone, or its body refused, while waiting.
    pub hung_up: u64,
    /// Turned away while waiting because the door closed.
    pub shut_down: u64,
    /// Client gone, or its body refused, while running or moving.
    pub cancelled: u64,
    /// Answered with success.
    pub succeeded: u64,
    /// Answered otherwise, or the upstream failed.
    pub failed: u64,
}

impl Stats {
    /// Jobs that are over.
    pub const fn ended(&self) -> u64 {
        self.refused
            + self.displaced
            + self.waited_out
            + self.hung_up
            + self.shut_down
            + self.cancelled
            + self.succeeded
            + self.failed
    }

    /// Arrivals and ends: a number that grows with every event.
    pub(super) const fn events(&self) -> u64 {
        self.arrived + self.ended()
    }
}
