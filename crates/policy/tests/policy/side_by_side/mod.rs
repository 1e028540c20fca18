//! The policy and the model through one history, side by side: every decision must be the same, and what is always true
//! (rules §9) must be true after every step. `histories` draws the histories at random, the fuzzer makes them from bytes.

mod call;
mod callers;
mod compare;
mod controls;
mod invariants;
mod step;

use std::sync::Arc;

use tiergate_policy::ids::Ids;
use tiergate_policy::rules::{Priority, Rules, WindowId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{DebitNumber, Job, JobId, Outcome, Policy, State};

use super::model::{Model, Number};
use call::{Call, Decision, decide};
use callers::{CALLERS, callers, nth_caller, unknown_job};
use invariants::Before;
use step::LATEST;
pub use step::{Pick, Reading, Step};

/// A day in May of 2026, on which most histories begin.
pub const OPENED: UnixTime = UnixTime::from_secs(1_780_000_000);

/// How long quotas may stand still where the clock has stepped back.
const STEP_MAX: Span = Span::from_secs(300);

/// Parts of the policy's tables: so many sweeps look at all.
const SWEEPS: u16 = 256;

pub struct SideBySide {
    policy: Policy,
    model: Model,
    ids: Ids,
    first_rules: Rules,
    now: Timestamp,
    /// The policy's names of the jobs that the model knows by number.
    names: Vec<JobId>,
    /// An id that no job in this history ever has.
    unknown: JobId,
    /// All that happened, to be replayed.
    history: Vec<(Call, Timestamp, Decision)>,
    /// Refusals for want of quota.
    depleted: u64,
    /// How often all debits were read back.
    fills: u64,
    /// Whether all windows have just begun anew.
    has_emptied: bool,
    arrivals: Arrivals,
}

/// Jobs whose bodies were complete some time after their heads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrivals {
    /// Got a slot.
    pub ran: u64,
    /// Got a free place in the queue.
    pub queued: u64,
    /// Displaced another job.
    pub displaced: u64,
    /// Were refused.
    pub refused: u64,
}

impl SideBySide {
    pub fn new(rules: Rules) -> Self {
        let mut ids = Ids::default();
        let rules = ids.assign(&rules).expect("few names");
        Self {
            ids,
            policy: Policy::new(Arc::new(rules.clone())),
            model: Model::new(rules.clone()),
            first_rules: rules,
            now: Timestamp::ZERO,
            names: Vec::new(),
            unknown: unknown_job(),
            history: Vec::new(),
            depleted: 0,
            fills: 0,
            has_emptied: false,
            arrivals: Arrivals::default(),
        }
    }

    /// Makes one step with both, then checks all that must be true.
    pub fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(span) => self.pass(span),
            Step::PassToEdge(which, by) => {
                let edge = self.edge(which, by);
                self.pass(edge.since(self.model.wall_expected(self.now)));
            }
            _ => {}
        }
        if let Some(call) = self.call(step) {
            self.put(call);
        }
        self.fill();
        self.look_at_one_usage();
    }

    /// If all windows have begun anew, reads back all debits with the model's dates.
    fn fill(&mut self) {
        if std::mem::take(&mut self.has_emptied) && self.policy.has_new_windows() {
            self.fills += 1;
            self.put(Call::Fill(DebitNumber(self.fills), self.model.debits().all()));
        }
    }

    fn pass(&mut self, span: Span) {
        let left = LATEST.since(self.model.wall_expected(self.now));
        self.now = self.now + span.min(left);
    }

    /// One caller and window after the other. It is a call like others: it may begin a calendar's next period.
    fn look_at_one_usage(&mut self) {
        let turn = self.history.len() / 2;
        let windows: Vec<WindowId> = self.model.windows().collect();
        if self.history.len().is_multiple_of(2) && !windows.is_empty() {
            let caller = nth_caller(u8::try_from(turn % usize::from(CALLERS)).unwrap());
            let call = Call::Usage(windows[turn % windows.len()], caller);
            let before = Before::default();
            self.decide_both(call, &before);
        }
    }

    /// Ends all jobs on both sides. Then nothing is left over (§9.5), and the same history gives the same decisions once more
    /// (§9.6).
    pub fn finish(mut self) {
        while let Some(job) = self.model.jobs().first() {
            let name = self.names[job.number];
            self.put(if job.is_uploading() {
                Call::EndUpload(name)
            } else if job.is_queued() {
                Call::HangUp(name)
            } else {
                Call::End(name, Outcome::Succeeded)
            });
        }
        self.put(Call::Sweep(SWEEPS));
        for window in self.model.windows() {
            for caller in callers() {
                self.put(Call::Usage(window, caller));
                let held = self.policy.usage(window, &caller, self.now).held;
                assert_eq!(held, 0, "§9.5: {caller:?} holds quota without a job");
            }
        }
        assert_eq!(self.policy.in_flight(), 0);
        assert_eq!(self.policy.callers(), 0);
        assert_eq!(self.policy.waiting(), &[0; Priority::COUNT]);
        assert!(self.model.pools().all(|pool| self.policy.running(pool) == 0));
        assert_eq!(self.policy.stats().arrived, self.policy.stats().ended());

        let mut again = Policy::new(Arc::new(self.first_rules));
        for (call, now, decision) in &self.history {
            assert_eq!(
                &decide(&mut again, call, *now),
                decision,
                "replayed, {call:?} is decided otherwise"
            );
        }
    }

    /// Jobs whose bodies still arrive at this moment.
    pub fn uploading(&self) -> u64 {
        self.model.jobs().iter().map(|job| u64::from(job.is_uploading())).sum()
    }

    /// What became of the jobs whose bodies were complete so far.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Jobs that move at this moment.
    pub fn moving(&self) -> u32 {
        self.model.pools().map(|pool| self.model.moving(pool)).sum()
    }

    /// Whether dispatch is paused while a job waits for a slot that is free.
    pub fn is_held(&self) -> bool {
        let waits = |(_, job): (JobId, &Job)| job.state == State::Waiting && self.is_idle(job.pool);
        self.model.is_paused() && self.policy.jobs().any(waits)
    }

    /// Whether a server that the rules have is drained.
    pub fn has_drained(&self) -> bool {
        let mut pools = self.model.pools();
        pools.any(|pool| self.policy.servers(pool).any(|server| server.drained))
    }

    /// How often all debits were read back so far.
    pub fn fills(&self) -> u64 {
        self.fills
    }

    /// Refusals for want of quota so far.
    pub fn depleted(&self) -> u64 {
        self.depleted
    }

    fn number(&self, job: JobId) -> Option<Number> {
        self.names.iter().rposition(|name| *name == job)
    }

    fn put(&mut self, call: Call) {
        let before = Before::of(self);
        self.decide_both(call, &before);
        self.check(&before);
    }

    fn decide_both(&mut self, call: Call, before: &Before) {
        let decision = decide(&mut self.policy, &call, self.now);
        self.compare(&call, &decision, before);
        self.history.push((call, self.now, decision));
    }

    /// Names the job that was admitted last.
    fn name(&mut self, job: JobId) {
        assert_eq!(self.number(job), None, "{job:?} names another job already");
        self.names.push(job);
    }
}
