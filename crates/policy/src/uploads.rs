//! Jobs whose bodies still arrive (rules §2.5, §6): they hold quota and concurrency, and neither a queue place nor a slot. So a
//! slow client keeps nobody from being served.

use std::sync::Arc;

use super::event::{Admission, UnenforcedQuotas, WaitLimits};
use super::jobs::{Job, JobId, State};
use super::placement::Claim;
use super::refusal::Refusal;
use super::time::Timestamp;
use super::{Policy, place};

impl Policy {
    /// The body of an uploading job is complete: it gets a slot or a queue place, under its tier's present terms. Its wait
    /// begins now, and its order is that of now; quota and concurrency were decided on admission. `None`, without effect, if it
    /// isn't uploading (any more).
    ///
    /// # Errors
    /// The first reason to refuse. The job has ended and holds nothing.
    pub fn arrive(&mut self, job: JobId, waits: WaitLimits, now: Timestamp) -> Option<Result<Admission, Refusal>> {
        let uploading = self.jobs.get(job).filter(|job| job.state == State::Uploading)?;
        let rules = Arc::clone(&self.rules);
        let claim = Claim {
            caller: uploading.caller,
            pool: uploading.pool,
            tier: rules.tier(uploading.tier),
            waits,
        };
        let found = self.admits(claim.pool, claim.tier.priority, now);
        let found = found.and_then(|()| self.find_place(&claim, now));
        Some(match found {
            Ok(found) => {
                claim
                    .caller
                    .counted()
                    .for_each(|caller| self.concurrency.end_upload(&caller));
                self.jobs.at_mut(place(job)).entered = now;
                Ok(self.take_place(job, &claim, found, UnenforcedQuotas::new(), now))
            }
            Err(refusal) => {
                self.discard_upload(job);
                self.stats.refused += 1;
                Err(refusal)
            }
        })
    }

    /// The body of an uploading job will never be complete: the job ends. Returns whether it was uploading.
    pub fn end_upload(&mut self, job: JobId) -> bool {
        let uploading = self.jobs.get(job).is_some_and(|job| job.state == State::Uploading);
        if uploading {
            self.discard_upload(job);
            self.stats.upload_ended += 1;
        }
        uploading
    }

    /// Removes an uploading job and releases everything it holds.
    pub(super) fn discard_upload(&mut self, job: JobId) -> Job {
        let job = self.jobs.remove(job).expect("an uploading job is in the table");
        job.caller
            .counted()
            .for_each(|caller| self.concurrency.end_upload(&caller));
        self.release(&job);
        job
    }
}
