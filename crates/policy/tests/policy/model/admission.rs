//! How a job is let in or refused.

use tiergate_policy::caller::Caller;
use tiergate_policy::rules::{Priority, Tier};
use tiergate_policy::time::{Span, Timestamp};

use super::super::request::AdmissionRequest;
use super::{Entered, Model, No, Number, count};

impl Model {
    /// §2.4: users, quotas, concurrency, then a slot, then a seat; §3.9: then the wait.
    pub fn enter(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        self.events += 1;
        self.stats.arrived += 1;
        let entered = self.admit(ask, now);
        if let Entered::No(_) = entered {
            self.stats.refused += 1;
        }
        entered
    }

    pub(super) fn admit(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Entered {
        if self.closing {
            return Entered::No(No::ShuttingDown);
        }
        let wall = self.wall_clock(now);
        let limits = self
            .users_have_room(ask, wall)
            .and_then(|()| self.quotas_have_room(ask, wall, now))
            .and_then(|()| self.concurrency_has_room(ask));
        if let Err(no) = limits {
            return Entered::No(no);
        }
        let tier = self.rules.tier(ask.tier).clone();
        // §6: with no free seat to upload in, it uploads in a slot that would be idle, and displaces nobody.
        let could_sit = self.seated() < self.rules.queue.length && ask.prefer_wait != Some(Span::ZERO);
        if (ask.ready || !could_sit)
            && let Some(server) = self.free(ask.pool)
        {
            let number = self.insert(ask, tier.priority, now, wall);
            return Entered::Running(self.hand(number, server, now));
        }
        let seat = self.seat_for(ask, &tier, now);
        let (victim, longest) = match seat.and_then(|victim| Ok((victim, self.longest_wait(ask, &tier)?))) {
            Ok(found) => found,
            Err(no) => return Entered::No(no),
        };
        if let Some(victim) = victim {
            self.remove(victim);
            self.displacements.push((now, ask.caller));
            self.stats.displaced += 1;
        }
        let number = self.insert(ask, tier.priority, now, wall);
        if ask.ready {
            self.stand_in_line(number);
        }
        Entered::Seated {
            number,
            until: now + longest,
            displaced: victim,
        }
    }

    /// §4.
    pub(super) fn concurrency_has_room(&self, ask: &AdmissionRequest) -> Result<(), No> {
        for (caller, tier, own) in self.parties(ask) {
            let limit = own.and_then(|own| own.concurrency).unwrap_or(tier.concurrency);
            let used = self.jobs_of(caller);
            if used >= limit {
                return Err(No::ConcurrencyExceeded { limit, used });
            }
        }
        Ok(())
    }

    /// §3.1, §3.2, §3.4: a free seat, or that of somebody of the lowest priority, if that is lower.
    pub(super) fn seat_for(&self, ask: &AdmissionRequest, tier: &Tier, now: Timestamp) -> Result<Option<Number>, No> {
        let seats = self.rules.queue.length;
        if self.seated() < seats {
            return Ok(None);
        }
        let lowest = self.lowest_seated();
        let may = self.displaced_within_a_minute(ask.caller, now) < tier.displacements_per_minute;
        match lowest {
            Some(lowest) if lowest < tier.priority && may => Ok(Some(self.served_last(lowest))),
            _ => Err(No::QueueFull {
                seats,
                admits_from: lowest.and_then(Priority::above),
            }),
        }
    }

    /// §3.9: the least of the four; and no waiting in vain.
    pub(super) fn longest_wait(&self, ask: &AdmissionRequest, tier: &Tier) -> Result<Span, No> {
        let mut longest = self.rules.queue.max_wait;
        for other in [tier.max_wait, ask.max_wait, ask.prefer_wait].into_iter().flatten() {
            longest = longest.min(other);
        }
        if let Some(asked) = ask.prefer_wait {
            let ahead = self.ahead_of(ask.pool, tier.priority, ask.caller);
            let estimate = self.estimate_behind(ask.pool, tier.priority, ahead);
            let enough_seen = self.pool(ask.pool).slot_times.len() >= 20;
            if asked.is_zero() || (ahead > 0 && enough_seen && estimate > asked) {
                return Err(No::WaitTooLong { asked, estimate });
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
