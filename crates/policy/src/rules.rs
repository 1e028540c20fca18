//! What the policy decides by: seats, tiers, pools. Already validated, so `Rules` cannot be wrong.
//!
//! Absent on purpose: how rules are written down (`config`) and who belongs to which tier (`store`).

mod limit;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use limit::{BlockAfter, Kind, LIMITS_MAX, Limit, LimitId, LimitSet, Per, Raise};

use super::caller::{AccountId, Caller};
use super::table::{Id, Table};
use super::time::{Span, UnixTime};

/// How much a search matters: 0 (lowest) to 6 (highest). Nothing else is legal (semantics §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// How many priorities there are.
    pub const COUNT: usize = 7;
    /// The lowest.
    pub const LOWEST: Self = Self(0);
    /// The highest.
    pub const HIGHEST: Self = Self(6);

    /// The priority of that number, if it is one of 0 to 6.
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::HIGHEST.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// 0 to 6.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// 0 to 6, to index an array of [`Priority::COUNT`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The next higher one, if there is one.
    pub const fn above(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// All of them, lowest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..=Self::HIGHEST.0).map(Self)
    }
}

/// Declares an id that stays the same for as long as the process runs ([`Ids`](crate::ids::Ids)).
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);

        impl $name {
            /// Its number, from 0. In the rules of one file alone, before [`Ids`](crate::ids::Ids) has given them theirs, it is the
            /// place in the file.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl Id for $name {
            fn from_index(index: usize) -> Option<Self> {
                u16::try_from(index).ok().map(Self)
            }

            fn index(self) -> usize {
                self.index()
            }
        }
    };
}
id!(
    /// A tier, by its name.
    TierId
);
id!(
    /// An upstream, by its name.
    UpstreamId
);
id!(
    /// A server of an upstream, by its name there. Another upstream's servers have the same ids.
    ServerId
);
id!(
    /// A window in which debits count together, by its length or its calendar's name.
    WindowId
);

/// Who goes first among the waiting of one priority (semantics §3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// First come, first served.
    #[default]
    Fifo,
    /// Callers take turns.
    Fair,
}

/// The shared queue (semantics §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRules {
    /// Seats, shared by all tiers: never more jobs wait. 0 is legal and means that nobody waits.
    pub length: u32,
    /// Order of service within one priority.
    pub within_tier: Within,
    /// The longest that anybody waits.
    pub max_wait: Span,
    /// Every this many slots handed to the waiting, one goes to who has waited longest, whatever the priority. At least 2.
    pub lifeline: Option<u32>,
}

/// A stretch of time in which debits count together (semantics §5.1). What a caller has used belongs to a window, not to a
/// tier or to a quota's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// Every stretch of that length. At least a second.
    Rolling(Span),
    /// The periods of a calendar.
    Calendar(Calendar),
}

/// Days or months of a time zone, computed ahead: the policy knows no time zones (semantics §5.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// What kind of period and where, such as `month UTC` or `day America/New_York`. Two calendars of that name are the same.
    pub name: Arc<str>,
    /// When the periods begin, rising. What is before the first belongs to a period of its own, and the last never ends.
    pub starts: Arc<[UnixTime]>,
}

impl Calendar {
    /// The beginning of the period in which that time lies; the epoch, before the first.
    pub fn period(&self, at: UnixTime) -> UnixTime {
        match self.starts.partition_point(|start| *start <= at) {
            0 => UnixTime::from_millis(0),
            after => self.starts[after - 1],
        }
    }
}

/// How much a caller may use within a window (semantics §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name among the tier's, 1 to 64 visible ASCII characters.
    pub name: Arc<str>,
    /// Units that a caller may have debited and held in the window. 0 refuses at once.
    pub limit: u64,
    /// Which window.
    pub window: WindowId,
    /// Whether it refuses anybody. If not, it is debited all the same, and says whom it would refuse.
    pub enforce: bool,
}

/// A named sponsor level (semantics §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name in tiers.yaml, unique, 1 to 64 visible ASCII characters: it travels in a header.
    pub name: Arc<str>,
    /// Of all its callers' jobs.
    pub priority: Priority,
    /// Metered jobs that one caller may have in the house at once, waiting ones included. At least 1.
    pub concurrency: u32,
    /// What one caller may use: all must have room.
    pub quotas: Vec<Quota>,
    /// The longest that a job of this tier waits, if shorter than the queue's.
    pub max_wait: Option<Span>,
    /// Waiting jobs that one caller may displace within any 60 seconds (semantics §3.4).
    pub displacements_per_minute: u32,
    /// Its callers' own numbers for request limits, each limit at most once.
    pub limits: Vec<(LimitId, Raise)>,
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRules {
    /// Its name in tiers.yaml, unique.
    pub name: String,
    /// Its servers, in the file's order.
    pub servers: Table<ServerId, ServerRules>,
}

impl UpstreamRules {
    /// Slots of all its servers.
    pub fn slots(&self) -> u32 {
        self.servers.iter().map(|server| server.slots).sum()
    }
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRules {
    /// Its name among the upstream's, such as `host:port`.
    pub name: String,
    /// Jobs that it takes at once. At least 1.
    pub slots: u32,
}

/// All that the policy decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The shared queue.
    pub queue: QueueRules,
    /// The windows in which quotas count, each once.
    pub windows: Table<WindowId, Window>,
    /// The sponsor levels, in the file's order.
    pub tiers: Table<TierId, Tier>,
    /// The tier of those without an account.
    pub anonymous: TierId,
    /// The upstreams, in the file's order. Those that the file no longer has and that are still in use follow.
    pub upstreams: Table<UpstreamId, UpstreamRules>,
    /// The request limits, in the file's order. At most [`LIMITS_MAX`].
    pub limits: Vec<Limit>,
    /// Networks that each request limit, and the quotas, count one by one; those beyond share counters with their neighbours
    /// (semantics §7.9).
    pub callers_max: u32,
}

/// Networks that are counted one by one, unless the file says otherwise.
pub const CALLERS_MAX_DEFAULT: u32 = 1_000_000;

impl Rules {
    /// The tier of that id.
    ///
    /// # Panics
    /// If these rules don't have it.
    pub fn tier(&self, id: TierId) -> &Tier {
        &self.tiers[id]
    }

    /// The tier of that name.
    pub fn tier_named(&self, name: &str) -> Option<TierId> {
        let mut tiers = self.tiers.entries();
        tiers.find(|(_, tier)| *tier.name == *name).map(|(id, _)| id)
    }

    /// The request limit of that name.
    pub fn limit_named(&self, name: &str) -> Option<LimitId> {
        let mut limits = (0..).map(LimitId).zip(&self.limits);
        limits.find(|(_, limit)| *limit.name == *name).map(|(id, _)| id)
    }

    /// The tier of a job that was let in with that one: the same, if there is one still; otherwise the one in which its account is
    /// `listed` now; otherwise the anonymous one.
    pub fn heir(&self, tier: TierId, caller: &Caller, listed: impl Fn(AccountId) -> Option<TierId>) -> TierId {
        let listed = || match caller {
            Caller::Account(account) => listed(*account),
            Caller::Network(_) | Caller::User { .. } => None,
        };
        let same = Some(tier).filter(|tier| self.tiers.contains(*tier));
        same.or_else(listed).unwrap_or(self.anonymous)
    }

    /// The names of request limits and quotas that aren't enforced, each once.
    pub fn unenforced(&self) -> BTreeSet<Arc<str>> {
        let limits = self.limits.iter().map(|limit| (&limit.name, limit.enforce));
        let quotas = self.tiers.iter().flat_map(|tier| &tier.quotas);
        limits
            .chain(quotas.map(|quota| (&quota.name, quota.enforce)))
            .filter(|(_, enforce)| !enforce)
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }
}
