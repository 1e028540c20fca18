//! What happens to admitted jobs until they end.

use tiergate_policy::rules::Priority;
use tiergate_policy::time::{Timestamp, UnixTime};
use tiergate_policy::{Outcome, Relocation, State, WaitLimits};

use super::super::request::AdmissionRequest;
use super::admission::Claim;
use super::service::join;
use super::{Entered, Granted, Job, Model, Number};

impl Model {
    /// §2.5: the body is complete: the wait begins, and a slot or a queue place is taken, under the tier's present terms; or
    /// nothing, and the job counts as refused. `None` if it isn't uploading.
    pub fn arrive(&mut self, number: Number, waits: WaitLimits, now: Timestamp) -> Option<Entered> {
        let job = self.job(number).filter(|job| job.is_uploading())?.clone();
        let tier = self.rules.tier(job.tier).clone();
        let place = self.is_open().and_then(|()| {
            let claim = Claim {
                caller: job.caller,
                pool: job.pool,
                tier: &tier,
                waits,
            };
            self.find_place(&claim, now)
        });
        Some(match place {
            Ok(place) => {
                self.job_mut(number).unwrap().entered = now;
                self.take(number, place, now)
            }
            Err(rejection) => {
                self.remove(number);
                self.stats.refused += 1;
                Entered::Refused(rejection)
            }
        })
    }

    /// §6.3: whether it was uploading.
    pub fn end_upload(&mut self, number: Number) -> bool {
        let uploading = self.job(number).is_some_and(Job::is_uploading);
        if uploading {
            self.remove(number);
            self.stats.upload_ended += 1;
        }
        uploading
    }

    /// Whether it was queued.
    pub fn expire(&mut self, number: Number) -> bool {
        let queued = self.job(number).is_some_and(Job::is_queued);
        if queued {
            self.remove(number);
            self.stats.waited_out += 1;
        }
        queued
    }

    pub fn hang_up(&mut self, number: Number) -> bool {
        let queued = self.job(number).is_some_and(Job::is_queued);
        if queued {
            self.remove(number);
            self.stats.hung_up += 1;
        }
        queued
    }

    pub fn give_back_slot(&mut self, number: Number, now: Timestamp) -> Option<Granted> {
        let job = self.job_mut(number)?;
        let State::Running { since, .. } = job.state else {
            return None;
        };
        job.state = State::Ending;
        let pool = job.pool;
        self.pool_mut(pool).slot_times.push(now.since(since));
        self.grant_next(pool, now)
    }

    pub fn end(&mut self, number: Number, outcome: Outcome, now: Timestamp) -> Option<Granted> {
        self.job(number).filter(|job| !job.is_uploading() && !job.is_queued())?;
        // Without effect on a job that moves; no job waits for what it leaves.
        let next = self.give_back_slot(number, now);
        let job = self.job(number).unwrap().clone();
        self.remove(number);
        // §5.3: only success debits; §5.6: at the time of its admission.
        if outcome == Outcome::Succeeded {
            for caller in job.counted() {
                self.debits.debit(caller, job.admitted, job.cost.into());
            }
        }
        match outcome {
            Outcome::Succeeded => self.stats.succeeded += 1,
            Outcome::Failed => self.stats.failed += 1,
            Outcome::Cancelled => self.stats.cancelled += 1,
        }
        next
    }

    /// As if the client had hung up while the job was queued: it was granted a slot but not notified.
    pub fn decline(&mut self, number: Number, now: Timestamp) -> Option<Granted> {
        let job = self.job(number)?.clone();
        let State::Running { .. } = job.state else { return None };
        self.remove(number);
        self.stats.hung_up += 1;
        self.grant_next(job.pool, now)
    }

    /// §2.7: that server is down. On another one at once, if one has a free slot; later, if one is up; or not at all.
    pub fn relocate(&mut self, number: Number, now: Timestamp) -> Relocation {
        let Some(job) = self.job(number).cloned() else {
            return Relocation::Nowhere;
        };
        let State::Running { server: from, .. } = job.state else {
            return Relocation::Nowhere;
        };
        self.server_down(job.pool, from);
        if let Some(to) = self.free(job.pool) {
            self.occupy(number, to, now);
            return Relocation::To(to);
        }
        if self.slots(job.pool) == 0 {
            return Relocation::Nowhere;
        }
        self.events += 1;
        let events = self.events;
        let job = self.job_mut(number).unwrap();
        job.state = State::Moving { since: now };
        job.placed = events;
        Relocation::Waits
    }

    /// The job gives up the slot that it waits for by moving, or was not notified of. That slot is no measure of slot times.
    pub fn forgo(&mut self, number: Number, now: Timestamp) -> Option<Granted> {
        let job = self.job_mut(number)?;
        if !matches!(job.state, State::Running { .. } | State::Moving { .. }) {
            return None;
        }
        job.state = State::Ending;
        let pool = job.pool;
        self.grant_next(pool, now)
    }

    /// Those whom it refuses: uploading and queued ones.
    pub fn shut_down(&mut self) -> Vec<Number> {
        self.closing = true;
        let refused: Vec<Job> = self
            .jobs
            .iter()
            .filter(|job| job.is_uploading() || job.is_queued())
            .cloned()
            .collect();
        for job in &refused {
            self.remove(job.number);
            if job.is_queued() {
                self.stats.shut_down += 1;
            } else {
                self.stats.upload_ended += 1;
            }
        }
        refused.iter().map(|job| job.number).collect()
    }

    /// An admitted job: it holds quota and concurrency, and as yet nothing else.
    pub(super) fn insert(
        &mut self,
        ask: &AdmissionRequest,
        priority: Priority,
        now: Timestamp,
        wall: UnixTime,
    ) -> Number {
        self.note_user(ask.caller, wall);
        let number = self.admitted;
        self.admitted += 1;
        self.jobs.push(Job {
            number,
            caller: ask.caller,
            tier: ask.tier,
            priority,
            pool: ask.pool,
            entered: now,
            admitted: wall,
            cost: ask.cost,
            state: State::Uploading,
            placed: 0,
        });
        number
    }

    pub(super) fn join_ring(&mut self, number: Number) {
        let job = self.job(number).unwrap().clone();
        let ring = &mut self.pool_mut(job.pool).rings[job.priority.index()];
        join(ring, job.caller, job.placed);
    }

    /// The job, still in line, gets a slot: its caller goes to the end of the ring, or out of it.
    pub(super) fn take_turn(&mut self, number: Number) {
        self.events += 1;
        let job = self.job(number).unwrap().clone();
        let others = self
            .in_line(job.pool)
            .any(|other| other.number != number && other.caller == job.caller && other.priority == job.priority);
        let events = self.events;
        let ring = &mut self.pool_mut(job.pool).rings[job.priority.index()];
        ring.retain(|(caller, _)| *caller != job.caller);
        if others {
            ring.push((job.caller, events));
        }
    }

    /// Removes the job. A caller without another job in line leaves the ring.
    pub(super) fn remove(&mut self, number: Number) {
        let job = self.job(number).unwrap().clone();
        self.jobs.retain(|job| job.number != number);
        if job.is_queued() {
            let others = self
                .in_line(job.pool)
                .any(|other| other.caller == job.caller && other.priority == job.priority);
            if !others {
                let ring = &mut self.pool_mut(job.pool).rings[job.priority.index()];
                ring.retain(|(caller, _)| *caller != job.caller);
            }
        }
    }
}
