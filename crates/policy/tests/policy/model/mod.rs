//! A model of the policy, so simple that it is obviously right: one list of jobs, and every question is answered by looking at
//! all of them. Written from docs/rules.md (§3, §4, §6), not from the policy.
//!
//! It is slow, and has no structure that could disagree with the list of jobs. What the jobs don't tell is recorded as it
//! happens: whose turn it is (a ring of callers), every displacement, every slot time and every slot ever granted.

mod admission;
mod clock;
mod controls;
mod pools;
mod progress;
mod quotas;
mod service;
mod slots;

use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller, UserId};
use tiergate_policy::rules::{Priority, Rules, ServerId, TierId, UpstreamId, WindowId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{State, Stats};

use super::debits::Debits;
use clock::Wall;
use pools::Pool;
pub use quotas::own_limit;

/// A job's number: how many were admitted before it.
pub type Number = usize;

/// A job in flight.
#[derive(Clone, Debug)]
pub struct Job {
    pub number: Number,
    pub caller: Caller,
    pub tier: TierId,
    pub priority: Priority,
    pub pool: UpstreamId,
    pub entered: Timestamp,
    pub admitted: UnixTime,
    pub cost: u32,
    pub state: State,
    /// When it was queued, or began to move. Counts events, not time.
    placed: u64,
}

impl Job {
    /// §5.9: a user's jobs count against the account that asks for it as well.
    fn counts_for(&self, caller: Caller) -> bool {
        self.counted().contains(&caller)
    }

    fn counted(&self) -> Vec<Caller> {
        match self.caller {
            Caller::User { of, .. } => vec![self.caller, Caller::Account(of)],
            Caller::Account(_) | Caller::Network(_) => vec![self.caller],
        }
    }

    pub fn is_queued(&self) -> bool {
        self.state == State::Waiting
    }

    pub fn is_uploading(&self) -> bool {
        self.state == State::Uploading
    }

    pub fn moves(&self) -> bool {
        matches!(self.state, State::Moving { .. })
    }

    fn runs_on(&self, pool: UpstreamId, server: ServerId) -> bool {
        self.pool == pool && matches!(self.state, State::Running { server: on, .. } if on == server)
    }
}

/// A slot for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub number: Number,
    pub server: ServerId,
    pub admitted: UnixTime,
    pub waited: Span,
    pub priority: Priority,
}

/// Why a job was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    ShuttingDown,
    AdmissionStopped,
    TooManyUsers {
        limit: u32,
    },
    QuotaDepleted {
        name: Arc<str>,
        limit: u64,
        used: u64,
        retry_after: Option<Span>,
    },
    ConcurrencyExceeded {
        limit: u32,
        used: u32,
    },
    QueueFull {
        capacity: u32,
        admits_from: Option<Priority>,
    },
    WaitTooLong {
        asked: Span,
        estimate: Span,
    },
}

/// How a job was admitted or refused, or what it got when its body was complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    Uploading(Number),
    Running(Granted),
    Queued {
        number: Number,
        until: Timestamp,
        displaced: Option<Number>,
    },
    Refused(Rejection),
}

#[derive(Debug)]
pub struct Model {
    rules: Rules,
    /// In the order of arrival.
    jobs: Vec<Job>,
    pools: Vec<(UpstreamId, Pool)>,
    debits: Debits,
    wall: Wall,
    /// Users of delegating accounts, each with when it was last admitted.
    users: Vec<(AccountId, UserId, UnixTime)>,
    /// When expired users were last removed: never, since the account's first user.
    users_swept: Vec<(AccountId, UnixTime)>,
    /// Every displacement: when, and by whom.
    displacements: Vec<(Timestamp, Caller)>,
    stats: Stats,
    closing: bool,
    paused: bool,
    admission_stopped: bool,
    drained: Vec<(UpstreamId, ServerId)>,
    admitted: usize,
    events: u64,
}

impl Model {
    pub fn new(rules: Rules) -> Self {
        Self {
            jobs: Vec::new(),
            pools: rules
                .upstreams
                .entries()
                .map(|(id, pool)| (id, Pool::new(pool)))
                .collect(),
            debits: Debits::new(&rules.windows),
            wall: Wall::default(),
            users: Vec::new(),
            users_swept: Vec::new(),
            displacements: Vec::new(),
            stats: Stats::default(),
            closing: false,
            paused: false,
            admission_stopped: false,
            drained: Vec::new(),
            admitted: 0,
            events: 0,
            rules,
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    pub fn pools(&self) -> impl Iterator<Item = UpstreamId> + Clone + use<> {
        let ids: Vec<UpstreamId> = self.pools.iter().map(|(id, _)| *id).collect();
        ids.into_iter()
    }

    pub fn jobs_of(&self, caller: Caller) -> u32 {
        count(self.jobs.iter().filter(|job| job.counts_for(caller)))
    }

    /// Callers with a job in flight, and those for whom one counts.
    pub fn callers(&self) -> Vec<Caller> {
        let mut callers: Vec<Caller> = self.jobs.iter().flat_map(Job::counted).collect();
        callers.sort_unstable();
        callers.dedup();
        callers
    }

    pub fn windows(&self) -> impl Iterator<Item = WindowId> + Clone + use<> {
        let ids: Vec<WindowId> = self.rules.windows.ids().collect();
        ids.into_iter()
    }

    pub fn debits(&self) -> &Debits {
        &self.debits
    }

    pub fn uploading_of(&self, caller: Caller) -> u32 {
        let of_caller = |job: &&Job| job.is_uploading() && job.counts_for(caller);
        count(self.jobs.iter().filter(of_caller))
    }

    pub fn queued_of(&self, caller: Caller) -> u32 {
        let of_caller = |job: &&Job| job.is_queued() && job.counts_for(caller);
        count(self.jobs.iter().filter(of_caller))
    }

    pub fn queued(&self) -> u32 {
        count(self.jobs.iter().filter(|job| job.is_queued()))
    }

    pub fn lowest_queued(&self) -> Option<Priority> {
        self.jobs
            .iter()
            .filter(|job| job.is_queued())
            .map(|job| job.priority)
            .min()
    }

    /// Jobs that wait for a slot of the pool.
    fn in_line(&self, pool: UpstreamId) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(move |job| job.pool == pool && job.is_queued())
    }

    pub fn job(&self, number: Number) -> Option<&Job> {
        self.jobs.iter().find(|job| job.number == number)
    }

    fn job_mut(&mut self, number: Number) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.number == number)
    }
}

fn count<T>(them: impl Iterator<Item = T>) -> u32 {
    u32::try_from(them.count()).unwrap()
}
