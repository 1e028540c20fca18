//! What all contestants are configured for.

/// The numbers in every contestant's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Accounts with a key.
    pub accounts: u32,
    /// Client addresses, named by X-Forwarded-For.
    pub addresses: u32,
    /// Requests that each address may make.
    pub limit: Limit,
    /// Successes that each account may have in 24 hours.
    pub quota: u64,
    /// The upstream server's concurrent jobs.
    pub slots: u32,
    /// Places in the queue.
    pub places: u32,
    /// The most client connections.
    pub connections: u32,
}

/// A request limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// 1,000,000,000 a minute: counted, and never reached.
    Ample,
    /// One an hour.
    One,
}

/// Concurrent jobs of one account: as many as there are connections in most scenarios, so that nobody is refused.
pub const CONCURRENCY: u32 = 64;
/// A quota that is counted, and never reached.
pub const AMPLE_QUOTA: u64 = 1_000_000_000;

/// Everything on, and nothing refused.
pub const EVERYTHING_ON: Setup = Setup {
    accounts: 10_000,
    addresses: 50_000,
    limit: Limit::Ample,
    quota: AMPLE_QUOTA,
    slots: 1_000,
    places: 64,
    connections: 5_000,
};

impl Setup {
    /// One with fewer accounts, addresses and places, but not fewer than 64 of each where there were as many.
    pub fn divided_by(self, divisor: u32) -> Self {
        Self {
            accounts: (self.accounts / divisor).max(self.accounts.min(64)),
            addresses: (self.addresses / divisor).max(self.addresses.min(64)),
            places: (self.places / divisor).max(self.places.min(64)),
            ..self
        }
    }
}

impl Limit {
    /// Requests in a window.
    pub fn number(self) -> u64 {
        match self {
            Self::Ample => 1_000_000_000,
            Self::One => 1,
        }
    }

    /// The length of the window, in seconds.
    pub fn window_s(self) -> u32 {
        match self {
            Self::Ample => 60,
            Self::One => 3_600,
        }
    }
}
