//! Request limits as rules (semantics §7): how many requests, of whom, in which time.
//!
//! Absent on purpose: which requests a limit is for, which only `http` can tell, and what was counted (`limits`).

use std::sync::Arc;

use crate::time::Span;

/// Request limits, at most: a set of them is a number.
pub const LIMITS_MAX: usize = 32;

/// Which request limit, by its place in [`super::Rules::limits`]: less than [`LIMITS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub u8);

impl LimitId {
    /// To index [`super::Rules::limits`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Some of the request limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSet(u32);

impl LimitSet {
    /// This limit as well.
    pub const fn with(self, limit: LimitId) -> Self {
        Self(self.0 | 1 << limit.0)
    }

    /// Whether this limit is among them.
    pub const fn has(self, limit: LimitId) -> bool {
        self.0 >> limit.0 & 1 == 1
    }

    /// Those of both.
    pub const fn or(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Them, in the file's order.
    pub fn iter(self) -> impl Iterator<Item = LimitId> {
        (0..LIMITS_MAX as u8).map(LimitId).filter(move |limit| self.has(*limit))
    }
}

/// Whom a request limit counts. At least one; of several all must have room (semantics §7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Per {
    /// The network from which a request comes, whoever asks.
    pub network: bool,
    /// The account, by all of its keys together. Who has none is counted by its network, so that leaving the key out lifts
    /// nothing.
    pub account: bool,
    /// Everybody together.
    pub global: bool,
}

/// How a request limit counts (semantics §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a window that begins with the first request after the last one ended.
    Fixed,
    /// In windows that follow each other on the wall clock, beginning with the epoch.
    Aligned,
    /// In every stretch of the window's length, in buckets of a sixtieth of it.
    Sliding,
    /// Up to the limit at once, and from then on one after each `window ÷ limit` (a GCRA bucket).
    Burst,
}

/// When refusals by a limit lead to a block (semantics §7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAfter {
    /// So many refusals, 1 to 1,000,000,
    pub refusals: u32,
    /// within so long, counted from the first of them: 10 ms to 31 days,
    pub within: Span,
    /// block for so long: 1 s to 31 days.
    pub lasts: Span,
}

/// How many requests may come in which time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name, unique among limits, quotas and `concurrency`: 1 to 32 of `a-z`, `A-Z`, `0-9`, `-`, `_`, `.`, since it travels
    /// in headers.
    pub name: Arc<str>,
    /// Whom it counts.
    pub per: Per,
    /// Requests that may come in the window, as advertised: 0, which lets none in, to 1,000,000,000.
    pub number: u32,
    /// The window's length: 10 ms to 31 days, of a sliding one at least 600 ms, of an aligned one whole seconds.
    pub window: Span,
    /// How it counts.
    pub kind: Kind,
    /// How long its first refusal lasts at least: 1 s to 31 days. It lasts longer if something would still count then, since it
    /// leaves the counter empty. `None`: until there is room.
    pub penalty: Option<Span>,
    /// Requests that are let in of the advertised number, at most that many, for those who have no number of their own.
    pub degraded: Option<u32>,
    /// How many bits of an IPv6 address make a network: 32 to 128. Of an IPv4 address it is all 32.
    pub v6_prefix: u8,
    /// When whom it counts is blocked.
    pub block_after: Option<BlockAfter>,
    /// Whether callers are told of it at all (semantics §7.4).
    pub disclosed: bool,
    /// Whether it refuses anybody. If not, it counts as if it did, says whom it would refuse, and no caller is told of it.
    pub enforce: bool,
}

impl Limit {
    /// The usual length of an IPv6 network.
    pub const V6_PREFIX_DEFAULT: u8 = 64;
}

/// A number of somebody's own for a request limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    /// Requests in the window: 0 to 1,000,000,000.
    pub number: u32,
    /// Whether the network from which the account asks has that number too, for the account's requests (semantics §7.3). Where
    /// a limit counts no accounts, there is no other sense to it, and it always has.
    pub lifts_network: bool,
}
