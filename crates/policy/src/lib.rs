//! Admission decisions as a pure state machine: state and events in, decisions out.
//!
//! A decision is a function of the rules, the events before it and the time passed in, so a history can be replayed and gives
//! the same decisions (rules §9.6).
//!
//! No async, I/O, locks, clocks, randomness, logging or serde enters this crate. `gate` adds the lock and the time.
//!
//! A job's path through the policy (rules §6):
//!
//! ```text
//! enter ─┬─ Refusal
//!        ├─ Admission::Uploading ─ arrive ─┬─ Refusal
//!        │            │                    ├─ Admission::Running ─┐
//!        │            │                    └─ Admission::Queued ─┐│
//!        │            └─ end_upload, shut_down                   ││
//!        │                                                       ││
//!        ├─ Admission::Queued ◄──────────────────────────────────┘│
//!        │     │ ├─ displaced by another job                      │
//!        │     │ └─ expire, hang_up, cancel, shut_down            │
//!        │     └─ Grant, when a slot is given back ──┐            │
//!        │                                           ▼            │
//!        └─ Admission::Running ──────────────────────┬◄───────────┘
//!                                                    ├─ relocate ─ moving ─┐ (a Grant, the next there is)
//!                                                    │◄────────────────────┤
//!                                                    ▼                     │
//!                                   give_back_slot ─ end ◄───────── forgo ─┘
//! ```

mod aggregation;
mod bucket_log;
pub mod caller;
mod clock;
mod concurrency;
mod controls;
mod delegated_users;
pub mod displacement;
mod event;
mod headroom;
pub mod ids;
pub mod jobs;
pub mod limits;
mod outlook;
mod placement;
pub mod pool;
mod queue;
mod quota;
pub mod refusal;
mod reload;
pub mod rules;
mod shelves;
mod slots;
mod stats;
mod table;
pub mod time;
mod uploads;
mod view;
mod wall_clock;

use std::collections::BTreeSet;
use std::sync::Arc;

use caller::Caller;
use concurrency::Concurrency;
use delegated_users::DelegatedUsers;
use displacement::Displacements;
pub use event::{
    AccountOverrides, Admission, AdmissionRequest, DebitNumber, Delegate, Displaced, End, Grant, Outcome, Relocation,
    RequestBody, UnenforcedQuotas, WaitLimits,
};
use headroom::quota_subjects;
use jobs::Jobs;
pub use jobs::{Job, JobId, NoJobId, State};
pub use outlook::Outlook;
use placement::Claim;
pub use pool::ServerState;
use pool::{Pool, retry_after};
use queue::Queue;
use quota::Quotas;
pub use quota::Usage;
use refusal::Refusal;
use rules::{Priority, Rules, ServerId, UpstreamId, WindowId};
pub use stats::Stats;
pub use table::{Id, Table};
use time::{Span, Timestamp, UnixTime};
use wall_clock::WallClock;
pub use wall_clock::{ClockStep, STEP_MIN};

/// The policy: all state that decisions depend on.
#[derive(Debug)]
pub struct Policy {
    rules: Arc<Rules>,
    jobs: Jobs,
    queue: Queue,
    /// The pools of the rules, and removed ones that still have jobs.
    pools: Table<UpstreamId, Pool>,
    concurrency: Concurrency,
    quotas: Quotas,
    users: DelegatedUsers,
    wall: WallClock,
    displacements: Displacements,
    stats: Stats,
    /// Until then networks may be counted by prefix.
    aggregating_until: UnixTime,
    closing: bool,
    /// Whether slots are granted to jobs that move only.
    paused: bool,
    /// Whether new jobs are refused, though the server isn't closing.
    admission_stopped: bool,
    /// Servers that get no jobs until they are taken back, whether the rules have them or not.
    drained: BTreeSet<(UpstreamId, ServerId)>,
}

impl Policy {
    /// A policy without jobs, with all servers up.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self {
            jobs: Jobs::default(),
            queue: Queue::new(rules.queue.within_tier, rules.upstreams.ids()),
            pools: rules.upstreams.map(|_, pool| Pool::new(&pool.servers)),
            concurrency: Concurrency::default(),
            quotas: Quotas::new(&rules.windows),
            users: DelegatedUsers::default(),
            wall: WallClock::default(),
            displacements: Displacements::default(),
            stats: Stats::default(),
            aggregating_until: UnixTime::default(),
            closing: false,
            paused: false,
            admission_stopped: false,
            drained: BTreeSet::new(),
            rules,
        }
    }

    /// Admits a job, to a slot or to the queue, or refuses it. Everything is checked before anything is taken, so a refusal
    /// takes nothing: quota (402), concurrency (402), then slot or queue place (503), in the order of rules §2.4.
    ///
    /// A job whose body still arrives is refused for the same reasons, and takes neither slot nor queue place if it is not.
    ///
    /// # Errors
    /// The first reason to refuse, with its numbers.
    pub fn enter(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Result<Admission, Refusal> {
        let rules = Arc::clone(&self.rules);
        self.stats.arrived += 1;
        self.admit(ask, &rules, now).inspect_err(|_| self.stats.refused += 1)
    }

    fn admit(&mut self, ask: &AdmissionRequest, rules: &Rules, now: Timestamp) -> Result<Admission, Refusal> {
        if !self.pools.contains(ask.pool) {
            return Err(Refusal::UpstreamUnreachable { retry_after: None });
        }
        let claim = Claim {
            caller: ask.caller,
            pool: ask.pool,
            tier: rules.tier(ask.tier),
            waits: ask.waits,
        };
        let wall = self.wall_clock(now);
        self.admits(ask.pool, claim.tier.priority, now)?;
        self.users_have_room(ask, wall)?;
        let overdrawn = self.quotas_have_room(ask, rules, now)?;
        for subject in quota_subjects(ask, rules) {
            self.concurrency_has_room(&subject)?;
        }
        let found = self.find_place(&claim, now)?;
        let job = self.acquire(ask, claim.tier.priority, now, wall);
        if ask.body == RequestBody::Complete {
            return Ok(self.take_place(job, &claim, found, overdrawn, now));
        }
        ask.caller
            .counted()
            .for_each(|caller| self.concurrency.begin_upload(&caller));
        Ok(Admission::Uploading {
            job,
            admitted: wall,
            priority: claim.tier.priority,
            overdrawn,
        })
    }

    /// Whether jobs are admitted at all.
    fn admits(&self, pool: UpstreamId, priority: Priority, now: Timestamp) -> Result<(), Refusal> {
        if self.closing {
            return Err(self.shutting_down(pool, priority));
        }
        if self.admission_stopped {
            return Err(Refusal::AdmissionStopped {
                retry_after: self.retry_after(pool, priority, now),
            });
        }
        Ok(())
    }

    /// Takes what every admitted job holds.
    fn acquire(&mut self, ask: &AdmissionRequest, priority: Priority, now: Timestamp, wall: UnixTime) -> JobId {
        for caller in ask.caller.counted() {
            self.concurrency.acquire(caller, ask.cost);
        }
        if let Caller::User { of, user } = ask.caller {
            self.users.note(of, user, wall);
        }
        self.jobs.insert(Job {
            caller: ask.caller,
            from: ask.from,
            tier: ask.tier,
            priority,
            pool: ask.pool,
            entered: now,
            admitted: wall,
            cost: ask.cost,
            state: State::Uploading,
            ticket: 0,
            prev: None,
            next: None,
        })
    }

    /// Gives back what every job holds until it ends, besides its slot or queue place.
    fn release(&mut self, job: &Job) {
        for caller in job.caller.counted() {
            self.concurrency.release(caller, job.cost);
            self.quotas.release(&caller, job.admitted, job.cost);
        }
    }

    /// The job's longest wait has ended: it leaves the queue. `None`, without effect, if it is no longer queued.
    pub fn expire(&mut self, job: JobId, now: Timestamp) -> Option<Refusal> {
        if !self.is_queued(job) {
            return None;
        }
        let lost = self.leave(place(job));
        self.stats.waited_out += 1;
        Some(Refusal::WaitedTooLong {
            waited: now.since(lost.entered),
            retry_after: self.retry_after(lost.pool, lost.priority, now),
        })
    }

    /// The client of a queued job is gone: its queue place is freed. Returns whether it was queued.
    pub fn hang_up(&mut self, job: JobId) -> bool {
        let queued = self.is_queued(job);
        if queued {
            self.leave(place(job));
            self.stats.hung_up += 1;
        }
        queued
    }

    /// The job has ended: releases what it still holds. On success, what it held of its caller's quotas becomes a debit in
    /// every window. Nothing happens if it is uploading or queued, or has ended before.
    pub fn end(&mut self, job: JobId, outcome: Outcome, now: Timestamp) -> Option<Grant> {
        self.end_as(job, outcome, DebitNumber::LAST, now)
    }

    /// The job has succeeded and its debit was written under that number: as [`Self::end`], but a window that is being read
    /// back counts it only if it is not among what is read ([`Self::count_from`]).
    pub fn succeed(&mut self, job: JobId, debit: DebitNumber, now: Timestamp) -> Option<Grant> {
        self.end_as(job, Outcome::Succeeded, debit, now)
    }

    fn end_as(&mut self, job: JobId, outcome: Outcome, debit: DebitNumber, now: Timestamp) -> Option<Grant> {
        let next = match self.jobs.get(job)?.state {
            State::Uploading | State::Waiting => return None,
            State::Running { .. } => self.give_back_slot(job, now),
            State::Moving { .. } => self.forgo(job, now),
            State::Ending => None,
        };
        let ended = self.jobs.remove(job).expect("looked up above");
        self.release(&ended);
        if outcome == Outcome::Succeeded && ended.cost > 0 {
            for caller in ended.caller.counted() {
                self.quotas.debit(caller, ended.admitted, ended.cost, debit);
            }
        }
        *match outcome {
            Outcome::Succeeded => &mut self.stats.succeeded,
            Outcome::Failed => &mut self.stats.failed,
            Outcome::Cancelled => &mut self.stats.cancelled,
        } += 1;
        next
    }

    /// The job was granted a slot, but its client left before it was notified: counts as if the client had hung up while
    /// queued. The slot goes to the next in line. Nothing happens if the job holds no slot.
    pub fn decline(&mut self, job: JobId, now: Timestamp) -> Option<Grant> {
        let State::Running { server, .. } = self.jobs.get(job)?.state else {
            return None;
        };
        let gone = self.jobs.remove(job).expect("looked up above");
        self.pools[gone.pool].vacate(server, None);
        self.release(&gone);
        self.stats.hung_up += 1;
        self.next(gone.pool, now)
    }

    /// Ends admission and refuses uploading and queued jobs. Running and moving jobs go on.
    pub fn shut_down(&mut self) -> Vec<Displaced> {
        self.closing = true;
        let of_state = |state| {
            let jobs = self.jobs.iter().filter(move |(_, job)| job.state == state);
            jobs.map(|(id, _)| id).collect::<Vec<JobId>>()
        };
        let (uploading, queued) = (of_state(State::Uploading), of_state(State::Waiting));
        let mut refused = Vec::with_capacity(uploading.len() + queued.len());
        for job in uploading {
            let lost = self.discard_upload(job);
            self.stats.upload_ended += 1;
            refused.push(self.shut_out(job, &lost));
        }
        for job in queued {
            let lost = self.leave(place(job));
            self.stats.shut_down += 1;
            refused.push(self.shut_out(job, &lost));
        }
        refused
    }

    fn shut_out(&self, job: JobId, lost: &Job) -> Displaced {
        Displaced {
            job,
            tier: lost.tier,
            priority: lost.priority,
            admitted: lost.admitted,
            refusal: self.shutting_down(lost.pool, lost.priority),
        }
    }

    fn is_queued(&self, job: JobId) -> bool {
        self.jobs.get(job).is_some_and(|job| job.state == State::Waiting)
    }

    /// Removes a queued job and releases everything it holds.
    fn leave(&mut self, index: u32) -> Job {
        self.queue.leave(&mut self.jobs, index);
        let job = self
            .jobs
            .remove(self.jobs.id(index))
            .expect("queued jobs are in the table");
        job.caller
            .counted()
            .for_each(|caller| self.concurrency.dequeue(&caller));
        self.release(&job);
        job
    }

    /// The estimate for a new job of that priority as `Retry-After` (rules §3.10); while no server is up, after the time until
    /// one is probed. Spread by the number of events so far, which differs for every refusal.
    fn retry_after(&self, pool: UpstreamId, priority: Priority, now: Timestamp) -> Span {
        let probe = self.pools[pool].next_probe();
        let down = probe.map_or(Span::ZERO, |at| at.since(now));
        let estimate = Span::from_nanos(self.estimate(pool, priority).as_nanos().saturating_add(down.as_nanos()));
        retry_after(estimate, self.stats.events())
    }

    /// The refusal of a job of that priority at shutdown. When servers are probed is the next process's own matter.
    fn shutting_down(&self, pool: UpstreamId, priority: Priority) -> Refusal {
        Refusal::ShuttingDown {
            retry_after: self.estimated_retry_after(pool, priority),
        }
    }

    /// The estimate as `Retry-After`, whenever servers are probed.
    fn estimated_retry_after(&self, pool: UpstreamId, priority: Priority) -> Span {
        retry_after(self.estimate(pool, priority), self.stats.events())
    }

    /// How long a new job of that priority would wait (rules §3.8).
    pub fn estimate(&self, pool: UpstreamId, priority: Priority) -> Span {
        let of = &self.pools[pool];
        of.estimate(priority, of.moving.len() + self.queue.ahead(pool, priority))
    }

    /// Counts a past debit in that window, if it still lies in it. One from the future counts as of now.
    pub fn remember(&mut self, window: WindowId, caller: Caller, admitted: UnixTime, units: u64, now: Timestamp) {
        let wall = self.wall_clock(now);
        self.quotas.remember(window, caller, admitted, units, wall);
        if let Caller::User { of, user } = caller {
            self.users.note(of, user, admitted.min(wall));
        }
    }

    /// Drops some callers without usage. Call it about every second: each call looks at one of 256 parts.
    pub fn sweep(&mut self, now: Timestamp) {
        let wall = self.wall_clock(now);
        self.quotas.sweep(wall);
    }
}

fn place(job: JobId) -> u32 {
    u32::try_from(job.index()).expect("an index is a u32")
}
