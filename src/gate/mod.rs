//! Where state changes: takes the lock and one reading of the clock, asks the policy, hands out a [`Permit`].
//!
//! Invariant: what a job holds is held by exactly one value, a [`QueuedJob`] while it has a seat, a [`Permit`] once it has a slot,
//! a [`Relocating`] between two slots, and a [`Committing`] while its success is written down. Dropping any of them gives
//! everything back (save a debit that has become durable) and hands what is free to the next in line. So nobody can forget to,
//! a grant to a client who has just hung up falls to the next, and no slot is idle while a job that may use it waits.
//!
//! Invariant: nobody is woken under the lock.
//!
//! Absent on purpose: reasons to say yes or no (`policy`), timers (whoever waits brings its own), HTTP.

mod backfill;
mod committing;
mod generation;
mod limiter;
mod permit;
mod queued_job;
mod relocating;
mod semaphore;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use tracing::warn;

pub use backfill::{Backfill, Backfilled};
pub use committing::Committing;
pub use generation::{CLOCK_STEP_MAX_DEFAULT, Generation, upstreams};
pub use limiter::{Decided, Limiter};
pub use permit::{Permit, Relocated};
pub use queued_job::QueuedJob;
pub use relocating::Relocating;
pub use semaphore::{ResizableSemaphore, SemaphorePermit};
use state::GateState;

use crate::clock::Clock;
use crate::policy::caller::{Caller, Network, NetworkId, Whereabouts};
use crate::policy::refusal::Refusal;
use crate::policy::rules::{Priority, Rules, ServerId, TierId, UpstreamId, WindowId};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::policy::{
    Admission, AdmissionRequest, ClockStep, End, Grant, Policy, STEP_MIN, State, Stats, UnenforcedQuotas, Usage,
};
use crate::store::{Ledger, Record};
use crate::sync::Mutex;

/// The hall and its door.
#[derive(Debug)]
pub struct Gate {
    /// Whoever needs a shard's lock of the request limits too, which is a reload only, takes that one first ([`Limiter::reload`]).
    state: Mutex<GateState>,
    clock: Clock,
    ledger: Arc<dyn Ledger>,
    /// Whether networks may have to be counted by neighbourhood, as of the last second.
    crowded: AtomicBool,
    /// How often the wall clock was followed back. Counted under the lock.
    corrections: AtomicU64,
}

/// Other rules hold than those by which it was asked. Nothing was taken nor charged. The configuration that has those rules is in
/// force, and whoever asks again does so by that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

/// What a reload of the gate leads to.
#[derive(Debug)]
pub struct Reloaded {
    /// The windows that are new and are to be filled, if there are any.
    pub filling: Option<Backfill>,
    /// Those who have got a slot by it. To be dropped when no lock is held.
    pub woken: Woken,
}

/// Tasks that are woken when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it wakes them: not under a lock"]
pub struct Woken(Vec<Waker>);

impl Drop for Woken {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// How a job was let in.
#[derive(Debug)]
pub enum Entered {
    /// With a slot.
    Running(Permit),
    /// With a seat.
    Seated(QueuedJob),
}

impl Entered {
    /// Quotas that would have refused the job, were they enforced.
    pub fn overdrawn(&self) -> &UnenforcedQuotas {
        match self {
            Self::Running(pass) => pass.overdrawn(),
            Self::Seated(waiting) => waiting.overdrawn(),
        }
    }
}

impl Gate {
    /// A door with that policy, which has the rules of that generation, and which writes down in that ledger how jobs end.
    pub fn new(policy: Policy, generation: Arc<Generation>, clock: Clock, ledger: Arc<dyn Ledger>) -> Arc<Self> {
        debug_assert!(Arc::ptr_eq(policy.rules(), &generation.rules), "a policy of its rules");
        Arc::new(Self {
            state: Mutex::new(GateState::new(policy, generation)),
            clock,
            ledger,
            crowded: AtomicBool::new(false),
            corrections: AtomicU64::new(0),
        })
    }

    /// Lets a metered request in, or refuses it, which takes nothing (semantics §2.4–5). What it asks was made out by that
    /// generation.
    ///
    /// # Errors
    /// That generation isn't the present one.
    pub fn enter(
        self: &Arc<Self>,
        by: &Arc<Generation>,
        ask: &AdmissionRequest,
    ) -> Result<Result<Entered, Refusal>, Stale> {
        if !self.ledger.is_available() {
            return Ok(Err(Refusal::JournalUnavailable));
        }
        let (admission, woken, terms) = {
            let mut state = self.state.lock();
            if !Arc::ptr_eq(by, &state.generation) {
                return Err(Stale);
            }
            let mut admission = match state.policy.enter(ask, self.clock.now()) {
                Ok(admission) => admission,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let mut woken = None;
            if let Admission::Seated { job, displaced, .. } = &mut admission {
                state.expect(*job);
                woken = displaced.take().and_then(|out| state.tell_displaced(out));
            }
            let (caller, tier, pool, cost) = (ask.caller, ask.tier, ask.pool, ask.cost);
            let corrections = self.corrections.load(Ordering::Relaxed);
            let terms = move |admitted, overdrawn| Terms {
                generation: Arc::clone(by),
                caller,
                tier,
                pool,
                admitted,
                corrections,
                cost,
                overdrawn,
            };
            (admission, woken, terms)
        };
        wake(woken);
        Ok(Ok(match admission {
            Admission::Running { grant, overdrawn } => {
                Entered::Running(self.pass(grant, terms(grant.admitted, overdrawn)))
            }
            Admission::Seated {
                job,
                admitted,
                priority,
                until,
                overdrawn,
                ..
            } => {
                let terms = terms(admitted, overdrawn);
                Entered::Seated(QueuedJob::new(Arc::clone(self), job, terms, priority, until))
            }
        }))
    }

    fn pass(self: &Arc<Self>, grant: Grant, terms: Terms) -> Permit {
        terms.generation.meters.waited(grant.priority, grant.waited);
        Permit::new(Arc::clone(self), grant, terms)
    }

    /// The server is gone: its slots don't count until it is back. Nothing happens if the rules no longer have it.
    pub fn server_down(&self, pool: UpstreamId, server: ServerId) {
        self.state.lock().policy.server_down(pool, server);
    }

    /// The server is back: its slots go to those who move, then to those who wait. Nothing happens if the rules no longer have it.
    pub fn server_up(&self, pool: UpstreamId, server: ServerId) {
        let wakers: Vec<Option<Waker>> = {
            let mut state = self.state.lock();
            let grants = state.policy.server_up(pool, server, self.clock.now());
            grants
                .into_iter()
                .map(|grant| state.tell_granted(Some(grant)))
                .collect()
        };
        wakers.into_iter().for_each(wake);
    }

    /// What is decided by at present.
    pub fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.state.lock().generation)
    }

    /// Decides by that generation from now on (see [`Policy::reload`]). `meanwhile` is called under the lock, so nobody comes or goes
    /// before it is done. Nobody loses a seat or a slot by it.
    pub fn reload(&self, generation: Arc<Generation>, meanwhile: impl FnOnce()) -> Reloaded {
        let mut state = self.state.lock();
        meanwhile();
        let (rules, listed) = (Arc::clone(&generation.rules), |account| generation.listed(account));
        let grants = state.policy.reload(rules, listed, self.clock.now());
        state.generation = generation;
        let wakers = grants.into_iter().filter_map(|grant| state.tell_granted(Some(grant)));
        Reloaded {
            woken: Woken(wakers.collect()),
            filling: self.begin_filling(&mut state),
        }
    }

    /// Whether a job holds a slot of that server.
    pub fn runs_on(&self, pool: UpstreamId, server: ServerId) -> bool {
        self.state.lock().policy.runs_on(pool, server)
    }

    /// No more jobs are let in, and those who wait are turned away. Running ones go on, and so do those that move.
    pub fn shut_down(&self) {
        let turned_away: Vec<Option<Waker>> = {
            let mut state = self.state.lock();
            let out = state.policy.shut_down();
            out.into_iter().map(|out| state.tell_displaced(out)).collect()
        };
        turned_away.into_iter().for_each(wake);
    }

    /// Jobs in the house: waiting, running, moving and ending.
    pub fn in_flight(&self) -> usize {
        self.state.lock().policy.in_flight()
    }

    /// What the caller has used of the quotas in those windows, and its jobs in the house. Of a window that there is no more nobody
    /// has used anything.
    pub fn account_of(&self, caller: &Caller, windows: impl Iterator<Item = WindowId>) -> Balance {
        let mut state = self.state.lock();
        let (policy, now) = (&mut state.policy, self.clock.now());
        Balance {
            usages: windows.map(|window| policy.usage(window, caller, now)).collect(),
            at: policy.clock_reads(now),
            jobs: policy.jobs_of(caller),
            waiting: policy.waiting_of(caller),
        }
    }

    /// As whom the network is counted that is there: itself, unless there are too many.
    pub fn counted_as(&self, whereabouts: Whereabouts) -> NetworkId {
        if !self.crowded.load(Ordering::Relaxed) {
            return whereabouts.network;
        }
        self.state.lock().policy.counted_as(whereabouts, self.clock.now())
    }

    /// Whether the caller has a debit in any window.
    pub fn has_debit(&self, caller: &Caller) -> bool {
        self.state.lock().policy.has_debit(caller)
    }

    /// Follows the system's wall clock, forgets some of those who have no debit any more, and lets the ledger's metric show
    /// whether it is available. To be called every second. Where the clock was followed back all windows are new and to be filled.
    pub fn tick(&self) -> Tick {
        // Without a search nobody else asks, and the metric would show what was so at the last one.
        let _shown = self.ledger.is_available();
        let tick = {
            let mut state = self.state.lock();
            let (now, step_max) = (self.clock.now(), state.generation.clock_step_max);
            let step = state.policy.follow_clock(self.clock.wall(), now, step_max);
            let filling = match step {
                ClockStep::Followed { to, .. } => {
                    self.corrections.fetch_add(1, Ordering::Relaxed);
                    self.begin_filling(&mut state).map(|filling| filling.corrected_to(to))
                }
                ClockStep::Forward(_) | ClockStep::Back(_) => None,
            };
            state.policy.sweep(now);
            self.crowded.store(state.policy.is_crowded(now), Ordering::Relaxed);
            Tick { step, filling }
        };
        tell(tick.step);
        tick
    }

    /// What was debited counts by other dates than before: all windows begin anew, and are to be filled, if there are any.
    pub fn recount(&self) -> Option<Backfill> {
        let mut state = self.state.lock();
        state.policy.recount(self.clock.now());
        self.begin_filling(&mut state)
    }

    /// Since when the system's wall clock has gone as the monotonic one does (see [`Policy::clock_agreed_since`]).
    pub fn clock_agreed_since(&self) -> Timestamp {
        self.state.lock().policy.clock_agreed_since()
    }

    /// What the hall looks like at this moment. As long as the hall has jobs, so for operators only.
    pub fn view(&self) -> View {
        let state = self.state.lock();
        let (policy, now) = (&state.policy, self.clock.now());
        let rules = Arc::clone(policy.rules());
        View {
            rules,
            waiting: *policy.waiting(),
            pools: (policy.rules().upstreams.ids())
                .map(|pool| (policy.slots(pool), policy.running(pool)))
                .collect(),
            jobs: policy
                .jobs()
                .map(|(_, job)| JobView {
                    caller: job.caller,
                    from: job.from,
                    tier: job.tier,
                    priority: job.priority,
                    pool: job.pool,
                    state: job.state,
                    in_house: now.since(job.entered),
                    running: match job.state {
                        State::Running { since, .. } => Some(now.since(since)),
                        _ => None,
                    },
                })
                .collect(),
            tally: *policy.tally(),
            debtors: policy.debtors(),
        }
    }

    /// The clock by which it decides.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What a tick has found.
#[derive(Debug)]
#[must_use = "until the windows are filled they know nothing of what was before"]
pub struct Tick {
    /// How the system's wall clock has gone since the last one.
    pub step: ClockStep,
    /// All windows, if the clock was followed back.
    pub filling: Option<Backfill>,
}

/// What the hall looks like at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// By which it is decided, and to which the ids here belong.
    pub rules: Arc<Rules>,
    /// Jobs that have a seat, by priority.
    pub waiting: [u32; Priority::COUNT],
    /// By upstream, in the rules' order: slots of servers that are up, and slots held.
    pub pools: Vec<(u32, u32)>,
    /// Every job in the house.
    pub jobs: Vec<JobView>,
    /// Everything that ever happened, counted.
    pub tally: Stats,
    /// Callers that have a debit in a window: accounts, networks, users.
    pub debtors: [usize; 3],
}

/// What a caller has used, at one moment.
#[derive(Clone, Debug)]
pub struct Balance {
    /// When: what the system's wall clock should read.
    pub at: UnixTime,
    /// In each window that was asked for.
    pub usages: Vec<Usage>,
    /// Its jobs in the house.
    pub jobs: u32,
    /// Those of them that have a seat.
    pub waiting: u32,
}

/// What a job came with, as it is needed to write down how it ended.
#[derive(Clone, Debug)]
struct Terms {
    generation: Arc<Generation>,
    caller: Caller,
    tier: TierId,
    pool: UpstreamId,
    admitted: UnixTime,
    /// How often the clock had been followed back by when that was read, or before.
    corrections: u64,
    cost: u32,
    overdrawn: UnenforcedQuotas,
}

impl Terms {
    fn record(&self, priority: Priority, end: End, status: u16, waited: Span, searched: Span) -> Record {
        Record {
            admitted: self.admitted,
            caller: self.caller,
            tier: Arc::clone(&self.generation.rules.tier(self.tier).name),
            upstream: Arc::clone(&self.generation.upstreams[self.pool]),
            priority,
            end,
            status,
            cost: self.cost,
            waited,
            searched,
        }
    }
}

fn tell(step: ClockStep) {
    match step {
        ClockStep::Forward(by) if by >= STEP_MIN => {
            warn!(%by, "system clock stepped forward; quotas follow it");
        }
        ClockStep::Back(by) if by >= STEP_MIN => {
            warn!(%by, "system clock stepped back; quotas stand still until it has caught up");
        }
        ClockStep::Followed { by, to } => warn!(
            %by,
            to_unix_s = to.as_secs(),
            "system clock stepped back by more than clock_step_max; quotas follow it, and what is dated later counts as of now"
        ),
        ClockStep::Forward(_) | ClockStep::Back(_) => {}
    }
}

/// A job in the house at one moment.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Who is counted.
    pub caller: Caller,
    /// Where it comes from.
    pub from: Network,
    /// On whose terms.
    pub tier: TierId,
    /// Its priority.
    pub priority: Priority,
    /// Whose slots it needs.
    pub pool: UpstreamId,
    /// Where it is.
    pub state: State,
    /// How long it has been in the house.
    pub in_house: Span,
    /// How long it has held its slot, while it holds one.
    pub running: Option<Span>,
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
