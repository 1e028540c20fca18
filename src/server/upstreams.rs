//! The upstreams across configurations: each name keeps one [`Upstream`] and one id while it is in use, and so do its servers.
//!
//! An upstream that the file no longer has finishes its jobs: it keeps its slots, and gets nothing new because no route leads to
//! it. It is dropped when it is no longer in use by a job, or by a route of an older configuration with a request in flight. A
//! server that the file no longer has gets no slots, so its jobs finish and no more follow.

use std::sync::Arc;

use http::HeaderValue;

use crate::config::{self, Config};
use crate::gate::Gate;
use crate::policy::Table;
use crate::policy::ids::{Ids, OutOfIds};
use crate::policy::rules::{Rules, ServerId, UpstreamId};
use crate::upstream::{ProbeSettings, Upstream, UpstreamServer, UpstreamSettings};

/// All upstreams that are in use.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    ids: Ids,
    upstreams: Table<UpstreamId, UpstreamEntry>,
    /// Upstreams in the file, in its order.
    configured: Vec<UpstreamId>,
}

#[derive(Debug)]
struct UpstreamEntry {
    /// As last seen in the file.
    config: config::UpstreamSection,
    servers: Vec<(ServerId, Arc<UpstreamServer>, u32)>,
    upstream: Arc<Upstream>,
}

impl Upstreams {
    /// Applies a configuration, and returns its rules, with ids for its names, including removed upstreams that are still in use.
    ///
    /// # Errors
    /// There is no id left for a new name. Nothing has changed.
    pub(super) fn apply(&mut self, config: &Config) -> Result<Rules, OutOfIds> {
        let is_configured = |name: &str| config.upstreams.iter().any(|upstream| upstream.name == name);
        let mut pools: Table<UpstreamId, _> =
            Table::numbered(config.upstreams.iter().map(config::UpstreamSection::rules));
        for entry in self.upstreams.iter() {
            if !is_configured(&entry.config.name) && entry.is_in_use() {
                pools.push(entry.config.rules());
            }
        }
        let pools = &Rules {
            upstreams: pools,
            ..config.rules.clone()
        };
        let rules = self.ids.assign(pools)?;
        self.upstreams.retain(|id, _| rules.upstreams.contains(id));
        self.configured = rules.upstreams.ids().take(config.upstreams.len()).collect();
        for (id, config) in self.configured.iter().zip(&config.upstreams) {
            let ids = rules.upstreams[*id].servers.ids();
            let before = self.upstreams.get(*id).map(|entry| &entry.upstream);
            let servers = ids.zip(&config.servers);
            let servers = servers.map(|(id, config)| (id, server(id, config, before), config.slots));
            let servers: Vec<_> = servers.collect();
            let settings = settings(config, servers.clone());
            match self.upstreams.get_mut(*id) {
                Some(entry) => {
                    entry.upstream.change_to(settings);
                    (entry.config, entry.servers) = (config.clone(), servers);
                }
                None => self.upstreams.insert(
                    *id,
                    UpstreamEntry {
                        config: config.clone(),
                        servers,
                        upstream: Upstream::new(*id, settings),
                    },
                ),
            }
        }
        Ok(rules)
    }

    /// Drops removed servers without running jobs. Call it once the gate knows that they are gone.
    pub(super) fn forget_gone(&self, gate: &Gate) {
        for (id, entry) in self.upstreams.entries() {
            entry.upstream.forget_gone(|server| gate.runs_on(id, server));
        }
    }

    /// The upstream at that index of the file.
    pub(super) fn at(&self, place: UpstreamId) -> &Arc<Upstream> {
        &self.upstreams[self.configured[place.index()]].upstream
    }

    /// The upstreams in the file, in its order.
    pub(super) fn configured(&self) -> Vec<Arc<Upstream>> {
        let configured = self.configured.iter();
        configured.map(|id| Arc::clone(&self.upstreams[*id].upstream)).collect()
    }

    /// Whether there are upstreams that the file no longer has.
    pub(super) fn has_removed(&self) -> bool {
        self.upstreams.len() > self.configured.len()
    }

    /// Whether one of those is no longer in use.
    pub(super) fn has_unused(&self) -> bool {
        self.removed().any(|entry| !entry.is_in_use())
    }

    /// Servers of removed upstreams that a configured upstream has too: the removed upstream, the configured one, and the address. Until
    /// the removed upstream is unused, such a server may get as many jobs as it has slots in both.
    pub(super) fn shared_servers(&self) -> Vec<(&str, &str, String)> {
        let mut shared_servers = Vec::new();
        for gone in self.removed() {
            let is_there = |server: &&config::ServerConfig| {
                let mut open = gone.servers.iter();
                open.any(|(_, of, _)| of.is_at(&server.host, server.port))
            };
            for config in self.configured.iter().map(|id| &self.upstreams[*id].config) {
                let servers = config.servers.iter().filter(is_there);
                let both = (&*gone.config.name, &*config.name);
                shared_servers.extend(servers.map(|server| (both.0, both.1, server.authority())));
            }
        }
        shared_servers
    }

    /// Every server that may get jobs, with its ids and its health probe.
    pub(super) fn watched(
        &self,
    ) -> impl Iterator<Item = ((UpstreamId, ServerId), &Arc<UpstreamServer>, Option<ProbeSettings>)> {
        self.upstreams.entries().flat_map(|(pool, entry)| {
            let servers = entry.servers.iter();
            servers.map(move |(id, server, _)| ((pool, *id), server, entry.probe()))
        })
    }

    fn removed(&self) -> impl Iterator<Item = &UpstreamEntry> {
        let removed = |(id, entry)| (!self.configured.contains(&id)).then_some(entry);
        self.upstreams.entries().filter_map(removed)
    }
}

/// The server of that id, which stays the same while its upstream has it or a job is on it.
fn server(id: ServerId, config: &config::ServerConfig, before: Option<&Arc<Upstream>>) -> Arc<UpstreamServer> {
    if let Some(known) = before.and_then(|upstream| upstream.server(id)) {
        return known;
    }
    let authority = HeaderValue::from_str(&config.authority()).expect("a validated configuration has only valid hosts");
    UpstreamServer::new(config.host.clone(), config.port, authority)
}

fn settings(config: &config::UpstreamSection, servers: Vec<(ServerId, Arc<UpstreamServer>, u32)>) -> UpstreamSettings {
    UpstreamSettings {
        servers,
        connect_timeout: config.connect_timeout,
        first_byte_timeout: config.first_byte_timeout,
        timeout: config.timeout,
        idle_timeout: config.idle_timeout,
    }
}

impl UpstreamEntry {
    /// Whether a route or a job still holds it.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.upstream) > 1
    }

    fn probe(&self) -> Option<ProbeSettings> {
        self.config.health.as_ref().map(|health| ProbeSettings {
            path: health.path.clone(),
            every: health.every,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// For the upstreams `a`, `b` and so on, if configured: the servers' ports and slots.
    type Configured = Vec<Option<Vec<(u16, u32)>>>;

    #[derive(Clone, Debug)]
    enum ReloadStep {
        /// Apply a file.
        Reload(Configured),
        /// Hold one of the upstreams.
        Hold(usize),
        /// Release one of the holds.
        Release(usize),
    }

    fn configured() -> impl Strategy<Value = Configured> {
        let servers = prop::collection::btree_map(1..5_u16, 1..4_u32, 1..4);
        let upstream = servers.prop_map(|servers| servers.into_iter().collect());
        let upstreams = prop::collection::vec(prop::option::of(upstream), 4);
        upstreams.prop_filter("a route leads somewhere", |configured: &Configured| {
            configured.iter().any(Option::is_some)
        })
    }

    fn step() -> impl Strategy<Value = ReloadStep> {
        prop_oneof![
            3 => configured().prop_map(ReloadStep::Reload),
            4 => (0..8_usize).prop_map(ReloadStep::Hold),
            3 => (0..16_usize).prop_map(ReloadStep::Release),
        ]
    }

    fn config(configured: &Configured) -> Config {
        let server = |(port, slots): &(u16, u32)| format!("{{ url: \"http://worker:{port}\", slots: {slots} }}");
        let names = ["a", "b", "c", "d"].iter().zip(configured);
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
    fn a_renamed_upstream_shares_its_servers_while_in_use() {
        let mut upstreams = Upstreams::default();
        upstreams.apply(&config(&vec![Some(vec![(1, 2), (2, 2)])])).unwrap();
        let held = Arc::clone(upstreams.at(UpstreamId(0)));
        let renamed = config(&vec![None, Some(vec![(1, 2), (3, 2)])]);
        upstreams.apply(&renamed).unwrap();
        assert_eq!(upstreams.shared_servers(), [("a", "b", "worker:1".to_owned())]);
        drop(held);
        assert!(upstreams.has_unused());
        upstreams.apply(&renamed).unwrap();
        assert!(upstreams.shared_servers().is_empty() && !upstreams.has_removed());
    }

    /// The bug: a server that was removed and put back while a job connected to it became another one under the same id. When the
    /// job failed, it marked the removed one down, the policy took the slots of the id away, and nothing gave them back.
    #[test]
    fn a_server_that_comes_back_while_in_use_is_the_same() {
        let mut upstreams = Upstreams::default();
        let [both, one] = [vec![(1, 2), (2, 2)], vec![(2, 2)]].map(|servers| config(&vec![Some(servers)]));
        let rules = upstreams.apply(&both).expect("few names");
        let upstream = Arc::clone(upstreams.at(UpstreamId(0)));
        let id = rules.upstreams[UpstreamId(0)].servers.ids().next().expect("it has two");
        let used = upstream.server(id).expect("it is listed");
        for forgotten in [false, true] {
            upstreams.apply(&one).expect("few names");
            upstream.forget_gone(|server| server == id && !forgotten);
            assert_eq!(upstream.server(id).is_none(), forgotten);
            upstreams.apply(&both).expect("few names");
            let back = upstream.server(id).expect("it is listed");
            assert_eq!(Arc::ptr_eq(&back, &used), !forgotten);
        }
    }

    /// The upstreams in the rules, with the addresses and slots of their servers.
    fn in_rules(rules: &Rules) -> BTreeMap<String, BTreeSet<(String, u32)>> {
        let servers = |pool: &crate::policy::rules::UpstreamRules| {
            let servers = pool.servers.iter();
            servers.map(|server| (server.name.clone(), server.slots)).collect()
        };
        let pools = rules.upstreams.iter();
        pools.map(|pool| (pool.name.clone(), servers(pool))).collect()
    }

    fn in_file(config: &Config) -> BTreeMap<String, BTreeSet<(String, u32)>> {
        let servers = |upstream: &config::UpstreamSection| {
            let servers = upstream.servers.iter();
            servers.map(|server| (server.authority(), server.slots)).collect()
        };
        let upstreams = config.upstreams.iter();
        upstreams
            .map(|upstream| (upstream.name.clone(), servers(upstream)))
            .collect()
    }

    proptest! {
        /// A held upstream keeps its id and slots, whatever the file says; one without holds is dropped; and an id belongs to one
        /// name only.
        #[test]
        fn an_upstream_stays_itself_while_somebody_holds_it(first in configured(), steps in prop::collection::vec(step(), 1..40)) {
            let mut upstreams = Upstreams::default();
            let mut rules = upstreams.apply(&config(&first)).expect("few names");
            let mut held: Vec<(Arc<Upstream>, String)> = Vec::new();
            let mut names: BTreeMap<UpstreamId, String> = BTreeMap::new();
            for step in &steps {
                match step {
                    ReloadStep::Hold(which) => {
                        let all: Vec<_> = upstreams.upstreams.iter().collect();
                        let entry = all[which % all.len()];
                        held.push((Arc::clone(&entry.upstream), entry.config.name.clone()));
                    }
                    ReloadStep::Release(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                    ReloadStep::Release(_) => {}
                    ReloadStep::Reload(configured) => {
                        let config = config(configured);
                        let before = in_rules(&rules);
                        rules = upstreams.apply(&config).expect("few names");
                        let mut expected = in_file(&config);
                        for (_, name) in &held {
                            expected.entry(name.clone()).or_insert_with(|| before[name].clone());
                        }
                        prop_assert_eq!(in_rules(&rules), expected);
                    }
                }
                for (id, pool) in rules.upstreams.entries() {
                    prop_assert_eq!(names.entry(id).or_insert_with(|| pool.name.clone()), &pool.name);
                }
                for (upstream, name) in &held {
                    let pool = &rules.upstreams[upstream.id()];
                    prop_assert_eq!(&pool.name, name);
                    for id in pool.servers.ids() {
                        prop_assert!(upstream.server(id).is_some());
                    }
                }
            }
        }
    }
}
