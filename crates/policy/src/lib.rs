//! Every reason to say yes or no: state and events in, decisions out.
//!
//! A decision is a function of the rules, the events before it and the time that it is given, so a history can be
//! replayed and gives the same decisions (semantics §9.6).
//!
//! Absent on purpose: async, I/O, locks, clocks, randomness, logging and serde. `gate` brings the lock and the time.
//!
//! A job's way through the policy (semantics §6):
//!
//! ```text
//! enter ─┬─ Refusal
//!        ├─ Admission::Running ────────────────────────┐
//!        └─ Admission::Seated ─ ask_slot ─┬─ Grant ────┤
//!                  │                      └─ in line ──┤ (a Grant when somebody gives a slot back)
//!                  ├─ displaced by another's enter     │
//!                  ├─ expire, hang_up, shut_down       ├─ relocate ─ moving ─┐ (a Grant, the next there is)
//!                  │                                   │◄────────────────────┤
//!                  ▼                                   ▼                     │
//!                 out                 give_back_slot ─ end ◄────────── forgo ┘
//! ```

mod aggregation;
mod bucket_log;
pub mod caller;
mod clock;
mod concurrency;
mod delegated_users;
pub mod displacement;
mod event;
mod headroom;
pub mod ids;
pub mod jobs;
pub mod limits;
pub mod pool;
mod queue;
mod quota;
pub mod refusal;
mod reload;
pub mod rules;
mod shelves;
mod stats;
mod table;
pub mod time;
mod view;
mod wall_clock;

use std::sync::Arc;

use caller::Caller;
use concurrency::Concurrency;
use delegated_users::DelegatedUsers;
use displacement::Displacements;
pub use event::{
    Admission, AdmissionRequest, DebitNumber, Delegate, Displaced, End, Grant, Outcome, Own, Relocation,
    UnenforcedQuotas,
};
use headroom::parties;
use jobs::Jobs;
pub use jobs::{Job, JobId, State};
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
    /// Those of the rules, and those on which jobs are that the rules no longer have.
    pools: Table<UpstreamId, Pool>,
    concurrency: Concurrency,
    quotas: Quotas,
    users: DelegatedUsers,
    wall: WallClock,
    displacements: Displacements,
    tally: Stats,
    /// Until then networks may be counted by neighbourhood.
    crowded_until: UnixTime,
    closing: bool,
}

impl Policy {
    /// An idle door with all servers up.
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
            tally: Stats::default(),
            crowded_until: UnixTime::default(),
            closing: false,
            rules,
        }
    }

    /// Lets a job in, to a slot or a seat, or refuses it. All is checked before anything is taken, so a refusal takes
    /// nothing: quota (402), concurrency (402), then slot or seat (503), as semantics §2.4 orders them.
    ///
    /// # Errors
    /// The first reason not to, with its numbers.
    pub fn enter(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Result<Admission, Refusal> {
        let rules = Arc::clone(&self.rules);
        self.tally.arrived += 1;
        self.admit(ask, &rules, now).inspect_err(|_| self.tally.refused += 1)
    }

    fn admit(&mut self, ask: &AdmissionRequest, rules: &Rules, now: Timestamp) -> Result<Admission, Refusal> {
        let tier = rules.tier(ask.tier);
        if !self.pools.contains(ask.pool) {
            return Err(Refusal::UpstreamUnreachable);
        }
        if self.closing {
            return Err(Refusal::ShuttingDown {
                retry_after: self.retry_after(ask.pool, tier.priority),
            });
        }
        let wall = self.wall_clock(now);
        self.users_have_room(ask, wall)?;
        let overdrawn = self.quotas_have_room(ask, rules, now)?;
        for party in parties(ask, rules) {
            self.concurrency_has_room(&party)?;
        }
        // A body that still comes sits down, if it can without sending anybody away: a slot that would be idle is no reason
        // to refuse it, and the pace of §6 bounds what it can cost.
        let seat_is_free = self.queue.len() < self.rules.queue.length && ask.prefer_wait != Some(Span::ZERO);
        if (ask.ready || !seat_is_free)
            && let Some(server) = self.pools[ask.pool].free()
        {
            let grant = self.run(ask, tier, server, now, wall);
            return Ok(Admission::Running { grant, overdrawn });
        }
        self.seat(ask, tier, overdrawn, now, wall)
    }

    /// What every job that is let in takes, wherever it goes.
    fn acquire(&mut self, ask: &AdmissionRequest, tier: &Tier, state: State, now: Timestamp, wall: UnixTime) -> JobId {
        for caller in ask.caller.counted() {
            self.concurrency.take(caller, ask.cost);
        }
        if let Caller::User { of, user } = ask.caller {
            self.users.note(of, user, wall);
        }
        self.jobs.insert(job(ask, tier, state, now, wall))
    }

    /// What every job gives back that is out of the house, whatever else it held.
    fn release(&mut self, job: &Job) {
        for caller in job.caller.counted() {
            self.concurrency.give_back(caller, job.cost);
            self.quotas.let_go(&caller, job.admitted, job.cost);
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

    fn seat(
        &mut self,
        ask: &AdmissionRequest,
        tier: &Tier,
        overdrawn: UnenforcedQuotas,
        now: Timestamp,
        wall: UnixTime,
    ) -> Result<Admission, Refusal> {
        let who_goes = self.room_for(ask, tier, now)?;
        let longest = self.longest_wait(ask, tier)?;
        let displaced = who_goes.map(|index| self.displace(index, ask, tier, now));
        let state = if ask.ready { State::Waiting } else { State::Uploading };
        let job = self.acquire(ask, tier, state, now, wall);
        ask.caller
            .counted()
            .for_each(|caller| self.concurrency.enqueue(&caller));
        self.queue.enqueue(&mut self.jobs, place(job));
        Ok(Admission::Seated {
            job,
            admitted: wall,
            priority: tier.priority,
            until: now + longest,
            displaced,
            overdrawn,
        })
    }

    /// Whether there is a seat: a free one (`None`), or that of somebody of lower priority (semantics §3.2, §3.4).
    fn room_for(&mut self, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Result<Option<u32>, Refusal> {
        let seats = self.rules.queue.length;
        if self.queue.len() < seats {
            return Ok(None);
        }
        let lowest = self.queue.lowest();
        if let Some(lowest) = lowest
            && lowest < tier.priority
            && self.displacements.may(&ask.caller, tier.displacements_per_minute, now)
        {
            return Ok(self.queue.last(&self.jobs, lowest));
        }
        Err(Refusal::QueueFull {
            seats,
            admits_from: lowest.and_then(Priority::above),
            retry_after: self.retry_after(ask.pool, tier.priority),
        })
    }

    /// The least of the queue's, the tier's, the route's and the client's longest wait (semantics §3.9).
    fn longest_wait(&self, ask: &AdmissionRequest, tier: &Tier) -> Result<Span, Refusal> {
        let ours = [Some(self.rules.queue.max_wait), tier.max_wait, ask.max_wait];
        let longest = ours.into_iter().flatten().min().unwrap_or(Span::ZERO);
        let Some(asked) = ask.prefer_wait else {
            return Ok(longest);
        };
        let pool = &self.pools[ask.pool];
        let ahead = pool.moving.len() + self.queue.ahead_of(ask.pool, tier.priority, &ask.caller);
        let estimate = pool.estimate(tier.priority, ahead);
        let in_vain = ahead > 0 && pool.seen() >= SLOT_TIMES_MIN && estimate > asked;
        if in_vain || asked.is_zero() {
            let retry_after = self.retry_after(ask.pool, tier.priority);
            return Err(Refusal::WaitTooLong {
                asked,
                estimate,
                retry_after,
            });
        }
        Ok(longest.min(asked))
    }

    fn displace(&mut self, index: u32, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Displaced {
        let job = self.jobs.id(index);
        let lost = self.leave(index);
        self.displacements.note(ask.caller, now);
        self.tally.displaced += 1;
        let retry_after = self.retry_after(lost.pool, lost.priority);
        Displaced {
            job,
            tier: lost.tier,
            admitted: lost.admitted,
            refusal: Refusal::Displaced {
                by: tier.priority,
                retry_after,
            },
        }
    }

    /// The job's body has arrived far enough: it asks for a slot, and gets one if one is free. Otherwise it stands in
    /// line from now on. Nothing happens if the job has already asked, or has no seat any more.
    pub fn ask_slot(&mut self, job: JobId, now: Timestamp) -> Option<Grant> {
        if self.jobs.get(job)?.state != State::Uploading {
            return None;
        }
        self.queue.leave(&mut self.jobs, place(job));
        let waiting = self.jobs.at_mut(place(job));
        waiting.state = State::Waiting;
        let pool = waiting.pool;
        match self.pools[pool].free() {
            Some(server) => Some(self.grant(place(job), pool, server, now)),
            None => {
                self.queue.enqueue(&mut self.jobs, place(job));
                None
            }
        }
    }

    /// The job has waited its longest: it loses its seat. `None` if it has no seat any more, and then nothing happens.
    pub fn expire(&mut self, job: JobId, now: Timestamp) -> Option<Refusal> {
        let state = self.jobs.get(job)?.state;
        if !matches!(state, State::Uploading | State::Waiting) {
            return None;
        }
        let lost = self.leave(place(job));
        self.tally.waited_out += 1;
        Some(if state == State::Uploading {
            Refusal::RequestTimeout("the request's body did not arrive in time")
        } else {
            let retry_after = self.retry_after(lost.pool, lost.priority);
            Refusal::WaitedTooLong {
                waited: now.since(lost.entered),
                retry_after,
            }
        })
    }

    /// The job's client is gone while it has a seat: the seat is free. Whether it had one.
    pub fn hang_up(&mut self, job: JobId) -> bool {
        let seated = self
            .jobs
            .get(job)
            .is_some_and(|job| matches!(job.state, State::Uploading | State::Waiting));
        if seated {
            self.leave(place(job));
            self.tally.hung_up += 1;
        }
        seated
    }

    /// The upstream's answer has ended: the slot is free. The caller's concurrency is held until [`Self::end`].
    /// Gives the slot to the next in line, if there is one. Nothing happens if the job holds no slot.
    pub fn give_back_slot(&mut self, job: JobId, now: Timestamp) -> Option<Grant> {
        let running = self.jobs.get_mut(job)?;
        let State::Running { server, since } = running.state else {
            return None;
        };
        running.state = State::Ending;
        let pool = running.pool;
        self.pools[pool].vacate(server, Some(now.since(since)));
        self.next(pool, now)
    }

    /// The job is over: what it still holds is given back, and what it held of its caller's quotas becomes a debit if it has
    /// succeeded, in every window. Nothing happens if it has a seat or has ended before.
    pub fn end(&mut self, job: JobId, outcome: Outcome, now: Timestamp) -> Option<Grant> {
        self.end_as(job, outcome, DebitNumber::LAST, now)
    }

    /// The job is over and has succeeded, and its debit was written down under that number: as [`Self::end`], but in a window
    /// whose past is read back it counts only if it is not among what is read ([`Self::count_from`]).
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
            Outcome::Succeeded => &mut self.tally.succeeded,
            Outcome::Failed => &mut self.tally.failed,
            Outcome::Cancelled => &mut self.tally.cancelled,
        } += 1;
        next
    }

    /// The job was granted a slot, but its client was gone before it heard: as if it had hung up while waiting. The slot
    /// goes to the next in line. Nothing happens if the job holds no slot.
    pub fn decline(&mut self, job: JobId, now: Timestamp) -> Option<Grant> {
        let State::Running { server, .. } = self.jobs.get(job)?.state else {
            return None;
        };
        let gone = self.jobs.remove(job).expect("looked up above");
        self.pools[gone.pool].vacate(server, None);
        self.release(&gone);
        self.tally.hung_up += 1;
        self.next(gone.pool, now)
    }

    /// The job's server could not be reached: its slots don't count until it is back, and the job moves to another server
    /// that is up, at once or as soon as a slot is free (semantics §2.7). Nothing happens if the job holds no slot.
    ///
    /// Nobody else gets a slot by it: what the job leaves is a server that is down, and if another one had a free slot,
    /// nobody was waiting for it.
    pub fn relocate(&mut self, job: JobId, now: Timestamp) -> Relocation {
        let Some(running) = self.jobs.get_mut(job) else {
            return Relocation::Nowhere;
        };
        let State::Running { server: from, .. } = running.state else {
            return Relocation::Nowhere;
        };
        let pool = &mut self.pools[running.pool];
        pool.set_up(from, false);
        if let Some(to) = pool.free() {
            running.state = State::Running { server: to, since: now };
            pool.vacate(from, None);
            pool.occupy(to);
            Relocation::To(to)
        } else if pool.slots() > 0 {
            running.state = State::Moving { since: now };
            pool.vacate(from, None);
            pool.moving.push(&mut self.jobs, place(job));
            Relocation::Waits
        } else {
            Relocation::Nowhere
        }
    }

    /// The job doesn't want the slot that it waits for by moving, or that it was granted and has not heard of: the slot
    /// goes to the next in line. The caller's concurrency is held until [`Self::end`]. Nothing happens if the job neither
    /// moves nor holds a slot.
    pub fn forgo(&mut self, job: JobId, now: Timestamp) -> Option<Grant> {
        let of = self.jobs.get_mut(job)?;
        let (state, pool) = (of.state, of.pool);
        match state {
            State::Moving { .. } => {
                of.state = State::Ending;
                self.pools[pool].moving.remove(&mut self.jobs, place(job));
                None
            }
            State::Running { server, .. } => {
                of.state = State::Ending;
                self.pools[pool].vacate(server, None);
                self.next(pool, now)
            }
            State::Uploading | State::Waiting | State::Ending => None,
        }
    }

    /// The server is gone: its slots don't count until it is back. What runs on it goes on. Nothing happens if the rules no longer
    /// have it.
    pub fn server_down(&mut self, pool: UpstreamId, server: ServerId) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.set_up(server, false);
        }
    }

    /// The server is back: its slots go to those who move, then to those who wait. Nothing happens if the rules no longer have it.
    pub fn server_up(&mut self, pool: UpstreamId, server: ServerId, now: Timestamp) -> Vec<Grant> {
        match self.pools.get_mut(pool) {
            Some(of) => of.set_up(server, true),
            None => return Vec::new(),
        }
        self.fill(pool, now)
    }

    /// No more jobs are let in, and those who wait are turned away. Running ones go on, and so do those that move.
    pub fn shut_down(&mut self) -> Vec<Displaced> {
        self.closing = true;
        let waiting: Vec<JobId> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.state, State::Uploading | State::Waiting))
            .map(|(id, _)| id)
            .collect();
        let turn_away = |job: JobId| {
            let lost = self.leave(place(job));
            self.tally.shut_down += 1;
            let retry_after = self.retry_after(lost.pool, lost.priority);
            Displaced {
                job,
                tier: lost.tier,
                admitted: lost.admitted,
                refusal: Refusal::ShuttingDown { retry_after },
            }
        };
        waiting.into_iter().map(turn_away).collect()
    }

    /// Hands free slots to those who wait, as far as both go.
    fn fill(&mut self, pool: UpstreamId, now: Timestamp) -> Vec<Grant> {
        std::iter::from_fn(|| self.next(pool, now)).collect()
    }

    /// Hands a free slot to the first that moves, otherwise to the next in the order of service (semantics §3.5–7).
    fn next(&mut self, pool: UpstreamId, now: Timestamp) -> Option<Grant> {
        let server = self.pools[pool].free()?;
        if let Some(index) = self.pools[pool].moving.head() {
            return Some(self.move_in(index, pool, server, now));
        }
        let taken = self.pools[pool].from_queue + 1;
        let lifeline = self
            .rules
            .queue
            .lifeline
            .is_some_and(|every| taken.is_multiple_of(u64::from(every)));
        let index = if lifeline {
            self.queue.take_oldest(&mut self.jobs, pool)?
        } else {
            self.queue.take_next(&mut self.jobs, pool)?
        };
        self.pools[pool].from_queue = taken;
        Some(self.grant(index, pool, server, now))
    }

    /// The job, out of its seat, gets the slot.
    fn grant(&mut self, index: u32, pool: UpstreamId, server: ServerId, now: Timestamp) -> Grant {
        let job = self.jobs.at_mut(index);
        job.state = State::Running { server, since: now };
        let (caller, admitted, waited, priority) = (job.caller, job.admitted, now.since(job.entered), job.priority);
        caller.counted().for_each(|caller| self.concurrency.stand(&caller));
        self.pools[pool].place(server, priority);
        Grant {
            job: self.jobs.id(index),
            admitted,
            server,
            waited,
            priority,
        }
    }

    /// The job that moves gets the slot. It has had one before, so it counts in no share and not for the lifeline again.
    fn move_in(&mut self, index: u32, pool: UpstreamId, server: ServerId, now: Timestamp) -> Grant {
        let of = &mut self.pools[pool];
        of.moving.remove(&mut self.jobs, index);
        of.occupy(server);
        let id = self.jobs.id(index);
        let job = self.jobs.at_mut(index);
        let before = std::mem::replace(&mut job.state, State::Running { server, since: now });
        let State::Moving { since } = before else {
            unreachable!("only jobs that move are in that list")
        };
        Grant {
            job: id,
            admitted: job.admitted,
            server,
            waited: now.since(since),
            priority: job.priority,
        }
    }

    /// Out of its seat and out of the house: everything that a waiting job holds is given back.
    fn leave(&mut self, index: u32) -> Job {
        self.queue.leave(&mut self.jobs, index);
        let job = self.jobs.remove(self.jobs.id(index)).expect("it was in the queue");
        job.caller.counted().for_each(|caller| self.concurrency.stand(&caller));
        self.release(&job);
        job
    }

    /// The estimate for a newcomer of that priority, as `Retry-After` gives it (semantics §3.10). Spread by the number
    /// of events so far, which no two refusals share.
    fn retry_after(&self, pool: UpstreamId, priority: Priority) -> Span {
        let estimate = self.estimate(pool, priority);
        retry_after(estimate, self.tally.events())
    }

    /// How long a newcomer of that priority would wait (semantics §3.8).
    pub fn estimate(&self, pool: UpstreamId, priority: Priority) -> Span {
        let of = &self.pools[pool];
        of.estimate(priority, of.moving.len() + self.queue.ahead(pool, priority))
    }

    /// A debit of the past, read back: it counts in that window, if it lies in it still. One from the future counts as of now.
    pub fn remember(&mut self, window: WindowId, caller: Caller, admitted: UnixTime, units: u64, now: Timestamp) {
        let wall = self.wall_clock(now);
        self.quotas.remember(window, caller, admitted, units, wall);
        if let Caller::User { of, user } = caller {
            self.users.note(of, user, admitted.min(wall));
        }
    }

    /// Forgets some of those who have nothing left in a window. To be called every second or so: each call looks at one of 256
    /// parts.
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
    u32::try_from(job.index()).expect("a place is a u32")
}
