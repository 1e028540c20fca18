//! The rules that the policy decides by: queue, tiers, upstreams. Always valid: `config` checks them before it builds `Rules`.

mod limit;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use limit::{BlockAfter, Kind, LIMITS_MAX, Limit, LimitId, LimitOverride, LimitSet, Per};

use super::caller::{AccountId, Caller};
use super::table::{Id, Table};
use super::time::{Span, UnixTime};

/// The importance of a job: 0 (lowest) to 6 (highest). Nothing else is legal (rules §1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The number of priorities.
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
            /// The number, from 0. In rules that have not passed through [`Ids`](crate::ids::Ids) yet, the index in the file.
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
    /// A server of an upstream, by its name there. Different upstreams use the same ids.
    ServerId
);
id!(
    /// A window in which debits count together, by its length or its calendar's name.
    WindowId
);

/// The order of service within one priority (rules §3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Within {
    /// First come, first served.
    #[default]
    Fifo,
    /// Callers take turns.
    Fair,
}

/// The shared queue (rules §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRules {
    /// The maximum number of queued jobs, shared by all tiers. 0 is legal: then no job waits.
    pub length: u32,
    /// Order of service within one priority.
    pub within_tier: Within,
    /// The longest wait of any job.
    pub max_wait: Span,
    /// One of every this many slots given to queued jobs goes to the one that has waited longest, whatever its priority. At
    /// least 2.
    pub lifeline: Option<u32>,
}

/// A time window in which debits count together (rules §5.1, §5.5). Usage belongs to a window, not to a tier or a quota's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// Every interval of that length. At least a second.
    Rolling(Span),
    /// The periods of a calendar.
    Calendar(Calendar),
}

/// Days or months of a time zone, computed in advance: the policy has no time zones (rules §5.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Period and zone, such as `month UTC` or `day America/New_York`. Two calendars of the same name are the same.
    pub name: Arc<str>,
    /// The starts of the periods, ascending. The time before the first is a period of its own, and the last never ends.
    pub starts: Arc<[UnixTime]>,
}

impl Calendar {
    /// The start of the period that contains that time; the epoch, before the first.
    pub fn period(&self, at: UnixTime) -> UnixTime {
        match self.starts.partition_point(|start| *start <= at) {
            0 => UnixTime::from_millis(0),
            after => self.starts[after - 1],
        }
    }
}

/// How much a caller may use within a window (rules §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name among the tier's, 1 to 64 visible ASCII characters.
    pub name: Arc<str>,
    /// Units that a caller may have debited and held in the window. 0 refuses every job with a cost.
    pub limit: u64,
    /// The window.
    pub window: WindowId,
    /// Whether it refuses jobs. If not, it is still debited, and reports what it would refuse.
    pub enforce: bool,
}

/// A named sponsor level (rules §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name in tiers.yaml, unique, 1 to 64 visible ASCII characters, because it is sent in a header.
    pub name: Arc<str>,
    /// The priority of its callers' jobs.
    pub priority: Priority,
    /// Metered jobs that one caller may have in flight, queued ones included. At least 1.
    pub concurrency: u32,
    /// The quotas of each caller. A job must fit in all of them.
    pub quotas: Vec<Quota>,
    /// The longest wait of its jobs, if shorter than the queue's.
    pub max_wait: Option<Span>,
    /// Queued jobs that one caller may displace within any 60 seconds (rules §3.4).
    pub displacements_per_minute: u32,
    /// Overrides of request limits for its callers, at most one for each limit.
    pub limits: Vec<(LimitId, LimitOverride)>,
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
    /// Its name within the upstream, such as `host:port`.
    pub name: String,
    /// Jobs that it runs at once. At least 1.
    pub slots: u32,
}

/// All rules of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The shared queue.
    pub queue: QueueRules,
    /// The windows in which quotas count, each once.
    pub windows: Table<WindowId, Window>,
    /// The sponsor levels, in the file's order.
    pub tiers: Table<TierId, Tier>,
    /// The tier of callers without an account.
    pub anonymous: TierId,
    /// The upstreams, in the file's order, followed by removed ones that are still in use.
    pub upstreams: Table<UpstreamId, UpstreamRules>,
    /// The request limits, in the file's order. At most [`LIMITS_MAX`].
    pub limits: Vec<Limit>,
    /// Networks that each request limit, and the quotas, count individually; any more share counters by prefix
    /// (rules §7.9).
    pub callers_max: u32,
}

/// The default of [`Rules::callers_max`].
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

    /// The tier in which a job of `tier` continues after a reload: the same, if it still exists; otherwise the one in which its
    /// account is `declared` now; otherwise the anonymous one.
    pub fn tier_after_reload(
        &self,
        tier: TierId,
        caller: &Caller,
        declared: impl Fn(AccountId) -> Option<TierId>,
    ) -> TierId {
        let declared = || match caller {
            Caller::Account(account) => declared(*account),
            Caller::Network(_) | Caller::User { .. } => None,
        };
        let same = Some(tier).filter(|tier| self.tiers.contains(*tier));
        same.or_else(declared).unwrap_or(self.anonymous)
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
