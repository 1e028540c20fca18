//! What a scrape and health checks read of the gate: numbers only. The jobs themselves stay under the lock
//! ([`Gate::view`] copies them).

use std::sync::Arc;

use super::Gate;
use crate::policy::caller::Caller;
use crate::policy::rules::{Priority, Rules, ServerId, TierId, UpstreamId, WindowId};
use crate::policy::time::{Span, Timestamp};
use crate::policy::{Policy, ServerState, State, Table};

/// Numbers of the gate state at one moment.
#[derive(Clone, Debug)]
pub struct GateLevels {
    /// The rules in force, to which the ids here belong.
    pub rules: Arc<Rules>,
    /// Queued jobs by priority.
    pub waiting: [u32; Priority::COUNT],
    /// How long the oldest queued job of each priority has waited; zero if there is none.
    pub oldest: [Span; Priority::COUNT],
    /// Jobs in flight by tier.
    pub in_flight: Table<TierId, u32>,
    /// Those of them whose bodies still arrive.
    pub uploading: Table<TierId, u32>,
    /// By upstream, in the rules' order.
    pub upstreams: Vec<UpstreamSlots>,
    /// Whether dispatch is paused.
    pub is_paused: bool,
    /// Whether an operator has stopped admission.
    pub is_admission_stopped: bool,
    /// Callers that have a debit in a window: accounts, networks, users.
    pub debtors: [usize; 3],
}

/// An upstream's slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSlots {
    /// Slots of servers that are up and not drained.
    pub available: u32,
    /// Slots in use, those of servers that went down meanwhile included.
    pub busy: u32,
    /// By server.
    pub servers: Vec<ServerState>,
}

/// The slots of the rules' upstreams, in the rules' order.
pub(super) fn slots(policy: &Policy) -> Vec<UpstreamSlots> {
    let slots = |id| UpstreamSlots {
        available: policy.slots(id),
        busy: policy.running(id),
        servers: policy.servers(id).collect(),
    };
    policy.rules().upstreams.ids().map(slots).collect()
}

impl Gate {
    /// The numbers for a scrape. O(jobs in flight), without copying them.
    pub fn levels(&self) -> GateLevels {
        let state = self.state.lock();
        let (policy, now) = (&state.policy, self.now());
        let rules = Arc::clone(policy.rules());
        let mut levels = GateLevels {
            waiting: *policy.waiting(),
            oldest: [Span::ZERO; Priority::COUNT],
            in_flight: rules.tiers.map(|_, _| 0),
            uploading: rules.tiers.map(|_, _| 0),
            upstreams: slots(policy),
            is_paused: policy.is_paused(),
            is_admission_stopped: policy.is_admission_stopped(),
            debtors: policy.debtors(),
            rules,
        };
        for (_, job) in policy.jobs() {
            let count = |counts: &mut Table<TierId, u32>| {
                if let Some(count) = counts.get_mut(job.tier) {
                    *count += 1;
                }
            };
            count(&mut levels.in_flight);
            match job.state {
                State::Uploading => count(&mut levels.uploading),
                State::Waiting => {
                    let oldest = &mut levels.oldest[job.priority.index()];
                    *oldest = now.since(job.entered).max(*oldest);
                }
                State::Running { .. } | State::Moving { .. } | State::Ending => {}
            }
        }
        levels
    }

    /// Whether any server of the rules' upstreams is up.
    pub fn has_server_up(&self) -> bool {
        let state = self.state.lock();
        let mut upstreams = state.policy.rules().upstreams.ids();
        upstreams.any(|upstream| state.policy.slots(upstream) > 0)
    }

    /// What these callers have used and hold in these windows. The lock is held for all of them, so keep the batch small.
    pub fn taken(&self, wanted: &[(Caller, WindowId)]) -> Vec<u64> {
        let mut state = self.state.lock();
        let (policy, now) = (&mut state.policy, self.now());
        let taken = wanted.iter().map(|(caller, window)| policy.taken(*window, caller, now));
        taken.collect()
    }

    /// The server, if it is down, will be probed at that time: until then no `Retry-After` is earlier while none is up.
    pub fn server_probed_at(&self, upstream: UpstreamId, server: ServerId, at: Timestamp) {
        self.state.lock().policy.server_probed_at(upstream, server, at);
    }
}
