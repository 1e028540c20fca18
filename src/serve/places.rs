//! Where upstreams and their servers have their places. Whoever is in the house knows its worker by its place, so a place
//! stays the same worker's while anybody is there, whatever the file says meanwhile.
//!
//! An upstream that the file has no more finishes what it has: it keeps its slots, and gets nothing new because no route leads to
//! it. It also keeps its place while a request is under way by routes that led there ([`Places::led_to`]), and is soon gone then. A
//! server that the file has no more gets no slots, so what runs there ends and nothing follows. Places at which nobody is any more
//! are given to others, so there are never more of them than upstreams and servers in use.
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

    /// Whether there is an upstream that the file has no more, and where nobody is.
    pub(super) fn has_idle(&self, occupied: &Occupied) -> bool {
        let mut pools = (0..).map(PoolId).zip(&self.pools);
        pools.any(|(id, pool)| !pool.vacant && !self.listed.contains(&id) && !occupied.contains_key(&id))
    }

    /// Whether there is an upstream that the file has no more.
    pub(super) fn has_unlisted(&self) -> bool {
        self.has_idle(&Occupied::default())
    }

    /// Servers of upstreams that the file has no more which are listed ones' too: whose they were, whose they are, and where. Until
    /// nobody is there any more they may get as many jobs as they have slots in both.
    pub(super) fn doubled(&self) -> Vec<(&str, &str, String)> {
        let mut doubled = Vec::new();
        let is_gone = |id: &PoolId, pool: &Pool| !pool.vacant && !self.listed.contains(id);
        let pools = (0..).map(PoolId).zip(&self.pools);
        for (_, gone) in pools.filter(|(id, pool)| is_gone(id, pool)) {
            let is_there = |server: &config::Server| {
                let mut open = gone.servers.iter().filter(|(_, slots)| *slots > 0);
                open.any(|(of, _)| of.is_at(&server.host, server.port))
            };
            for upstream in self.listed.iter().map(|id| &self.pools[id.index()].config) {
                let servers = upstream.servers.iter().filter(|server| is_there(server));
                doubled.extend(servers.map(|server| (&*gone.config.name, &*upstream.name, server.authority())));
            }
        }
        doubled
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// By upstream `a`, `b` and so on, if it is listed: its servers' ports and slots.
    type Listed = Vec<Option<Vec<(u16, u32)>>>;

    #[derive(Clone, Debug)]
    enum Step {
        /// A file is taken up, while requests are under way by the one before or not.
        Reload(Listed, bool),
        /// Somebody comes to a server of an upstream that the file has, if there is one, or waits for one.
        Come(usize, Option<usize>),
        /// One of those who are there goes.
        Leave(usize),
    }

    /// Somebody who is there, and where that was when it came.
    #[derive(Clone, Debug)]
    struct Guest {
        pool: PoolId,
        name: String,
        server: Option<(ServerId, Arc<Server>)>,
    }

    fn listed() -> impl Strategy<Value = Listed> {
        let servers = prop::collection::btree_map(1..5_u16, 1..4_u32, 1..4);
        let upstream = servers.prop_map(|servers| servers.into_iter().collect());
        let upstreams = prop::collection::vec(prop::option::of(upstream), 4);
        upstreams.prop_filter("a route leads somewhere", |listed: &Listed| {
            listed.iter().any(Option::is_some)
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (listed(), any::<bool>()).prop_map(|(listed, under_way)| Step::Reload(listed, under_way)),
            4 => (0..8_usize, prop::option::weighted(0.8, 0..8_usize)).prop_map(|(pool, server)| Step::Come(pool, server)),
            3 => (0..16_usize).prop_map(Step::Leave),
        ]
    }

    fn config(listed: &Listed) -> Config {
        let server = |(port, slots): &(u16, u32)| format!("{{ url: \"http://worker:{port}\", slots: {slots} }}");
        let names = ["a", "b", "c", "d"].iter().zip(listed);
        let there: Vec<_> = names
            .filter_map(|(name, servers)| Some((name, servers.as_ref()?)))
            .collect();
        let upstream = |(name, servers): &(&&str, &Vec<(u16, u32)>)| {
            let servers: Vec<String> = servers.iter().map(server).collect();
            format!("  {name}: {{ servers: [ {} ] }}\n", servers.join(", "))
        };
        let upstreams: String = there.iter().map(upstream).collect();
        let yaml = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\nqueue: {{ length: 8 }}\ntiers:\n  free: {{ priority: 0, \
             concurrency: 1 }}\nanonymous: free\nupstreams:\n{upstreams}routes:\n  - {{ path: /search, upstream: {}, metered: \
             true }}\n",
            there[0].0
        );
        Config::parse("tiers.yaml", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"))
    }

    #[test]
    fn a_server_of_an_upstream_that_was_renamed_is_doubled_while_somebody_is_there() {
        let before = Places::default().arrange(&config(&vec![Some(vec![(1, 2), (2, 2)])]), &Occupied::default());
        let renamed = config(&vec![None, Some(vec![(1, 2), (3, 2)])]);
        let somebody = Occupied::from([(PoolId(0), HashSet::from([ServerId(1)]))]);
        let after = before.arrange(&renamed, &somebody);
        assert_eq!(after.doubled(), [("a", "b", "worker:1".to_owned())]);
        assert!(before.doubled().is_empty() && after.arrange(&renamed, &Occupied::default()).doubled().is_empty());
    }

    fn occupied(guests: &[Guest]) -> Occupied {
        let mut occupied = Occupied::new();
        for guest in guests {
            let servers = occupied.entry(guest.pool).or_default();
            servers.extend(guest.server.as_ref().map(|(id, _)| *id));
        }
        occupied
    }

    fn finds_its_place(places: &Places, guest: &Guest) -> bool {
        let pool = places.pools.get(guest.pool.index());
        pool.is_some_and(|pool| {
            let at = |id: &ServerId| pool.servers.get(id.index()).map(|(server, _)| server);
            !pool.vacant
                && pool.config.name == guest.name
                && (guest.server.as_ref()).is_none_or(|(id, server)| at(id).is_some_and(|at| Arc::ptr_eq(at, server)))
        })
    }

    /// The upstreams that are there, with the servers that get jobs, whatever their places.
    fn in_use(places: &Places) -> BTreeSet<(String, BTreeSet<(u16, u32)>)> {
        let there = places.pools.iter().filter(|pool| !pool.vacant);
        let servers = |pool: &Pool| {
            let slots = pool.servers.iter().filter(|(_, slots)| *slots > 0);
            slots.map(|(server, slots)| (port(server), *slots)).collect()
        };
        there.map(|pool| (pool.config.name.clone(), servers(pool))).collect()
    }

    fn port(server: &Server) -> u16 {
        (1..5)
            .find(|port| server.is_at("worker", *port))
            .expect("one of the file's")
    }

    fn come(places: &Places, pool: usize, server: Option<usize>) -> Guest {
        let pool = places.listed[pool % places.listed.len()];
        let at = &places.pools[pool.index()];
        let open: Vec<usize> = (0..at.servers.len()).filter(|id| at.servers[*id].1 > 0).collect();
        let server = server.map(|server| {
            let id = open[server % open.len()];
            let number = u16::try_from(id).expect("few servers");
            (ServerId(number), Arc::clone(&at.servers[id].0))
        });
        let name = at.config.name.clone();
        Guest { pool, name, server }
    }

    fn check_sizes(before: &Places, places: &Places, guests: &[Guest]) -> Result<(), TestCaseError> {
        let occupied = occupied(guests);
        let there = places.pools.iter().filter(|pool| !pool.vacant).count();
        prop_assert!(
            places.pools.len() <= before.pools.len().max(there),
            "no place is made while one is free"
        );
        for (id, pool) in (0..).map(PoolId).zip(&places.pools).filter(|(_, pool)| !pool.vacant) {
            let is_listed = places.listed.contains(&id);
            prop_assert!(
                is_listed || occupied.contains_key(&id),
                "{} is kept for nobody",
                pool.config.name
            );
        }
        Ok(())
    }

    proptest! {
        /// Whatever files come, nobody's place becomes another's, no place is kept for nobody, and with nobody there the upstreams
        /// are those of a door that has begun with the last file.
        #[test]
        fn a_place_in_use_never_changes_hands_and_with_nobody_there_it_is_as_at_the_start(
            first in listed(),
            steps in prop::collection::vec(step(), 0..40),
        ) {
            let mut last = config(&first);
            let mut places = Places::default().arrange(&last, &Occupied::default());
            let mut guests: Vec<Guest> = Vec::new();
            for step in steps {
                match step {
                    Step::Come(pool, server) => guests.push(come(&places, pool, server)),
                    Step::Leave(at) if at < guests.len() => drop(guests.swap_remove(at)),
                    Step::Leave(_) => {}
                    Step::Reload(listed, under_way) => {
                        let config = config(&listed);
                        let occupied = occupied(&guests);
                        // Had nobody been asked about, that they don't all find their places would be noticed.
                        let careless = places.arrange(&config, &Occupied::default());
                        let all_stay = guests.iter().all(|guest| finds_its_place(&careless, guest));
                        prop_assert_eq!(careless.suit(&places, &occupied), all_stay);
                        let kept = places.arrange(&config, &places.led_to(&occupied));
                        prop_assert!(kept.suit(&places, &occupied));
                        for (was, is) in places.pools.iter().zip(&kept.pools).filter(|(was, _)| !was.vacant) {
                            prop_assert_eq!(&was.config.name, &is.config.name, "who is under way finds another");
                            prop_assert!(!is.vacant);
                        }
                        let new = match under_way {
                            true => kept,
                            false => places.arrange(&config, &occupied),
                        };
                        prop_assert!(new.suit(&places, &occupied));
                        prop_assert!(guests.iter().all(|guest| finds_its_place(&new, guest)));
                        if !under_way {
                            check_sizes(&places, &new, &guests)?;
                        }
                        (places, last) = (new, config);
                    }
                }
            }
            let idle = places.arrange(&last, &Occupied::default());
            let fresh = Places::default().arrange(&last, &Occupied::default());
            prop_assert_eq!(in_use(&idle), in_use(&fresh));
            prop_assert!(!idle.has_unlisted());
            // Routes lead to the same upstreams, and all other rules are the file's.
            for (at, upstream) in (0..).map(PoolId).zip(&last.upstreams) {
                let rules = idle.rules(&last);
                prop_assert_eq!(&rules.pools[idle.of(at).index()].name, &upstream.name);
                prop_assert_eq!(Rules { pools: Vec::new(), ..rules }, Rules { pools: Vec::new(), ..last.rules.clone() });
            }
        }
    }
}
