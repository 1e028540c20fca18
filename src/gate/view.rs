//! A snapshot of the gate state, for operators and metrics.

use std::collections::HashMap;
use std::sync::Arc;

use super::Gate;
use crate::policy::caller::{Caller, Network};
use crate::policy::rules::{Priority, Rules, TierId, UpstreamId};
use crate::policy::time::Span;
use crate::policy::{JobId, ServerState, State, Stats};

/// A snapshot of the gate state.
#[derive(Clone, Debug)]
pub struct GateView {
    /// The rules in force, to which the ids here belong.
    pub rules: Arc<Rules>,
    /// Queued jobs by priority.
    pub waiting: [u32; Priority::COUNT],
    /// By upstream, in the rules' order: slots of servers that are up and not drained, and slots in use.
    pub pools: Vec<(u32, u32)>,
    /// By upstream, in the rules' order: the mean of its last slot times, once there are enough.
    pub slot_times: Vec<Option<Span>>,
    /// By upstream, in the rules' order: its servers, by ascending id, with removed ones that still have jobs.
    pub servers: Vec<Vec<ServerState>>,
    /// All jobs in flight. Those that are queued are in their order of service.
    pub jobs: Vec<JobView>,
    /// Counters of everything that has happened.
    pub stats: Stats,
    /// Callers that have a debit in a window: accounts, networks, users.
    pub debtors: [usize; 3],
    /// Whether dispatch is paused.
    pub paused: bool,
    /// Whether an operator has stopped admission.
    pub admission_stopped: bool,
}

/// A snapshot of a job in flight.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Whom it counts for.
    pub caller: Caller,
    /// The network it comes from.
    pub from: Network,
    /// The tier whose terms apply.
    pub tier: TierId,
    /// Its priority.
    pub priority: Priority,
    /// The upstream whose slots it needs.
    pub pool: UpstreamId,
    /// Its state.
    pub state: State,
    /// How long it has been in flight, without the time in which its body arrived; while it is uploading, that time.
    pub age: Span,
    /// How long it has held its slot, if it has one.
    pub running: Option<Span>,
    /// How much longer it is expected to hold its slot, by the mean of the last slot times; zero if it has held it for longer.
    /// `None` if it has no slot, or no slot time of its upstream was measured yet.
    pub ends_in: Option<Span>,
}

impl Gate {
    /// The current gate state. O(jobs), so for operators only.
    pub fn view(&self) -> GateView {
        let state = self.state.lock();
        let (policy, now) = (&state.policy, self.clock.now());
        let rules = Arc::clone(policy.rules());
        let pools = || policy.rules().upstreams.ids();
        let order = policy.places(u32::MAX).unwrap_or_default();
        let order: HashMap<JobId, usize> = order.into_iter().zip(0..).collect();
        let mut view = GateView {
            waiting: *policy.waiting(),
            pools: pools().map(|pool| (policy.slots(pool), policy.running(pool))).collect(),
            slot_times: pools().map(|pool| policy.slot_time(pool)).collect(),
            servers: pools().map(|pool| policy.servers(pool).collect()).collect(),
            jobs: policy
                .jobs()
                .map(|(id, job)| {
                    let running = match job.state {
                        State::Running { since, .. } => Some(now.since(since)),
                        _ => None,
                    };
                    let left = |held: Span| {
                        let mean = policy.slot_time(job.pool)?.as_nanos();
                        Some(Span::from_nanos(mean.saturating_sub(held.as_nanos())))
                    };
                    JobView {
                        id,
                        caller: job.caller,
                        from: job.from,
                        tier: job.tier,
                        priority: job.priority,
                        pool: job.pool,
                        state: job.state,
                        age: now.since(job.entered),
                        running,
                        ends_in: running.and_then(left),
                    }
                })
                .collect(),
            stats: *policy.stats(),
            debtors: policy.debtors(),
            paused: policy.is_paused(),
            admission_stopped: policy.is_admission_stopped(),
            rules,
        };
        drop(state);
        view.jobs.sort_by_key(|job| order.get(&job.id).copied());
        view
    }
}
