//! How a job is admitted or refused.

use tiergate_policy::caller::Caller;
use tiergate_policy::rules::{Priority, ServerId, Tier, UpstreamId};
use tiergate_policy::time::{Span, Timestamp};
use tiergate_policy::{RequestBody, State, WaitLimits};

use super::super::request::AdmissionRequest;
use super::{Entered, Model, Number, Rejection, count};

/// What is asked for a job: for a new one, or when its body is complete.
pub(super) struct Claim<'a> {
    pub(super) caller: Caller,
    pub(super) pool: UpstreamId,
    pub(super) tier: &'a Tier,
    pub(super) waits: WaitLimits,
}

/// What there is for it.
pub(super) enum Place {
    Slot(ServerId),
    Queue { victim: Option<Number>, until: Timestamp },
}

impl Model {
    /// §2.4: users, quotas, concurrency, then a slot or a queue place.
    pub fn enter(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        self.events += 1;
        self.stats.arrived += 1;
        let entered = self.admit(ask, now);
        if let Entered::Refused(_) = entered {
            self.stats.refused += 1;
        }
        entered
    }

    fn admit(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        let wall = self.wall_clock(now);
        let tier = self.rules.tier(ask.tier).clone();
        let place = self
            .is_open()
            .and_then(|()| self.users_have_room(ask, wall))
            .and_then(|()| self.quotas_have_room(ask, wall, now))
            .and_then(|()| self.concurrency_has_room(ask))
            .and_then(|()| {
                let claim = Claim {
                    caller: ask.caller,
                    pool: ask.pool,
                    tier: &tier,
                    waits: ask.waits,
                };
                self.find_place(&claim, now)
            });
        let place = match place {
            Ok(place) => place,
            Err(rejection) => return Entered::Refused(rejection),
        };
        let number = self.insert(ask, tier.priority, now, wall);
        match ask.body {
            RequestBody::Complete => self.take(number, place, now),
            // §2.5: it was checked as if it were complete, and takes none of it.
            RequestBody::Arriving => Entered::Uploading(number),
        }
    }

    /// Whether any job is admitted now.
    pub(super) fn is_open(&self) -> Result<(), Rejection> {
        if self.closing {
            Err(Rejection::ShuttingDown)
        } else if self.admission_stopped {
            Err(Rejection::AdmissionStopped)
        } else {
            Ok(())
        }
    }

    /// §2.4: a slot, then a queue place; §3.9: then the wait.
    pub(super) fn find_place(&self, claim: &Claim<'_>, now: Timestamp) -> Result<Place, Rejection> {
        if let Some(server) = self.dispatchable(claim.pool) {
            return Ok(Place::Slot(server));
        }
        let victim = self.queue_place(claim, now)?;
        let longest = self.longest_wait(claim)?;
        Ok(Place::Queue {
            victim,
            until: now + longest,
        })
    }

    /// The job, which holds neither yet, gets the slot or the queue place. Another one has to leave for that.
    pub(super) fn take(&mut self, number: Number, place: Place, now: Timestamp) -> Entered {
        match place {
            Place::Slot(server) => Entered::Running(self.grant(number, server, now)),
            Place::Queue { victim, until } => {
                if let Some(victim) = victim {
                    self.remove(victim);
                    let by = self.job(number).unwrap().caller;
                    self.displacements.push((now, by));
                    self.stats.displaced += 1;
                }
                self.events += 1;
                let events = self.events;
                let job = self.job_mut(number).unwrap();
                job.state = State::Waiting;
                job.placed = events;
                self.join_ring(number);
                Entered::Queued {
                    number,
                    until,
                    displaced: victim,
                }
            }
        }
    }

    /// §4.
    fn concurrency_has_room(&self, ask: &AdmissionRequest) -> Result<(), Rejection> {
        for (caller, tier, own) in self.quota_subjects(ask) {
            let limit = own.and_then(|own| own.concurrency).unwrap_or(tier.concurrency);
            let used = self.jobs_of(caller);
            if used >= limit {
                return Err(Rejection::ConcurrencyExceeded { limit, used });
            }
        }
        Ok(())
    }

    /// §3.1, §3.2, §3.4: a free queue place, or that of a job of the lowest priority, if that is lower.
    fn queue_place(&self, claim: &Claim<'_>, now: Timestamp) -> Result<Option<Number>, Rejection> {
        let tier = claim.tier;
        let capacity = self.rules.queue.length;
        if self.queued() < capacity {
            return Ok(None);
        }
        let lowest = self.lowest_queued();
        let may = self.displaced_within_a_minute(claim.caller, now) < tier.displacements_per_minute;
        match lowest {
            Some(lowest) if lowest < tier.priority && may => Ok(Some(self.served_last(lowest))),
            _ => Err(Rejection::QueueFull {
                capacity,
                admits_from: lowest.and_then(Priority::above),
            }),
        }
    }

    /// §3.9: the least of the four; and no wait that is known to be in vain.
    fn longest_wait(&self, claim: &Claim<'_>) -> Result<Span, Rejection> {
        let (pool, tier, waits) = (claim.pool, claim.tier, claim.waits);
        let mut longest = self.rules.queue.max_wait;
        for other in [tier.max_wait, waits.route, waits.client].into_iter().flatten() {
            longest = longest.min(other);
        }
        if let Some(asked) = waits.client {
            let ahead = self.ahead_of(pool, tier.priority, claim.caller);
            let estimate = self.estimate_behind(pool, tier.priority, ahead);
            let enough_seen = self.pool(pool).slot_times.len() >= 20;
            if asked.is_zero() || (ahead > 0 && enough_seen && estimate > asked) {
                return Err(Rejection::WaitTooLong { asked, estimate });
            }
        }
        Ok(longest)
    }

    pub fn displaced_within_a_minute(&self, caller: Caller, now: Timestamp) -> u32 {
        let lately = |at: Timestamp| now.since(at) < Span::from_secs(60);
        count(
            self.displacements
                .iter()
                .filter(|(at, by)| *by == caller && lately(*at)),
        )
    }
}
