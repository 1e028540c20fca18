//! Where state changes: takes the lock, reads the clock once, asks the policy, and hands out a [`Permit`].
//!
//! Invariant: what a job holds is owned by exactly one value: an [`UploadingJob`] while its body arrives, a [`QueuedJob`] while
//! it is queued, a [`Permit`] once it has a slot, a [`Relocating`] between two slots, and a [`Committing`] while its success is
//! written. Dropping any of them releases everything (except a durable debit) and hands freed capacity to the next in line. So
//! nothing leaks, a slot granted to a client that has just hung up goes to the next job, and no slot is idle while a job that
//! may use it waits.
//!
//! Invariant: no task is woken under the lock.
//!
//! `policy` makes the decisions; callers bring the timers.

mod backfill;
mod committing;
mod controls;
mod generation;
mod levels;
mod limiter;
mod permit;
mod queued_job;
mod relocating;
mod semaphore;
mod snapshot;
mod state;
mod uploading_job;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use tracing::warn;

pub use backfill::{Backfill, Backfilled};
pub use committing::Committing;
pub use generation::{CLOCK_STEP_MAX_DEFAULT, Generation, upstreams};
pub use levels::{GateLevels, UpstreamSlots};
pub use limiter::{Decided, Limiter};
pub use permit::{Permit, Relocated};
pub use queued_job::QueuedJob;
pub use relocating::Relocating;
pub use semaphore::{ResizableSemaphore, SemaphorePermit};
pub use snapshot::{PLACES_DRAWN_MAX, Place, PoolSnapshot, Prospect, Snapshot};
use state::GateState;
pub use uploading_job::UploadingJob;
pub use view::{GateView, JobView};

use crate::clock::Clock;
use crate::policy::caller::{Caller, HashedOrigin, NetworkId};
use crate::policy::refusal::Refusal;
use crate::policy::rules::{Priority, ServerId, TierId, UpstreamId, WindowId};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::policy::{
    Admission, AdmissionRequest, ClockStep, End, Grant, Policy, STEP_MIN, UnenforcedQuotas, Usage, WaitLimits,
};
use crate::store::{Ledger, Record};
use crate::sync::Mutex;

/// The gate: its state and its lock.
#[derive(Debug)]
pub struct Gate {
    /// A reload, which also needs the shards of the request limits, locks those first ([`Limiter::reload`]).
    state: Mutex<GateState>,
    clock: Clock,
    ledger: Arc<dyn Ledger>,
    /// Whether networks may have to be counted by prefix, as of the last second.
    aggregating: AtomicBool,
    /// How often the policy has followed the wall clock back. Changed under the lock.
    corrections: AtomicU64,
}

/// The request was prepared by rules that are no longer in force. Nothing was taken or charged. The configuration with the new
/// rules is already published; retry with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

/// The result of a reload of the gate.
#[derive(Debug)]
pub struct Reloaded {
    /// New windows to fill, if there are any.
    pub filling: Option<Backfill>,
    /// Jobs that got a slot by the reload. Drop it when no lock is held.
    pub woken: Woken,
}

/// Tasks that are woken when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it wakes the tasks; never under a lock"]
pub struct Woken(Vec<Waker>);

impl Drop for Woken {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// How a job was admitted, or what it got when its body was complete.
#[derive(Debug)]
pub enum Entered {
    /// Its body still arrives.
    Uploading(UploadingJob),
    /// With a slot.
    Running(Permit),
    /// Queued.
    Queued(QueuedJob),
}

impl Entered {
    /// Quotas that would have refused the job if they were enforced.
    pub fn overdrawn(&self) -> &UnenforcedQuotas {
        match self {
            Self::Uploading(uploading) => uploading.overdrawn(),
            Self::Running(permit) => permit.overdrawn(),
            Self::Queued(waiting) => waiting.overdrawn(),
        }
    }
}

impl Gate {
    /// A gate with that policy, which must have the rules of that generation. The ledger records how jobs end.
    pub fn new(policy: Policy, generation: Arc<Generation>, clock: Clock, ledger: Arc<dyn Ledger>) -> Arc<Self> {
        debug_assert!(
            Arc::ptr_eq(policy.rules(), &generation.rules),
            "the policy has the generation's rules"
        );
        Arc::new(Self {
            state: Mutex::new(GateState::new(policy, generation)),
            clock,
            ledger,
            aggregating: AtomicBool::new(false),
            corrections: AtomicU64::new(0),
        })
    }

    /// Admits a metered request, or refuses it, which takes nothing (rules §2.4–5). The request must have been prepared by
    /// that generation.
    ///
    /// # Errors
    /// Another generation is in force.
    pub fn enter(
        self: &Arc<Self>,
        by: &Arc<Generation>,
        ask: &AdmissionRequest,
    ) -> Result<Result<Entered, Refusal>, Stale> {
        if !self.ledger.is_available() {
            return Ok(Err(Refusal::JournalUnavailable));
        }
        let (admission, woken, corrections) = {
            let mut state = self.state.lock();
            if !Arc::ptr_eq(by, &state.generation) {
                return Err(Stale);
            }
            let mut admission = match state.policy.enter(ask, self.clock.now()) {
                Ok(admission) => admission,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let woken = state.admitted(&mut admission);
            (admission, woken, self.corrections.load(Ordering::Relaxed))
        };
        wake(woken);
        let terms = JobTerms {
            generation: Arc::clone(by),
            caller: ask.caller,
            tier: ask.tier,
            pool: ask.pool,
            admitted: admission.admitted(),
            corrections,
            cost: ask.cost,
            overdrawn: admission.overdrawn().clone(),
        };
        Ok(Ok(self.entered(admission, terms, ask.waits)))
    }

    /// The owner of what the job holds.
    fn entered(self: &Arc<Self>, admission: Admission, terms: JobTerms, waits: WaitLimits) -> Entered {
        let gate = Arc::clone(self);
        match admission {
            Admission::Uploading { job, priority, .. } => {
                Entered::Uploading(UploadingJob::new(gate, job, terms, priority, waits))
            }
            Admission::Running { grant, .. } => Entered::Running(self.permit(grant, terms)),
            Admission::Queued {
                job,
                priority,
                until,
                estimate,
                ..
            } => Entered::Queued(QueuedJob::new(gate, job, terms, priority, until, estimate)),
        }
    }

    fn permit(self: &Arc<Self>, grant: Grant, terms: JobTerms) -> Permit {
        terms.generation.meters.dispatched(terms.tier, grant.waited);
        Permit::new(Arc::clone(self), grant, terms)
    }

    /// Marks the server down: its slots don't count until it is back. Nothing happens if it was removed from the rules.
    pub fn server_down(&self, pool: UpstreamId, server: ServerId) {
        self.state.lock().policy.server_down(pool, server);
    }

    /// Marks the server up: its slots go to moving jobs, then to queued ones. Nothing happens if it was removed from the rules.
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

    /// The generation in force.
    pub fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.state.lock().generation)
    }

    /// Puts that generation in force (see [`Policy::reload`]). `meanwhile` is called under the lock: no job is admitted or ends
    /// before it returns. No job loses its queue place or slot.
    pub fn reload(&self, generation: Arc<Generation>, meanwhile: impl FnOnce()) -> Reloaded {
        let mut state = self.state.lock();
        meanwhile();
        let (rules, declared) = (Arc::clone(&generation.rules), |account| generation.declared(account));
        state.drain_named(&rules);
        let grants = state.policy.reload(rules, declared, self.clock.now());
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

    /// Ends admission and refuses uploading and queued jobs. Running and moving jobs go on.
    pub fn shut_down(&self) {
        let turned_away: Vec<Option<Waker>> = {
            let mut state = self.state.lock();
            let out = state.policy.shut_down();
            out.into_iter().map(|out| state.tell_displaced(out)).collect()
        };
        turned_away.into_iter().for_each(wake);
    }

    /// Jobs in flight: uploading, queued, running, moving and ending.
    pub fn in_flight(&self) -> usize {
        self.state.lock().policy.in_flight()
    }

    /// The caller's usage of quotas in those windows, and its jobs in flight. A removed window has no usage.
    pub fn account_of(&self, caller: &Caller, windows: impl Iterator<Item = WindowId>) -> Balance {
        let mut state = self.state.lock();
        let (policy, now) = (&mut state.policy, self.clock.now());
        Balance {
            usages: windows.map(|window| policy.usage(window, caller, now)).collect(),
            at: policy.clock_reads(now),
            jobs: policy.jobs_of(caller),
            uploading: policy.uploading_of(caller),
            waiting: policy.waiting_of(caller),
        }
    }

    /// The id under which a network is counted: its own, unless there are too many networks.
    pub fn counted_as(&self, hashed_origin: HashedOrigin) -> NetworkId {
        if !self.aggregating.load(Ordering::Relaxed) {
            return hashed_origin.network;
        }
        self.state.lock().policy.counted_as(hashed_origin, self.clock.now())
    }

    /// Whether the caller has a debit in any window.
    pub fn has_debit(&self, caller: &Caller) -> bool {
        self.state.lock().policy.has_debit(caller)
    }

    /// Follows the system's wall clock, drops some callers without debits, and updates the ledger's availability metric. Call
    /// it every second. If the clock was followed back, all windows are new and have to be filled.
    pub fn tick(&self) -> Tick {
        // Updates the metric: without jobs nothing else would.
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
            self.aggregating
                .store(state.policy.is_aggregating(now), Ordering::Relaxed);
            Tick { step, filling }
        };
        tell(tick.step);
        tick
    }

    /// Debits have new dates: empties all windows, and returns them for filling, if there are any.
    pub fn recount(&self) -> Option<Backfill> {
        let mut state = self.state.lock();
        state.policy.recount(self.clock.now());
        self.begin_filling(&mut state)
    }

    /// Since when the system's wall clock has advanced like the monotonic one (see [`Policy::clock_agreed_since`]).
    pub fn clock_agreed_since(&self) -> Timestamp {
        self.state.lock().policy.clock_agreed_since()
    }

    /// The clock used for decisions.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// The result of a tick.
#[derive(Debug)]
#[must_use = "until the windows are filled they lack earlier debits"]
pub struct Tick {
    /// How the system's wall clock has changed since the last tick.
    pub step: ClockStep,
    /// All windows, if the clock was followed back.
    pub filling: Option<Backfill>,
}

/// A snapshot of a caller's usage.
#[derive(Clone, Debug)]
pub struct Balance {
    /// The time, as the system's wall clock should read.
    pub at: UnixTime,
    /// The usage in each requested window.
    pub usages: Vec<Usage>,
    /// Its jobs in flight.
    pub jobs: u32,
    /// Those of them whose bodies still arrive.
    pub uploading: u32,
    /// Those of them that are queued.
    pub waiting: u32,
}

/// The terms of a job that its record needs.
#[derive(Clone, Debug)]
struct JobTerms {
    generation: Arc<Generation>,
    caller: Caller,
    tier: TierId,
    pool: UpstreamId,
    admitted: UnixTime,
    /// How often the clock had been followed back when the date was read, or earlier.
    corrections: u64,
    cost: u32,
    overdrawn: UnenforcedQuotas,
}

impl JobTerms {
    fn record(&self, priority: Priority, end: End, status: u16, waited: Span, slot_time: Span) -> Record {
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
            slot_time,
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
            "system clock stepped back by more than clock_step_max; quotas follow it and count later debits as of now"
        ),
        ClockStep::Forward(_) | ClockStep::Back(_) => {}
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
