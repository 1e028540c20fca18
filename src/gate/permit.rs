//! What a job holds once it has a slot. Dropping it releases the slot, concurrency and quota.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Committing, Gate, JobTerms, Relocating, wake};
use crate::policy::rules::{Priority, ServerId, UpstreamId};
use crate::policy::time::{Span, Timestamp};
use crate::policy::{DebitNumber, End, Grant, JobId, Outcome, Relocation, UnenforcedQuotas};
use crate::store::{Commit, LedgerEntry, Record};

/// A job's slot, its caller's concurrency and its held quota (rules §6). They are released in the order of the methods;
/// dropped before that, the job counts as cancelled.
#[derive(Debug)]
#[must_use = "dropping it releases the slot"]
pub struct Permit {
    pub(super) gate: Arc<Gate>,
    pub(super) job: JobId,
    pub(super) terms: JobTerms,
    priority: Priority,
    server: ServerId,
    waited: Span,
    since: Timestamp,
    /// How long it held its slot, once that is released.
    slot_time: Span,
    slot: bool,
    settled: bool,
}

/// The result of moving a job whose server could not be reached.
#[derive(Debug)]
pub enum Relocated {
    /// It has a slot of another server.
    To(Permit),
    /// It waits for one.
    Waits(Relocating),
    /// No other server is up: it keeps its slot.
    Nowhere(Permit),
}

impl Permit {
    pub(super) fn new(gate: Arc<Gate>, grant: Grant, terms: JobTerms) -> Self {
        let Grant {
            job,
            server,
            waited,
            priority,
            ..
        } = grant;
        let since = gate.now();
        Self {
            gate,
            job,
            terms,
            priority,
            server,
            waited,
            since,
            slot_time: Span::ZERO,
            slot: true,
            settled: false,
        }
    }

    /// The server that runs the job.
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// The upstream that the slot belongs to.
    pub fn pool(&self) -> UpstreamId {
        self.terms.pool
    }

    pub(super) fn overdrawn(&self) -> &UnenforcedQuotas {
        &self.terms.overdrawn
    }

    /// How long the job waited for the slot.
    pub fn waited(&self) -> Span {
        self.waited
    }

    /// Since when it has the slot.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The job's server can't be reached: marks it down.
    pub fn server_down(&self) {
        self.gate.server_down(self.terms.pool, self.server);
    }

    /// The job's server can't be reached: marks it down and moves the job to another one, at once or as soon as a slot is free
    /// (rules §2.7).
    pub fn relocate(mut self) -> Relocated {
        let relocation = {
            let mut state = self.gate.state.lock();
            let relocation = state.policy.relocate(self.job, self.gate.now());
            if relocation == Relocation::Waits {
                state.expect(self.job);
            }
            relocation
        };
        match relocation {
            Relocation::To(server) => Relocated::To(self.at(server)),
            Relocation::Waits => {
                self.slot = false;
                Relocated::Waits(Relocating::new(self))
            }
            Relocation::Nowhere => Relocated::Nowhere(self),
        }
    }

    /// The same job with a slot of that server.
    pub(super) fn at(mut self, server: ServerId) -> Self {
        self.server = server;
        self.since = self.gate.now();
        self.slot = true;
        self
    }

    /// First: the upstream's response has ended, so the slot goes to the next in line. The caller's concurrency stays taken.
    pub fn give_back_slot(&mut self) {
        if !std::mem::replace(&mut self.slot, false) {
            return;
        }
        let (now, waker) = {
            let mut state = self.gate.state.lock();
            let now = self.gate.now();
            let next = state.policy.give_back_slot(self.job, now);
            (now, state.tell_granted(next))
        };
        wake(waker);
        self.has_held(now);
    }

    fn has_held(&mut self, now: Timestamp) {
        self.slot_time = now.since(self.since);
        self.terms.generation.meters.held(self.terms.pool, self.slot_time);
    }

    /// Last: the job is over and debits nothing. `status` is the upstream's, 0 without a response. Afterwards the caller may
    /// send its next request.
    pub fn settle(mut self, outcome: Outcome, status: u16) {
        debug_assert_ne!(outcome, Outcome::Succeeded, "successes go through `succeed`");
        self.end(outcome);
        self.note(End::from(outcome), status);
    }

    /// Last: the job has succeeded with that upstream status. Releases its slot if that has not been done. Once the future
    /// resolves, the debit is durable and the caller may send its next request.
    pub fn succeed(mut self, status: u16) -> Committing {
        self.give_back_slot();
        if self.terms.cost == 0 {
            self.date();
            self.note(End::Succeeded, status);
            return Committing::new(self, Commit::done());
        }
        self.date();
        let commit = self.gate.ledger.commit(self.record(End::Succeeded, status));
        Committing::new(self, commit)
    }

    /// The record needs the date by which the job counts. That has changed if the clock was followed back since its admission.
    fn date(&mut self) {
        let corrections = self.gate.corrections.load(Ordering::Relaxed);
        if self.terms.corrections != corrections {
            self.terms.admitted = self.gate.state.lock().date(self.job).unwrap_or(self.terms.admitted);
            self.terms.corrections = corrections;
        }
    }

    fn record(&self, end: End, status: u16) -> Record {
        self.terms
            .record(self.priority, end, status, self.waited, self.slot_time)
    }

    fn note(&self, end: End, status: u16) {
        self.gate.ledger.note(LedgerEntry::Job(self.record(end, status)));
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.end_as(outcome, DebitNumber::LAST);
    }

    /// The job has succeeded, and its debit was written under that number.
    pub(super) fn end_debited(&mut self, number: DebitNumber) {
        self.end_as(Outcome::Succeeded, number);
    }

    fn end_as(&mut self, outcome: Outcome, number: DebitNumber) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let (now, waker) = {
            let mut state = self.gate.state.lock();
            let now = self.gate.now();
            self.terms.admitted = state.date(self.job).unwrap_or(self.terms.admitted);
            debug_assert!(!state.expects(self.job), "a job that ends has no pending result");
            let next = match outcome {
                Outcome::Succeeded => state.policy.succeed(self.job, number, now),
                Outcome::Failed | Outcome::Cancelled => state.policy.end(self.job, outcome, now),
            };
            (now, state.tell_granted(next))
        };
        wake(waker);
        if std::mem::replace(&mut self.slot, false) {
            self.has_held(now);
        }
        let meters = &self.terms.generation.meters;
        meters.job(self.terms.tier, End::from(outcome), self.terms.cost);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.end(Outcome::Cancelled);
            self.note(End::Cancelled, 0);
        }
    }
}
