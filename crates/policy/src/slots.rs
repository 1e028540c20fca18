//! Handing out slots: to the next in line, to jobs that change servers, and as servers go down and come back.

use super::rules::{ServerId, UpstreamId};
use super::time::Timestamp;
use super::{Grant, JobId, Policy, Relocation, State, place};

impl Policy {
    /// The upstream's response has ended: frees the slot and gives it to the next in line. The caller's concurrency is held
    /// until [`Self::end`]. Nothing happens if the job holds no slot.
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

    /// The job's server could not be reached: marks it down and moves the job to another server that is up, at once or as soon
    /// as a slot is free (rules §2.7). Nothing happens if the job holds no slot.
    ///
    /// No other job gets a slot by this: the server that the job leaves is down, and if another one had a free slot, nothing
    /// was waiting for it.
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

    /// The moving job gives up its wait for a slot, or a slot that it was granted but not notified of: the slot goes to the
    /// next in line. The caller's concurrency is held until [`Self::end`]. Nothing happens if the job neither moves nor holds a
    /// slot.
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

    /// Marks the server down: its slots don't count until it is back. Jobs on it go on. Nothing happens if it was removed from
    /// the rules.
    pub fn server_down(&mut self, pool: UpstreamId, server: ServerId) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.set_up(server, false);
        }
    }

    /// The server, if it is down, will be probed at that time: no job is told to come back before, while none is up
    /// (rules §3.10). Nothing happens if it was removed from the rules.
    pub fn server_probed_at(&mut self, pool: UpstreamId, server: ServerId, at: Timestamp) {
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.set_next_probe(server, at);
        }
    }

    /// Marks the server up: its slots go to moving jobs, then to queued ones. Nothing happens if it was removed from the rules.
    pub fn server_up(&mut self, pool: UpstreamId, server: ServerId, now: Timestamp) -> Vec<Grant> {
        match self.pools.get_mut(pool) {
            Some(of) => of.set_up(server, true),
            None => return Vec::new(),
        }
        self.fill(pool, now)
    }

    /// Hands out free slots while jobs wait.
    pub(super) fn fill(&mut self, pool: UpstreamId, now: Timestamp) -> Vec<Grant> {
        std::iter::from_fn(|| self.next(pool, now)).collect()
    }

    /// A server with a free slot for a job that holds none yet: none while dispatch is paused.
    pub(super) fn dispatchable(&self, pool: UpstreamId) -> Option<ServerId> {
        self.pools[pool].free().filter(|_| !self.paused)
    }

    /// Hands a free slot to the first moving job, otherwise to the next in the order of service (rules §3.5–7).
    pub(super) fn next(&mut self, pool: UpstreamId, now: Timestamp) -> Option<Grant> {
        let server = self.pools[pool].free()?;
        if let Some(index) = self.pools[pool].moving.head() {
            return Some(self.move_in(index, pool, server, now));
        }
        if self.paused {
            return None;
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

    /// Gives the slot to a job that has just left the queue.
    fn grant(&mut self, index: u32, pool: UpstreamId, server: ServerId, now: Timestamp) -> Grant {
        let caller = self.jobs.at(index).caller;
        caller.counted().for_each(|caller| self.concurrency.dequeue(&caller));
        self.start(index, pool, server, now)
    }

    /// Gives the job its first slot.
    pub(super) fn start(&mut self, index: u32, pool: UpstreamId, server: ServerId, now: Timestamp) -> Grant {
        let job = self.jobs.at_mut(index);
        job.state = State::Running { server, since: now };
        let (admitted, waited, priority) = (job.admitted, now.since(job.entered), job.priority);
        self.pools[pool].place(server, priority);
        Grant {
            job: self.jobs.id(index),
            admitted,
            server,
            waited,
            priority,
        }
    }

    /// Gives the slot to a moving job. It had one before, so neither the shares nor the lifeline count it again.
    fn move_in(&mut self, index: u32, pool: UpstreamId, server: ServerId, now: Timestamp) -> Grant {
        let of = &mut self.pools[pool];
        of.moving.remove(&mut self.jobs, index);
        of.occupy(server);
        let id = self.jobs.id(index);
        let job = self.jobs.at_mut(index);
        let before = std::mem::replace(&mut job.state, State::Running { server, since: now });
        let State::Moving { since } = before else {
            unreachable!("the list contains only moving jobs")
        };
        Grant {
            job: id,
            admitted: job.admitted,
            server,
            waited: now.since(since),
            priority: job.priority,
        }
    }
}
