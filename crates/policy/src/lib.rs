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
//!        ├─ Admission::Running ────────────────────────┐
//!        └─ Admission::Queued ─ ask_slot ─┬─ Grant ────┤
//!                  │                      └─ in line ──┤ (a Grant when a slot is given back)
//!                  ├─ displaced by another job         │
//!                  ├─ expire, hang_up, cancel,         ├─ relocate ─ moving ─┐ (a Grant, the next there is)
//!                  │  shut_down                        │◄────────────────────┤
//!                  ▼                                   ▼                     │
//!                 out                 give_back_slot ─ end ◄────────── forgo ┘
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
    UnenforcedQuotas,
};
use headroom::quota_subjects;
use jobs::Jobs;
pub use jobs::{Job, JobId, NoJobId, State};
pub use outlook::Outlook;
use outlook::Room;
pub use pool::ServerState;
use pool::{Pool, SLOT_TIMES_MIN, retry_after};
use queue::Queue;
use quota::Quotas;
pub use quota::Usage;
use refusal::Refusal;
use rules::{Priority, Rules, ServerId, Tier, UpstreamId, WindowId};
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
    /// # Errors
    /// The first reason to refuse, with its numbers.
    pub fn enter(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Result<Admission, Refusal> {
        let rules = Arc::clone(&self.rules);
        self.stats.arrived += 1;
        self.admit(ask, &rules, now).inspect_err(|_| self.stats.refused += 1)
    }

    fn admit(&mut self, ask: &AdmissionRequest, rules: &Rules, now: Timestamp) -> Result<Admission, Refusal> {
        let tier = rules.tier(ask.tier);
        if !self.pools.contains(ask.pool) {
            return Err(Refusal::UpstreamUnreachable { retry_after: None });
        }
        if self.closing {
            return Err(self.shutting_down(ask.pool, tier.priority));
        }
        let wall = self.wall_clock(now);
        if self.admission_stopped {
            return Err(Refusal::AdmissionStopped {
                retry_after: self.retry_after(ask.pool, tier.priority, now),
            });
        }
        self.users_have_room(ask, wall)?;
        let overdrawn = self.quotas_have_room(ask, rules, now)?;
        for subject in quota_subjects(ask, rules) {
            self.concurrency_has_room(&subject)?;
        }
        // A job whose body is still arriving is queued if it displaces nothing by that. If it can't be, an idle slot is better
        // used than refused, and the minimum pace of §6 bounds the cost.
        let can_queue = self.queue.len() < self.rules.queue.length && ask.prefer_wait != Some(Span::ZERO);
        if (ask.ready || !can_queue)
            && let Some(server) = self.dispatchable(ask.pool)
        {
            let grant = self.run(ask, tier, server, now, wall);
            return Ok(Admission::Running { grant, overdrawn });
        }
        self.enqueue(ask, tier, overdrawn, now, wall)
    }

    /// Takes what every admitted job holds.
    fn acquire(&mut self, ask: &AdmissionRequest, tier: &Tier, state: State, now: Timestamp, wall: UnixTime) -> JobId {
        for caller in ask.caller.counted() {
            self.concurrency.acquire(caller, ask.cost);
        }
        if let Caller::User { of, user } = ask.caller {
            self.users.note(of, user, wall);
        }
        self.jobs.insert(job(ask, tier, state, now, wall))
    }

    /// Gives back what every job holds until it ends, besides its slot or queue place.
    fn release(&mut self, job: &Job) {
        for caller in job.caller.counted() {
            self.concurrency.release(caller, job.cost);
            self.quotas.release(&caller, job.admitted, job.cost);
        }
    }

    fn run(&mut self, ask: &AdmissionRequest, tier: &Tier, server: ServerId, now: Timestamp, wall: UnixTime) -> Grant {
        let job = self.acquire(ask, tier, State::Running { server, since: now }, now, wall);
        self.pools[ask.pool].place(server, tier.priority);
        Grant {
            job,
            admitted: wall,
            server,
            waited: Span::ZERO,
            priority: tier.priority,
        }
    }

    fn enqueue(
        &mut self,
        ask: &AdmissionRequest,
        tier: &Tier,
        overdrawn: UnenforcedQuotas,
        now: Timestamp,
        wall: UnixTime,
    ) -> Result<Admission, Refusal> {
        let victim = self.queue_place(ask, tier, now)?;
        let (longest, estimate) = self.longest_wait(ask, tier, now)?;
        let displaced = victim.map(|index| self.displace(index, ask, tier, now));
        let state = if ask.ready { State::Waiting } else { State::Uploading };
        let job = self.acquire(ask, tier, state, now, wall);
        ask.caller
            .counted()
            .for_each(|caller| self.concurrency.enqueue(&caller));
        self.queue.enqueue(&mut self.jobs, place(job));
        Ok(Admission::Queued {
            job,
            admitted: wall,
            priority: tier.priority,
            until: now + longest,
            estimate,
            displaced,
            overdrawn,
        })
    }

    /// Whether the queue has a place: a free one (`None`), or that of a job of lower priority (rules §3.2, §3.4).
    fn queue_place(&mut self, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Result<Option<u32>, Refusal> {
        let room = self.room(tier.priority);
        let limit = tier.displacements_per_minute;
        match room {
            Room::Free => Ok(None),
            Room::Below(lowest) if self.displacements.may(&ask.caller, limit, now) => {
                Ok(self.queue.last(&self.jobs, lowest))
            }
            Room::Below(lowest) => Err(self.queue_full(ask, tier, Some(lowest), now)),
            Room::Full(lowest) => Err(self.queue_full(ask, tier, lowest, now)),
        }
    }

    fn queue_full(&self, ask: &AdmissionRequest, tier: &Tier, lowest: Option<Priority>, now: Timestamp) -> Refusal {
        Refusal::QueueFull {
            capacity: self.rules.queue.length,
            admits_from: lowest.and_then(Priority::above),
            retry_after: self.retry_after(ask.pool, tier.priority, now),
        }
    }

    /// The shortest of the longest waits of queue, tier, route and client (rules §3.9), and the estimated wait.
    fn longest_wait(&self, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Result<(Span, Span), Refusal> {
        let ours = [Some(self.rules.queue.max_wait), tier.max_wait, ask.max_wait];
        let longest = ours.into_iter().flatten().min().unwrap_or(Span::ZERO);
        let Some(asked) = ask.prefer_wait else {
            return Ok((longest, self.estimate(ask.pool, tier.priority)));
        };
        let pool = &self.pools[ask.pool];
        let ahead = pool.moving.len() + self.queue.ahead_of(ask.pool, tier.priority, &ask.caller);
        let estimate = pool.estimate(tier.priority, ahead);
        let in_vain = ahead > 0 && pool.seen() >= SLOT_TIMES_MIN && estimate > asked;
        if in_vain || asked.is_zero() {
            let retry_after = self.retry_after(ask.pool, tier.priority, now);
            return Err(Refusal::WaitTooLong {
                asked,
                estimate,
                retry_after,
            });
        }
        Ok((longest.min(asked), estimate))
    }

    fn displace(&mut self, index: u32, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Displaced {
        let job = self.jobs.id(index);
        let lost = self.leave(index);
        self.displacements.note(ask.caller, now);
        self.stats.displaced += 1;
        let retry_after = self.retry_after(lost.pool, lost.priority, now);
        Displaced {
            job,
            tier: lost.tier,
            priority: lost.priority,
            admitted: lost.admitted,
            refusal: Refusal::Displaced {
                by: tier.priority,
                retry_after,
            },
        }
    }

    /// The job's body has arrived far enough: it asks for a slot, and gets one if one is free. Otherwise it joins the line.
    /// Nothing happens if the job has already asked or is no longer queued.
    pub fn ask_slot(&mut self, job: JobId, now: Timestamp) -> Option<Grant> {
        if self.jobs.get(job)?.state != State::Uploading {
            return None;
        }
        self.queue.leave(&mut self.jobs, place(job));
        let waiting = self.jobs.at_mut(place(job));
        waiting.state = State::Waiting;
        let pool = waiting.pool;
        match self.dispatchable(pool) {
            Some(server) => Some(self.grant(place(job), pool, server, now)),
            None => {
                self.queue.enqueue(&mut self.jobs, place(job));
                None
            }
        }
    }

    /// The job's longest wait has ended: it leaves the queue. `None`, without effect, if it is no longer queued.
    pub fn expire(&mut self, job: JobId, now: Timestamp) -> Option<Refusal> {
        let state = self.jobs.get(job)?.state;
        if !matches!(state, State::Uploading | State::Waiting) {
            return None;
        }
        let lost = self.leave(place(job));
        self.stats.waited_out += 1;
        Some(if state == State::Uploading {
            Refusal::RequestTimeout("the request's body did not arrive in time")
        } else {
            let retry_after = self.retry_after(lost.pool, lost.priority, now);
            Refusal::WaitedTooLong {
                waited: now.since(lost.entered),
                retry_after,
            }
        })
    }

    /// The client of a queued job is gone: its queue place is freed. Returns whether it was queued.
    pub fn hang_up(&mut self, job: JobId) -> bool {
        let queued = self
            .jobs
            .get(job)
            .is_some_and(|job| matches!(job.state, State::Uploading | State::Waiting));
        if queued {
            self.leave(place(job));
            self.stats.hung_up += 1;
        }
        queued
    }

    /// The job has ended: releases what it still holds. On success, what it held of its caller's quotas becomes a debit in
    /// every window. Nothing happens if it is queued or has ended before.
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

    /// Ends admission and refuses queued jobs. Running and moving jobs go on.
    pub fn shut_down(&mut self) -> Vec<Displaced> {
        self.closing = true;
        let waiting: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.state, State::Uploading | State::Waiting))
            .map(|(id, _)| id)
            .collect();
        let refuse = |job: JobId| {
            let lost = self.leave(place(job));
            self.stats.shut_down += 1;
            Displaced {
                job,
                tier: lost.tier,
                priority: lost.priority,
                admitted: lost.admitted,
                refusal: self.shutting_down(lost.pool, lost.priority),
            }
        };
        waiting.into_iter().map(refuse).collect()
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

fn job(ask: &AdmissionRequest, tier: &Tier, state: State, now: Timestamp, wall: UnixTime) -> Job {
    Job {
        caller: ask.caller,
        from: ask.from,
        tier: ask.tier,
        priority: tier.priority,
        pool: ask.pool,
        entered: now,
        admitted: wall,
        cost: ask.cost,
        state,
        ticket: 0,
        prev: None,
        next: None,
    }
}

fn place(job: JobId) -> u32 {
    u32::try_from(job.index()).expect("an index is a u32")
}
