//! Request limits as rules (rules §7): number, subject and window. `http` decides which requests a limit applies to.

use std::sync::Arc;

use crate::time::Span;

/// The maximum number of request limits: a set of them is a bit mask.
pub const LIMITS_MAX: usize = 32;

/// A request limit, as an index into [`super::Rules::limits`]: below [`LIMITS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub u8);

impl LimitId {
    /// The index into [`super::Rules::limits`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A set of request limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSet(u32);

impl LimitSet {
    /// The set with this limit added.
    pub const fn with(self, limit: LimitId) -> Self {
        Self(self.0 | 1 << limit.0)
    }

    /// Whether the set contains this limit.
    pub const fn has(self, limit: LimitId) -> bool {
        self.0 >> limit.0 & 1 == 1
    }

    /// The union of both sets.
    pub const fn or(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The limits in the file's order.
    pub fn iter(self) -> impl Iterator<Item = LimitId> {
        (0..LIMITS_MAX as u8).map(LimitId).filter(move |limit| self.has(*limit))
    }
}

/// Whom a request limit counts. At least one; if several, all must have headroom (rules §7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Per {
    /// The network from which a request comes, with or without an account.
    pub network: bool,
    /// The account, over all its keys. A caller without one is counted by its network, so that omitting the key lifts nothing.
    pub account: bool,
    /// All callers together.
    pub global: bool,
}

/// How a request limit counts (rules §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a window that begins with the first request after the last one ended.
    Fixed,
    /// In windows that follow each other on the wall clock, starting at the epoch.
    Aligned,
    /// In every interval of the window's length, in buckets of a sixtieth of it.
    Sliding,
    /// Up to the limit at once, then one per `window ÷ limit` (a GCRA bucket).
    Burst,
}

/// When refusals by a limit lead to a block (rules §7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAfter {
    /// This many refusals, 1 to 1,000,000,
    pub refusals: u32,
    /// within this time, counted from the first of them: 10 ms to 31 days,
    pub within: Span,
    /// block for this long: 1 s to 31 days.
    pub lasts: Span,
}

/// A request limit: number, subject and window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name, unique among limits, quotas and `concurrency`: 1 to 32 of `a-z`, `A-Z`, `0-9`, `-`, `_`, `.`, because it is
    /// sent in headers.
    pub name: Arc<str>,
    /// Whom it counts.
    pub per: Per,
    /// Requests in the window, as advertised: 0 (admits none) to 1,000,000,000.
    pub number: u32,
    /// The window's length: 10 ms to 31 days; sliding at least 600 ms; aligned whole seconds.
    pub window: Span,
    /// How it counts.
    pub kind: Kind,
    /// The minimum duration of its first refusal: 1 s to 31 days. It lasts longer if something would still count then, because
    /// it leaves the counter empty. `None`: until a request would pass.
    pub penalty: Option<Span>,
    /// Requests that are admitted of the advertised number, at most that many, for callers without an override.
    pub degraded: Option<u32>,
    /// Prefix length that makes an IPv6 network: 32 to 128. An IPv4 network is always a single address (/32).
    pub v6_prefix: u8,
    /// When subjects are blocked.
    pub block_after: Option<BlockAfter>,
    /// Whether callers are told about it (rules §7.4).
    pub disclosed: bool,
    /// Whether it refuses requests. If not, it counts as if it did, reports what it would refuse, and is hidden from callers.
    pub enforce: bool,
}

impl Limit {
    /// The default prefix length of an IPv6 network.
    pub const V6_PREFIX_DEFAULT: u8 = 64;
}

/// An override of a request limit's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// Requests in the window: 0 to 1,000,000,000.
    pub number: u32,
    /// Whether the network of the account has that number too, for the account's requests (rules §7.3). Always so where a
    /// limit does not count accounts: the override would have no other meaning.
    pub lifts_network: bool,
}
