//! Where upstreams and their servers have their places. Whoever is in the house knows its worker by its place, so a place
//! stays the same worker's while anybody is there, whatever the file says meanwhile.
//!
//! An upstream that the file has no more finishes what it has: it keeps its slots, and gets nothing new because no route leads to
//! it. It also keeps its place while a request is under way by routes that led there ([`Places::led_to`]). A server that the file has no more gets no slots, so what runs there ends and nothing follows. Places at which nobody is
//! any more are given to others, so there are never more of them than upstreams and servers in use.
//!
//! Absent on purpose: who is where, which the gate knows, and connections (`upstream`).

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use http::HeaderValue;

use crate::config::{self, Config};
use crate::gate::Occupied;
use crate::policy::rules::{PoolId, PoolRules, Rules, ServerId};
use crate::upstream::{ProbeSettings, Server, Settings, Upstream};

/// All places.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pools: Vec<Pool>,
    /// The places of the upstreams that the file has, in its order.
    listed: Vec<PoolId>,
}

/// The place of an upstream.
#[derive(Clone, Debug)]
struct Pool {
    /// As the file last had it.
    config: config::Upstream,
    servers: Vec<(Arc<Server>, u32)>,
    /// Nobody is here, and nobody comes.
    vacant: bool,
}

impl Places {
    /// The places for that configuration, while so many of these are occupied.
    pub(super) fn arrange(&self, config: &Config, occupied: &Occupied) -> Self {
        let mut pools: Vec<Option<Pool>> = Vec::with_capacity(self.pools.len());
        for (id, pool) in (0..).map(PoolId).zip(&self.pools) {
            let is_listed = config
                .upstreams
                .iter()
                .any(|upstream| upstream.name == pool.config.name);
            pools.push((is_listed || occupied.contains_key(&id)).then(|| pool.clone()));
        }
        let nobody = HashSet::new();
        let mut listed = Vec::with_capacity(config.upstreams.len());
        for upstream in &config.upstreams {
            let is_it = |pool: &Option<Pool>| pool.as_ref().is_some_and(|pool| pool.config.name == upstream.name);
            let at = pools
                .iter()
                .position(is_it)
                .or_else(|| pools.iter().position(Option::is_none));
            let at = at.unwrap_or_else(|| {
                pools.push(None);
                pools.len() - 1
            });
            let id = PoolId(u16::try_from(at).expect("there are fewer than 65,536 upstreams"));
            let servers = pools[at].take().map(|pool| pool.servers).unwrap_or_default();
            pools[at] = Some(Pool {
                servers: arrange_servers(servers, &upstream.servers, occupied.get(&id).unwrap_or(&nobody)),
                config: upstream.clone(),
                vacant: false,
            });
            listed.push(id);
        }
        while pools.last().is_some_and(Option::is_none) {
            pools.pop();
        }
        let vacant = |(was, pool): (usize, Option<Pool>)| pool.unwrap_or_else(|| self.pools[was].vacated());
        Self {
            pools: pools.into_iter().enumerate().map(vacant).collect(),
            listed,
        }
    }

    /// The rules of that configuration, with every pool at its place.
    pub(super) fn rules(&self, config: &Config) -> Rules {
        let pool = |pool: &Pool| PoolRules {
            name: if pool.vacant {
                String::new()
            } else {
                pool.config.name.clone()
            },
            slots: pool.servers.iter().map(|(_, slots)| *slots).collect(),
        };
        Rules {
            pools: self.pools.iter().map(pool).collect(),
            ..config.rules.clone()
        }
    }

    /// As if somebody were at every place.
    pub(super) fn everywhere(&self) -> Occupied {
        let servers = |pool: &Pool| (0..).map(ServerId).take(pool.servers.len()).collect();
        let pools = (0..).map(PoolId).zip(&self.pools).filter(|(_, pool)| !pool.vacant);
        pools.map(|(id, pool)| (id, servers(pool))).collect()
    }

    /// As if somebody were at every upstream's place, and at those servers' where somebody is: whoever came to an older door may be
    /// on the way to any of them.
    pub(super) fn led_to(&self, occupied: &Occupied) -> Occupied {
        let pools = (0..).map(PoolId).zip(&self.pools).filter(|(_, pool)| !pool.vacant);
        let servers = |id| occupied.get(&id).cloned().unwrap_or_default();
        pools.map(|(id, _)| (id, servers(id))).collect()
    }

    /// Whether there is an upstream that the file has no more.
    pub(super) fn has_unlisted(&self) -> bool {
        let there = self.pools.iter().filter(|pool| !pool.vacant).count();
        there > self.listed.len()
    }

    /// Whether everybody who is there would find its worker where it was before.
    pub(super) fn suit(&self, before: &Self, occupied: &Occupied) -> bool {
        occupied.iter().all(|(id, servers)| {
            let at = |places: &Self| places.pools.get(id.index()).map(|pool| pool.config.name.clone());
            let server = |places: &Self, server: &ServerId| {
                let (server, _) = places.pools.get(id.index())?.servers.get(server.index())?;
                Some(Arc::as_ptr(server))
            };
            let stays = self.pools.get(id.index()).is_some_and(|pool| !pool.vacant);
            stays && at(self) == at(before) && servers.iter().all(|id| server(self, id) == server(before, id))
        })
    }

    /// Every server to which jobs may be sent, with its place and how it is asked whether it is well.
    pub(super) fn watched(&self) -> impl Iterator<Item = (PoolId, ServerId, &Arc<Server>, Option<ProbeSettings>)> {
        (0..).map(PoolId).zip(&self.pools).flat_map(|(pool, of)| {
            let servers = (0..)
                .map(ServerId)
                .zip(&of.servers)
                .filter(|(_, (_, slots))| *slots > 0);
            servers.map(move |(id, (server, _))| (pool, id, server, of.probe()))
        })
    }

    /// The place of an upstream, which the file has at that one.
    pub(super) fn of(&self, upstream: PoolId) -> PoolId {
        self.listed[upstream.index()]
    }

    /// The upstreams, by their places.
    pub(super) fn upstreams(&self) -> Vec<Arc<Upstream>> {
        self.pools.iter().map(|pool| Arc::new(pool.upstream())).collect()
    }
}

/// The servers that the file has at their places; who is there no more has no slots.
fn arrange_servers(
    old: Vec<(Arc<Server>, u32)>,
    listed: &[config::Server],
    occupied: &HashSet<ServerId>,
) -> Vec<(Arc<Server>, u32)> {
    let mut places: Vec<(Arc<Server>, u32)> = old.into_iter().map(|(server, _)| (server, 0)).collect();
    let mut taken: HashSet<usize> = HashSet::new();
    let mut coming = Vec::new();
    for server in listed {
        let is_it = |at: &usize| !taken.contains(at) && places[*at].0.is_at(&server.host, server.port);
        match (0..places.len()).find(is_it) {
            Some(at) => {
                taken.insert(at);
                places[at].1 = server.slots;
            }
            None => coming.push(server),
        }
    }
    let ids = (0..).map(ServerId).zip(0..places.len());
    let free = ids.filter(|(id, at)| !taken.contains(at) && !occupied.contains(id));
    let mut free: VecDeque<usize> = free.map(|(_, at)| at).collect();
    for server in coming {
        let new = (new_server(server), server.slots);
        match free.pop_front() {
            Some(at) => places[at] = new,
            None => places.push(new),
        }
    }
    while free.pop_back_if(|last| *last + 1 == places.len()).is_some() {
        places.pop();
    }
    places
}

fn new_server(config: &config::Server) -> Arc<Server> {
    let authority = HeaderValue::from_str(&config.authority()).expect("the configuration lets through only hosts");
    Server::new(config.host.clone(), config.port, authority)
}

impl Pool {
    fn vacated(&self) -> Self {
        Self {
            config: self.config.clone(),
            servers: Vec::new(),
            vacant: true,
        }
    }

    fn probe(&self) -> Option<ProbeSettings> {
        self.config.health.as_ref().map(|health| ProbeSettings {
            path: health.path.clone(),
            every: health.every,
        })
    }

    fn upstream(&self) -> Upstream {
        let config = &self.config;
        Upstream::new(Settings {
            servers: self.servers.clone(),
            connect_timeout: config.connect_timeout,
            first_byte_timeout: config.first_byte_timeout,
            timeout: config.timeout,
            idle_timeout: config.idle_timeout,
        })
    }
}
