//! What a job holds once it has a slot. Dropping it gives back slot, concurrency and whatever else is left.

use std::sync::Arc;

use super::{Gate, Moving, wake};
use crate::policy::rules::{PoolId, ServerId, TierId};
use crate::policy::time::{Span, Timestamp};
use crate::policy::{End, Grant, JobId, Outcome, Relocation};

/// A job's slot and its caller's concurrency (semantics §6). Its parts go back in the order of its methods; dropped before
/// that, the job counts as cancelled.
#[derive(Debug)]
#[must_use = "dropping it gives the slot back"]
pub struct Pass {
    pub(super) gate: Arc<Gate>,
    pub(super) job: JobId,
    tier: TierId,
    pool: PoolId,
    server: ServerId,
    waited: Span,
    since: Timestamp,
    slot: bool,
    settled: bool,
}

/// What became of a job whose server could not be reached.
#[derive(Debug)]
pub enum Relocated {
    /// It has a slot of another server.
    To(Pass),
    /// It waits for one.
    Waits(Moving),
    /// No other server is up: it holds what it held.
    Nowhere(Pass),
}

impl Pass {
    pub(super) fn new(gate: Arc<Gate>, grant: Grant, tier: TierId, pool: PoolId) -> Self {
        let Grant {
            job, server, waited, ..
        } = grant;
        let since = gate.now();
        Self {
            gate,
            job,
            tier,
            pool,
            server,
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

    /// The job's server can't be reached: its slots don't count until it is back, and the job moves to another one, at
    /// once or as soon as a slot is free (semantics §2.7).
    pub fn relocate(mut self) -> Relocated {
        let relocation = {
            let mut hall = self.gate.hall.lock();
            let relocation = hall.policy.relocate(self.job, self.gate.now());
            if relocation == Relocation::Waits {
                hall.expect(self.job);
            }
            relocation
        };
        match relocation {
            Relocation::To(server) => Relocated::To(self.at(server)),
            Relocation::Waits => {
                self.slot = false;
                Relocated::Waits(Moving::new(self))
            }
            Relocation::Nowhere => Relocated::Nowhere(self),
        }
    }

    /// The same job, with a slot of that server from now on.
    pub(super) fn at(mut self, server: ServerId) -> Self {
        self.server = server;
        self.since = self.gate.now();
        self.slot = true;
        self
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
            debug_assert!(!hall.expects(self.job), "a job that ends has heard what became of it");
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
