//! Ids that stay the same for as long as the process runs: each name gets one when it is first seen, and no other name ever
//! gets it. So an id held by a job in flight means the same under every configuration.
//!
//! Request limits are the exception. A request is always decided by the newest limits, in one step, so a [`LimitId`] is never
//! used with other rules than its own, and a set of limits stays a bit mask.
//!
//! [`LimitId`]: crate::rules::LimitId

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use super::rules::{Quota, Rules, ServerId, Tier, TierId, UpstreamId, UpstreamRules, Window, WindowId};
use super::table::{Id, Table};
use super::time::Span;

/// The assigned ids.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    tiers: Interned<String, TierId>,
    pools: Interned<String, UpstreamId>,
    servers: HashMap<UpstreamId, Interned<String, ServerId>>,
    windows: Interned<WindowName, WindowId>,
}

/// The identity of a window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum WindowName {
    Rolling(Span),
    Calendar(String),
}

#[derive(Clone, Debug)]
struct Interned<N, I>(HashMap<N, I>);

/// No id is left: too many different names were seen since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfIds(&'static str);

impl fmt::Display for OutOfIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "more than 65,536 different {} were configured since the start",
            self.0
        )
    }
}

impl std::error::Error for OutOfIds {}

impl Ids {
    /// The same rules with persistent ids. `rules` may have any ids that are consistent among themselves.
    ///
    /// # Errors
    /// A name is new, and no id is left for it.
    pub fn assign(&mut self, rules: &Rules) -> Result<Rules, OutOfIds> {
        let mut windows = HashMap::new();
        for (old, window) in rules.windows.entries() {
            windows.insert(old, self.windows.id(WindowName::of(window), "windows of quotas")?);
        }
        let mut tiers = HashMap::new();
        for (old, tier) in rules.tiers.entries() {
            tiers.insert(old, self.tiers.id((*tier.name).to_owned(), "tiers")?);
        }
        let mut pools = Table::default();
        for pool in rules.upstreams.iter() {
            let (id, pool) = self.pool(pool)?;
            pools.insert(id, pool);
        }
        let quota = |quota: &Quota| Quota {
            window: windows[&quota.window],
            ..quota.clone()
        };
        let tier = |tier: &Tier| Tier {
            quotas: tier.quotas.iter().map(quota).collect(),
            ..tier.clone()
        };
        let of_window = rules
            .windows
            .entries()
            .map(|(id, window)| (windows[&id], window.clone()));
        Ok(Rules {
            windows: of_window.collect(),
            tiers: rules.tiers.entries().map(|(id, of)| (tiers[&id], tier(of))).collect(),
            anonymous: tiers[&rules.anonymous],
            upstreams: pools,
            ..rules.clone()
        })
    }

    fn pool(&mut self, pool: &UpstreamRules) -> Result<(UpstreamId, UpstreamRules), OutOfIds> {
        let id = self.pools.id(pool.name.clone(), "upstreams")?;
        let ids = self.servers.entry(id).or_default();
        let mut servers = Table::default();
        for server in pool.servers.iter() {
            servers.insert(ids.id(server.name.clone(), "servers of an upstream")?, server.clone());
        }
        let name = pool.name.clone();
        Ok((id, UpstreamRules { name, servers }))
    }
}

impl WindowName {
    fn of(window: &Window) -> Self {
        match window {
            Window::Rolling(length) => Self::Rolling(*length),
            Window::Calendar(calendar) => Self::Calendar((*calendar.name).to_owned()),
        }
    }
}

impl<N, I> Default for Interned<N, I> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<N: Eq + Hash, I: Id> Interned<N, I> {
    fn id(&mut self, name: N, what: &'static str) -> Result<I, OutOfIds> {
        if let Some(known) = self.0.get(&name) {
            return Ok(*known);
        }
        let id = I::from_index(self.0.len()).ok_or(OutOfIds(what))?;
        self.0.insert(name, id);
        Ok(id)
    }
}
