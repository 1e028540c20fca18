//! Where a job goes whose body is complete: to a free slot, otherwise to the queue, or nowhere (rules §2.5, §3.2, §3.9).
//!
//! Finding a place changes nothing. So a request whose body still arrives can be refused for the same reasons as one that is
//! complete, and takes nothing if it is not.

use super::caller::Caller;
use super::event::{Admission, Displaced, UnenforcedQuotas, WaitLimits};
use super::jobs::{JobId, State};
use super::outlook::Room;
use super::pool::SLOT_TIMES_MIN;
use super::refusal::Refusal;
use super::rules::{Priority, ServerId, Tier, UpstreamId};
use super::time::{Span, Timestamp, UnixTime};
use super::{Policy, place};

/// What a job asks for: a new one, or one whose body has arrived.
pub(super) struct Claim<'a> {
    pub(super) caller: Caller,
    pub(super) pool: UpstreamId,
    pub(super) tier: &'a Tier,
    pub(super) waits: WaitLimits,
}

/// What was found for it.
pub(super) enum Place {
    /// A slot of that server.
    Slot(ServerId),
    /// A place in the queue.
    Queue {
        /// The job that has it now, which has to leave; `None` if the place is free.
        victim: Option<u32>,
        /// How long the job may wait.
        longest: Span,
        /// How long it is expected to wait.
        estimate: Span,
    },
}

impl Policy {
    /// Finds a slot, otherwise a queue place whose wait is not in vain.
    pub(super) fn find_place(&mut self, claim: &Claim<'_>, now: Timestamp) -> Result<Place, Refusal> {
        if let Some(server) = self.dispatchable(claim.pool) {
            return Ok(Place::Slot(server));
        }
        let victim = self.queue_place(claim, now)?;
        let (longest, estimate) = self.longest_wait(claim, now)?;
        Ok(Place::Queue {
            victim,
            longest,
            estimate,
        })
    }

    /// Gives the job what was just found for it.
    pub(super) fn take_place(
        &mut self,
        job: JobId,
        claim: &Claim<'_>,
        found: Place,
        overdrawn: UnenforcedQuotas,
        now: Timestamp,
    ) -> Admission {
        match found {
            Place::Slot(server) => Admission::Running {
                grant: self.start(place(job), claim.pool, server, now),
                overdrawn,
            },
            Place::Queue {
                victim,
                longest,
                estimate,
            } => {
                let displaced = victim.map(|index| self.displace(index, claim, now));
                Admission::Queued {
                    job,
                    admitted: self.enqueue(job),
                    priority: claim.tier.priority,
                    until: now + longest,
                    estimate,
                    displaced,
                    overdrawn,
                }
            }
        }
    }

    /// Whether the queue has a place: a free one (`None`), or that of a job of lower priority (rules §3.2, §3.4).
    fn queue_place(&mut self, claim: &Claim<'_>, now: Timestamp) -> Result<Option<u32>, Refusal> {
        let room = self.room(claim.tier.priority);
        let limit = claim.tier.displacements_per_minute;
        match room {
            Room::Free => Ok(None),
            Room::Below(lowest) if self.displacements.may(&claim.caller, limit, now) => {
                Ok(self.queue.last(&self.jobs, lowest))
            }
            Room::Below(lowest) => Err(self.queue_full(claim, Some(lowest), now)),
            Room::Full(lowest) => Err(self.queue_full(claim, lowest, now)),
        }
    }

    fn queue_full(&self, claim: &Claim<'_>, lowest: Option<Priority>, now: Timestamp) -> Refusal {
        Refusal::QueueFull {
            capacity: self.rules.queue.length,
            admits_from: lowest.and_then(Priority::above),
            retry_after: self.retry_after(claim.pool, claim.tier.priority, now),
        }
    }

    /// The shortest of the longest waits of queue, tier, route and client (rules §3.9), and the estimated wait.
    fn longest_wait(&self, claim: &Claim<'_>, now: Timestamp) -> Result<(Span, Span), Refusal> {
        let (pool, priority) = (claim.pool, claim.tier.priority);
        let ours = [Some(self.rules.queue.max_wait), claim.tier.max_wait, claim.waits.route];
        let longest = ours.into_iter().flatten().min().unwrap_or(Span::ZERO);
        let Some(asked) = claim.waits.client else {
            return Ok((longest, self.estimate(pool, priority)));
        };
        let of = &self.pools[pool];
        let ahead = of.moving.len() + self.queue.ahead_of(pool, priority, &claim.caller);
        let estimate = of.estimate(priority, ahead);
        let in_vain = ahead > 0 && of.seen() >= SLOT_TIMES_MIN && estimate > asked;
        if in_vain || asked.is_zero() {
            let retry_after = self.retry_after(pool, priority, now);
            return Err(Refusal::WaitTooLong {
                asked,
                estimate,
                retry_after,
            });
        }
        Ok((longest.min(asked), estimate))
    }

    fn displace(&mut self, index: u32, claim: &Claim<'_>, now: Timestamp) -> Displaced {
        let job = self.jobs.id(index);
        let lost = self.leave(index);
        self.displacements.note(claim.caller, now);
        self.stats.displaced += 1;
        let retry_after = self.retry_after(lost.pool, lost.priority, now);
        Displaced {
            job,
            tier: lost.tier,
            priority: lost.priority,
            admitted: lost.admitted,
            refusal: Refusal::Displaced {
                by: claim.tier.priority,
                retry_after,
            },
        }
    }

    /// Queues the job, and returns its date.
    fn enqueue(&mut self, job: JobId) -> UnixTime {
        let waiting = self.jobs.at_mut(place(job));
        waiting.state = State::Waiting;
        let (caller, admitted) = (waiting.caller, waiting.admitted);
        caller.counted().for_each(|caller| self.concurrency.enqueue(&caller));
        self.queue.enqueue(&mut self.jobs, place(job));
        admitted
    }
}
