//! Rules for tests, in the words of `tiers.yaml`. What a test doesn't name has a plain default.
//!
//! Only this file writes rules field by field, so that a change of their shape is a change of this file. It depends on the
//! policy alone: benches and fuzz targets include it by its path.

#![allow(dead_code, reason = "each test program uses its part")]

use std::convert::Infallible;

use tiergate_policy::Table;
use tiergate_policy::rules::{
    BlockAfter, CALLERS_MAX_DEFAULT, Calendar, Kind, Limit, Per, Priority, QueueRules, Quota, Rules, ServerId,
    ServerRules, Tier, TierId, UpstreamRules, Window, WindowId, Within,
};
use tiergate_policy::time::{Span, UnixTime};

/// Rules with a queue of 8 places, in which a job waits for 30 seconds at most, and neither tiers nor upstreams as yet. The first
/// tier is that of anonymous callers.
pub fn rules() -> RulesBuilder {
    RulesBuilder(Rules {
        queue: QueueRules {
            length: 8,
            within_tier: Within::Fifo,
            max_wait: Span::from_secs(30),
            lifeline: None,
        },
        windows: Table::default(),
        tiers: Table::default(),
        anonymous: TierId(0),
        upstreams: Table::default(),
        limits: Vec::new(),
        callers_max: CALLERS_MAX_DEFAULT,
    })
}

/// Seven tiers, `p0` to `p6`, each of that priority and described alike.
pub fn tier_a_priority(describe: impl Fn(TierBuilder) -> TierBuilder) -> RulesBuilder {
    Priority::all().fold(rules(), |rules, priority| {
        let number = priority.get();
        rules.tier(&format!("p{number}"), |tier| describe(tier.priority(number)))
    })
}

/// Rules that are being written.
#[derive(Clone, Debug)]
pub struct RulesBuilder(Rules);

/// To write other rules that differ little.
impl From<Rules> for RulesBuilder {
    fn from(rules: Rules) -> Self {
        Self(rules)
    }
}

impl From<RulesBuilder> for Rules {
    fn from(builder: RulesBuilder) -> Self {
        builder.build()
    }
}

impl RulesBuilder {
    /// Places in the queue.
    pub fn queue(mut self, length: u32) -> Self {
        self.0.queue.length = length;
        self
    }

    /// The order within one priority.
    pub fn within_tier(mut self, order: Within) -> Self {
        self.0.queue.within_tier = order;
        self
    }

    /// Callers of one priority take turns.
    pub fn fair(self) -> Self {
        self.within_tier(Within::Fair)
    }

    /// The longest that a job waits in the queue.
    pub fn max_wait(mut self, max_wait: Span) -> Self {
        self.0.queue.max_wait = max_wait;
        self
    }

    /// Every so many slots, one goes to the job that has waited longest.
    pub fn lifeline(mut self, every: impl Into<Option<u32>>) -> Self {
        self.0.queue.lifeline = every.into();
        self
    }

    /// Windows in this order, whether or not a quota counts in them. Before any tier that has quotas.
    pub fn windows(mut self, windows: impl IntoIterator<Item = Window>) -> Self {
        for window in windows {
            self.0.windows.push(window);
        }
        self
    }

    /// Another tier, after those that there are: of priority 0 and concurrency 1, without quotas, unless described otherwise.
    pub fn tier(self, name: &str, describe: impl FnOnce(TierBuilder) -> TierBuilder) -> Self {
        let Ok(rules) = self.try_tier(name, |tier| Ok::<_, Infallible>(describe(tier)));
        rules
    }

    /// The same, unless it can't be described.
    pub fn try_tier<E>(
        mut self,
        name: &str,
        describe: impl FnOnce(TierBuilder) -> Result<TierBuilder, E>,
    ) -> Result<Self, E> {
        let tier = Tier {
            name: name.into(),
            priority: Priority::LOWEST,
            concurrency: 1,
            quotas: Vec::new(),
            max_wait: None,
            displacements_per_minute: 10,
            limits: Vec::new(),
        };
        let windows = std::mem::take(&mut self.0.windows);
        let TierBuilder { tier, windows } = describe(TierBuilder { tier, windows })?;
        self.0.windows = windows;
        self.0.tiers.push(tier);
        Ok(self)
    }

    /// Changes the tier of that name.
    pub fn edit_tier(mut self, name: &str, describe: impl FnOnce(TierBuilder) -> TierBuilder) -> Self {
        let at = self.0.tier_named(name);
        let at = at.unwrap_or_else(|| panic!("there is no tier {name}"));
        let (tier, windows) = (self.0.tiers[at].clone(), std::mem::take(&mut self.0.windows));
        let TierBuilder { tier, windows } = describe(TierBuilder { tier, windows });
        self.0.tiers[at] = tier;
        self.0.windows = windows;
        self
    }

    /// Changes every tier alike.
    pub fn edit_tiers(self, describe: impl Fn(TierBuilder) -> TierBuilder) -> Self {
        let names: Vec<_> = self.0.tiers.iter().map(|tier| tier.name.clone()).collect();
        names.iter().fold(self, |rules, name| rules.edit_tier(name, &describe))
    }

    /// The tier of callers without an account.
    pub fn anonymous(mut self, tier: TierId) -> Self {
        self.0.anonymous = tier;
        self
    }

    /// Another upstream, with servers of so many slots.
    pub fn upstream(mut self, name: &str, slots: &[u32]) -> Self {
        self.0.upstreams.push(UpstreamRules {
            name: name.to_owned(),
            servers: servers(slots),
        });
        self
    }

    /// The upstream of that name has servers of so many slots instead.
    pub fn slots(mut self, name: &str, slots: &[u32]) -> Self {
        let upstream = self.0.upstreams.iter_mut().find(|pool| pool.name == name);
        let upstream = upstream.unwrap_or_else(|| panic!("there is no upstream {name}"));
        upstream.servers = servers(slots);
        self
    }

    /// More request limits.
    pub fn limits(mut self, limits: impl IntoIterator<Item = Limit>) -> Self {
        self.0.limits.extend(limits);
        self
    }

    /// Networks that are counted individually.
    pub fn callers_max(mut self, callers_max: u32) -> Self {
        self.0.callers_max = callers_max;
        self
    }

    /// The rules.
    pub fn build(self) -> Rules {
        self.0
    }
}

/// A tier that is being described.
#[derive(Debug)]
pub struct TierBuilder {
    tier: Tier,
    /// All that the rules have so far.
    windows: Table<WindowId, Window>,
}

impl TierBuilder {
    /// Another name.
    pub fn named(mut self, name: &str) -> Self {
        self.tier.name = name.into();
        self
    }

    /// 0 (lowest) to 6.
    pub fn priority(mut self, number: u8) -> Self {
        self.tier.priority = Priority::new(number).expect("a priority is 0 to 6");
        self
    }

    /// Jobs that one caller may have at once.
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.tier.concurrency = jobs;
        self
    }

    /// Waiting jobs that one caller may displace within a minute.
    pub fn displacements(mut self, per_minute: u32) -> Self {
        self.tier.displacements_per_minute = per_minute;
        self
    }

    /// The longest that a job of this tier waits.
    pub fn max_wait(mut self, max_wait: impl Into<Option<Span>>) -> Self {
        self.tier.max_wait = max_wait.into();
        self
    }

    /// A quota that is enforced.
    pub fn quota(self, name: &str, limit: u64, window: Window) -> Self {
        self.quota_if(true, name, limit, window)
    }

    /// A quota, and whether it is enforced.
    pub fn quota_if(mut self, enforce: bool, name: &str, limit: u64, window: Window) -> Self {
        let known = self.windows.entries().find(|(_, known)| **known == window);
        let known = known.map(|(id, _)| id);
        let id = known.unwrap_or_else(|| self.windows.push(window));
        self.tier.quotas.push(Quota {
            name: name.into(),
            limit,
            window: id,
            enforce,
        });
        self
    }
}

/// Servers of so many slots, by number.
fn servers(slots: &[u32]) -> Table<ServerId, ServerRules> {
    let server = |(number, slots): (usize, &u32)| ServerRules {
        name: number.to_string(),
        slots: *slots,
    };
    Table::numbered(slots.iter().enumerate().map(server))
}

/// Every stretch of so many seconds.
pub fn rolling(secs: u64) -> Window {
    Window::Rolling(Span::from_secs(secs))
}

/// Periods that begin at these times.
pub fn calendar(name: &str, starts: impl IntoIterator<Item = UnixTime>) -> Window {
    Window::Calendar(Calendar {
        name: name.into(),
        starts: starts.into_iter().collect(),
    })
}

/// A request limit of each network in a fixed window, which is enforced and disclosed.
pub fn limit(name: &str, number: u32, window: Span) -> Limit {
    Limit {
        name: name.into(),
        per: Per {
            network: true,
            account: false,
            global: false,
        },
        number,
        window,
        kind: Kind::Fixed,
        penalty: None,
        degraded: None,
        v6_prefix: Limit::V6_PREFIX_DEFAULT,
        block_after: None,
        disclosed: true,
        enforce: true,
    }
}

/// Changes to a request limit.
pub trait LimitExt {
    fn named(self, name: &str) -> Self;
    fn kind(self, kind: Kind) -> Self;
    /// Requests in the window.
    fn number(self, number: u32) -> Self;
    /// Whom it counts: each network, each account, everybody together.
    fn per(self, whom: (bool, bool, bool)) -> Self;
    fn penalty(self, penalty: impl Into<Option<Span>>) -> Self;
    /// Requests that are admitted, of those that are told.
    fn degraded(self, number: impl Into<Option<u32>>) -> Self;
    fn block_after(self, rule: impl Into<Option<BlockAfter>>) -> Self;
    fn enforced(self, enforce: bool) -> Self;
}

impl LimitExt for Limit {
    fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    fn number(mut self, number: u32) -> Self {
        self.number = number;
        self
    }

    fn per(mut self, (network, account, global): (bool, bool, bool)) -> Self {
        self.per = Per {
            network,
            account,
            global,
        };
        self
    }

    fn penalty(mut self, penalty: impl Into<Option<Span>>) -> Self {
        self.penalty = penalty.into();
        self
    }

    fn degraded(mut self, number: impl Into<Option<u32>>) -> Self {
        self.degraded = number.into();
        self
    }

    fn block_after(mut self, rule: impl Into<Option<BlockAfter>>) -> Self {
        self.block_after = rule.into();
        self
    }

    fn enforced(mut self, enforce: bool) -> Self {
        self.enforce = enforce;
        self
    }
}

/// A block that follows so many refusals within so long, and lasts so long.
pub fn block(refusals: u32, within: Span, lasts: Span) -> BlockAfter {
    BlockAfter {
        refusals,
        within,
        lasts,
    }
}
