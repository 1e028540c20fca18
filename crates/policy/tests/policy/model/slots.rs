//! Which job gets which slot.

use tiergate_policy::State;
use tiergate_policy::rules::{ServerId, UpstreamId};
use tiergate_policy::time::Timestamp;

use super::{Granted, Model, Number};

impl Model {
    /// The least busy server that is up and has a free slot; of equally busy ones, the one that got a job longest ago.
    pub(super) fn free(&self, pool: UpstreamId) -> Option<ServerId> {
        let mut free: Vec<ServerId> = self
            .servers(pool)
            .filter(|server| self.running_on(pool, *server) < self.slots_of(pool, *server))
            .collect();
        free.sort_by(|a, b| {
            let busy = |server| {
                (
                    u64::from(self.running_on(pool, server)),
                    u64::from(self.slots_of(pool, server)),
                )
            };
            let ((a_runs, a_slots), (b_runs, b_slots)) = (busy(*a), busy(*b));
            let got = |server: &ServerId| self.server(pool, *server).got;
            (a_runs * b_slots)
                .cmp(&(b_runs * a_slots))
                .then(got(a).cmp(&got(b)))
                .then(a.cmp(b))
        });
        free.first().copied()
    }

    pub(super) fn grant(&mut self, number: Number, server: ServerId, now: Timestamp) -> Granted {
        self.occupy(number, server, now);
        let job = self.job(number).unwrap();
        let (priority, waited, pool) = (job.priority, now.since(job.entered), job.pool);
        let admitted = job.admitted;
        self.pool_mut(pool).granted.push(priority);
        Granted {
            number,
            server,
            admitted,
            waited,
            priority,
        }
    }

    /// The same slot for the same job, elsewhere: it was granted one before.
    fn move_in(&mut self, number: Number, server: ServerId, now: Timestamp) -> Granted {
        let job = self.job(number).unwrap();
        let State::Moving { since } = job.state else {
            panic!("{job:?} doesn't move")
        };
        let (priority, admitted) = (job.priority, job.admitted);
        self.occupy(number, server, now);
        Granted {
            number,
            server,
            admitted,
            waited: now.since(since),
            priority,
        }
    }

    pub(super) fn occupy(&mut self, number: Number, server: ServerId, now: Timestamp) {
        self.events += 1;
        let events = self.events;
        let job = self.job_mut(number).unwrap();
        job.state = State::Running { server, since: now };
        let pool = job.pool;
        self.server_mut(pool, server).got = Some(events);
    }

    /// §2.7: a free slot goes to the job that has been moving longest. §3.5, §3.6: otherwise to the next in the order of service;
    /// every Nth to the job that was queued first.
    pub(super) fn grant_next(&mut self, pool: UpstreamId, now: Timestamp) -> Option<Granted> {
        // §11.1: jobs that move had a slot before.
        let server = self.free(pool)?;
        if let Some(first) = self
            .jobs
            .iter()
            .filter(|job| job.pool == pool && job.moves())
            .min_by_key(|job| job.placed)
        {
            return Some(self.move_in(first.number, server, now));
        }
        self.dispatchable(pool)?;
        self.in_line(pool).next()?;
        self.pool_mut(pool).granted_from_queue += 1;
        let count = self.pool(pool).granted_from_queue;
        let lifeline = self
            .rules
            .queue
            .lifeline
            .is_some_and(|nth| count.is_multiple_of(u64::from(nth)));
        let number = if lifeline {
            self.queued_first(pool)
        } else {
            self.first_in_service(pool)
        };
        self.take_turn(number);
        Some(self.grant(number, server, now))
    }

    pub(super) fn grant_all(&mut self, pool: UpstreamId, now: Timestamp) -> Vec<Granted> {
        std::iter::from_fn(|| self.grant_next(pool, now)).collect()
    }

    fn queued_first(&self, pool: UpstreamId) -> Number {
        self.in_line(pool).min_by_key(|job| job.placed).unwrap().number
    }
}
