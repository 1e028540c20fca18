//! What a job holds once it has a slot. Dropping it gives back slot, concurrency and whatever else is left.

use std::sync::Arc;

use super::{Gate, wake};
use crate::policy::rules::{PoolId, Priority, ServerId, TierId};
use crate::policy::time::{Span, Timestamp};
use crate::policy::{Grant, JobId, Outcome};
use crate::telemetry::End;

/// A job's slot and its caller's concurrency (semantics §6). Its parts go back in the order of its methods; dropped before
/// that, the job counts as cancelled.
#[derive(Debug)]
#[must_use = "dropping it gives the slot back"]
pub struct Pass {
    gate: Arc<Gate>,
    job: JobId,
    tier: TierId,
    pool: PoolId,
    server: ServerId,
    priority: Priority,
    waited: Span,
    since: Timestamp,
    slot: bool,
    settled: bool,
}

impl Pass {
    pub(super) fn new(gate: Arc<Gate>, grant: Grant, tier: TierId, pool: PoolId) -> Self {
        let Grant {
            job,
            server,
            waited,
            priority,
        } = grant;
        let since = gate.now();
        Self {
            gate,
            job,
            tier,
            pool,
            server,
            priority,
            waited,
            since,
            slot: true,
            settled: false,
        }
    }

    /// The server that takes the job.
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// The pool whose slot it is.
    pub fn pool(&self) -> PoolId {
        self.pool
    }

    /// The job's priority.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// How long the job waited for the slot.
    pub fn waited(&self) -> Span {
        self.waited
    }

    /// Since when it has the slot.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The job's server can't be reached: its slots don't count until it is back.
    pub fn server_down(&self) {
        self.gate.server_down(self.pool, self.server);
    }

    /// Moves to another server, since this one can't be reached. Whether there was one with a free slot.
    pub fn relocate(&mut self) -> bool {
        let (moved, waker) = {
            let mut hall = self.gate.hall.lock();
            match hall.policy.relocate(self.job, self.gate.now()) {
                None => (None, None),
                Some((server, next)) => (Some(server), hall.tell_granted(next)),
            }
        };
        wake(waker);
        self.server = moved.unwrap_or(self.server);
        moved.is_some()
    }

    /// First: the upstream's answer has ended, so the next in line may have the slot. The caller's concurrency stays taken.
    pub fn give_back_slot(&mut self) {
        if !std::mem::replace(&mut self.slot, false) {
            return;
        }
        let (now, waker) = {
            let mut hall = self.gate.hall.lock();
            let now = self.gate.now();
            let next = hall.policy.give_back_slot(self.job, now);
            (now, hall.tell_granted(next))
        };
        wake(waker);
        self.gate.meters.held(self.pool, now.since(self.since));
    }

    /// Last: the job is over. Afterwards its caller may send the next request.
    pub fn settle(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let (now, waker) = {
            let mut hall = self.gate.hall.lock();
            let now = self.gate.now();
            let next = hall.policy.end(self.job, outcome, now);
            (now, hall.tell_granted(next))
        };
        wake(waker);
        if std::mem::replace(&mut self.slot, false) {
            self.gate.meters.held(self.pool, now.since(self.since));
        }
        self.gate.meters.job(self.tier, End::from(outcome));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}
