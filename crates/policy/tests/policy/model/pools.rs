//! Upstreams, their servers, and what a reload changes.

use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::rules::{Priority, Rules, ServerId, ServerRules, TierId, UpstreamId, UpstreamRules};
use tiergate_policy::time::{Span, Timestamp};

use super::service::join;
use super::{Granted, Job, Model, count};

#[derive(Debug)]
pub(super) struct Server {
    pub(super) id: ServerId,
    pub(super) slots: u32,
    pub(super) up: bool,
    /// The event at which it last got a job.
    pub(super) got: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) servers: Vec<Server>,
    /// How long each slot was held that was given back.
    pub(super) slot_times: Vec<Span>,
    /// The priority of each job that got a slot, in order.
    pub(super) granted: Vec<Priority>,
    /// Slots granted to queued jobs.
    pub(super) granted_from_queue: u64,
    /// Whose turn it is in `fair`, for each priority, with the event at which each joined the ring or was last served.
    pub(super) rings: Vec<Vec<(Caller, u64)>>,
}

impl Pool {
    pub(super) fn new(rules: &UpstreamRules) -> Self {
        Self {
            servers: rules.servers.entries().map(server).collect(),
            slot_times: Vec::new(),
            granted: Vec::new(),
            granted_from_queue: 0,
            rings: vec![Vec::new(); Priority::COUNT],
        }
    }
}

impl Model {
    pub fn servers(&self, pool: UpstreamId) -> impl Iterator<Item = ServerId> + Clone + use<> {
        let ids: Vec<ServerId> = self.pool(pool).servers.iter().map(|server| server.id).collect();
        ids.into_iter()
    }

    /// The slots of a server that count: none while it is down or drained.
    pub fn slots_of(&self, pool: UpstreamId, server: ServerId) -> u32 {
        let drained = self.drained.contains(&(pool, server));
        let server = self.server(pool, server);
        if server.up && !drained { server.slots } else { 0 }
    }

    pub fn slots(&self, pool: UpstreamId) -> u32 {
        self.servers(pool).map(|server| self.slots_of(pool, server)).sum()
    }

    pub fn running_on(&self, pool: UpstreamId, server: ServerId) -> u32 {
        count(self.jobs.iter().filter(|job| job.runs_on(pool, server)))
    }

    pub fn moving(&self, pool: UpstreamId) -> u32 {
        count(self.jobs.iter().filter(|job| job.pool == pool && job.moves()))
    }

    pub fn server_down(&mut self, pool: UpstreamId, server: ServerId) {
        self.server_mut(pool, server).up = false;
    }

    pub fn server_up(&mut self, pool: UpstreamId, server: ServerId, now: Timestamp) -> Vec<Granted> {
        self.server_mut(pool, server).up = true;
        self.grant_all(pool, now)
    }

    /// Tiers are matched by name, removed ones by where their accounts are listed. Uploading and queued jobs get their tier's new
    /// priority, and queued ones keep their order.
    pub fn reload(
        &mut self,
        rules: Rules,
        listed: impl Fn(AccountId) -> Option<TierId>,
        now: Timestamp,
    ) -> Vec<Granted> {
        for job in &mut self.jobs {
            let name = &self.rules.tier(job.tier).name;
            let same = rules.tiers.entries().find(|(_, tier)| tier.name == *name);
            job.tier = match (same, job.caller) {
                (Some((id, _)), _) => id,
                (None, Caller::Account(account)) => listed(account).unwrap_or(rules.anonymous),
                (None, _) => rules.anonymous,
            };
            if job.is_uploading() || job.is_queued() {
                job.priority = rules.tier(job.tier).priority;
            }
        }
        self.change_pools(&rules);
        self.debits.reload(&rules.windows);
        self.rules = rules;
        self.wall_clock(now);
        self.form_rings_anew();
        self.pools().flat_map(|pool| self.grant_all(pool, now)).collect()
    }

    /// A removed upstream stays as it is while a job uses it. So does a removed server, but without slots.
    fn change_pools(&mut self, rules: &Rules) {
        let jobs = &self.jobs;
        let is_used = |pool: UpstreamId| jobs.iter().any(|job| job.pool == pool);
        self.pools
            .retain(|(id, _)| rules.upstreams.contains(*id) || is_used(*id));
        for (id, pool) in &mut self.pools {
            let Some(new) = rules.upstreams.get(*id) else { continue };
            for server in &mut pool.servers {
                server.slots = new.servers.get(server.id).map_or(0, |server| server.slots);
            }
            let is_used = |server: ServerId| jobs.iter().any(|job| job.runs_on(*id, server));
            pool.servers.retain(|server| server.slots > 0 || is_used(server.id));
            let known: Vec<ServerId> = pool.servers.iter().map(|server| server.id).collect();
            let added = new.servers.entries().filter(|(id, _)| !known.contains(id));
            pool.servers.extend(added.map(server));
        }
        let known: Vec<UpstreamId> = self.pools().collect();
        let added = rules.upstreams.entries().filter(|(id, _)| !known.contains(id));
        self.pools.extend(added.map(|(id, pool)| (id, Pool::new(pool))));
    }

    pub(super) fn pool(&self, id: UpstreamId) -> &Pool {
        let (_, pool) = self.pools.iter().find(|(of, _)| *of == id).expect("it is there");
        pool
    }

    pub(super) fn pool_mut(&mut self, id: UpstreamId) -> &mut Pool {
        let (_, pool) = self.pools.iter_mut().find(|(of, _)| *of == id).expect("it is there");
        pool
    }

    pub(super) fn server(&self, pool: UpstreamId, id: ServerId) -> &Server {
        let mut servers = self.pool(pool).servers.iter();
        servers.find(|server| server.id == id).expect("it is there")
    }

    pub(super) fn server_mut(&mut self, pool: UpstreamId, id: ServerId) -> &mut Server {
        let mut servers = self.pool_mut(pool).servers.iter_mut();
        servers.find(|server| server.id == id).expect("it is there")
    }

    /// Callers join the ring in the order of their first queued jobs.
    fn form_rings_anew(&mut self) {
        for pool in self.pools() {
            let mut line: Vec<Job> = self.in_line(pool).cloned().collect();
            line.sort_by_key(|job| job.placed);
            let rings = &mut self.pool_mut(pool).rings;
            rings.iter_mut().for_each(Vec::clear);
            for job in line {
                join(&mut rings[job.priority.index()], job.caller, job.placed);
            }
        }
    }
}

pub(super) fn server((id, rules): (ServerId, &ServerRules)) -> Server {
    Server {
        id,
        slots: rules.slots,
        up: true,
        got: None,
    }
}
