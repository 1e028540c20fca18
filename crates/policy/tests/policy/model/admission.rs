//! How a job is admitted or refused.

use tiergate_policy::caller::Caller;
use tiergate_policy::rules::{Priority, Tier};
use tiergate_policy::time::{Span, Timestamp};

use super::super::request::AdmissionRequest;
use super::{Entered, Model, Number, Rejection, count};

impl Model {
    /// §2.4: users, quotas, concurrency, then a slot, then a queue place; §3.9: then the wait.
    pub fn enter(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        self.events += 1;
        self.stats.arrived += 1;
        let entered = self.admit(ask, now);
        if let Entered::Refused(_) = entered {
            self.stats.refused += 1;
        }
        entered
    }

    pub(super) fn admit(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        if self.closing {
            return Entered::Refused(Rejection::ShuttingDown);
        }
        let wall = self.wall_clock(now);
        if self.admission_stopped {
            return Entered::Refused(Rejection::AdmissionStopped);
        }
        let limits = self
            .users_have_room(ask, wall)
            .and_then(|()| self.quotas_have_room(ask, wall, now))
            .and_then(|()| self.concurrency_has_room(ask));
        if let Err(rejection) = limits {
            return Entered::Refused(rejection);
        }
        let tier = self.rules.tier(ask.tier).clone();
        // §6: without a free queue place, it uploads in a slot that would be idle, and displaces nobody.
        let can_queue = self.queued() < self.rules.queue.length && ask.prefer_wait != Some(Span::ZERO);
        if (ask.ready || !can_queue)
            && let Some(server) = self.dispatchable(ask.pool)
        {
            let number = self.insert(ask, tier.priority, now, wall);
            return Entered::Running(self.grant(number, server, now));
        }
        let place = self.queue_place(ask, &tier, now);
        let (victim, longest) = match place.and_then(|victim| Ok((victim, self.longest_wait(ask, &tier)?))) {
            Ok(found) => found,
            Err(rejection) => return Entered::Refused(rejection),
        };
        if let Some(victim) = victim {
            self.remove(victim);
            self.displacements.push((now, ask.caller));
            self.stats.displaced += 1;
        }
        let number = self.insert(ask, tier.priority, now, wall);
        if ask.ready {
            self.join_ring(number);
        }
        Entered::Queued {
            number,
            until: now + longest,
            displaced: victim,
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
    fn queue_place(&self, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Result<Option<Number>, Rejection> {
        let capacity = self.rules.queue.length;
        if self.queued() < capacity {
            return Ok(None);
        }
        let lowest = self.lowest_queued();
        let may = self.displaced_within_a_minute(ask.caller, now) < tier.displacements_per_minute;
        match lowest {
            Some(lowest) if lowest < tier.priority && may => Ok(Some(self.served_last(lowest))),
            _ => Err(Rejection::QueueFull {
                capacity,
                admits_from: lowest.and_then(Priority::above),
            }),
        }
    }

    /// §3.9: the least of the four; and no wait that is known to be in vain.
    fn longest_wait(&self, ask: &AdmissionRequest, tier: &Tier) -> Result<Span, Rejection> {
        let mut longest = self.rules.queue.max_wait;
        for other in [tier.max_wait, ask.max_wait, ask.prefer_wait].into_iter().flatten() {
            longest = longest.min(other);
        }
        if let Some(asked) = ask.prefer_wait {
            let ahead = self.ahead_of(ask.pool, tier.priority, ask.caller);
            let estimate = self.estimate_behind(ask.pool, tier.priority, ahead);
            let enough_seen = self.pool(ask.pool).slot_times.len() >= 20;
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
