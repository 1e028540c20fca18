//! A policy with a clock, for tests: tiers named by their priority, callers by a number, times in seconds.

use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::ids::Ids;
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Rules, TierId, UpstreamId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{Admission, ClockStep, Displaced, Grant, JobId, Outcome, Policy, WaitLimits};

use super::request::{AdmissionRequest, RequestExt, request};
use super::rules::{RulesBuilder, tier_a_priority};

/// Seven tiers, one a priority, of generous concurrency; one pool with one server of `slots`.
pub fn rules(queue: u32, slots: u32) -> RulesBuilder {
    tier_a_priority(|tier| tier.concurrency(100).displacements(1_000))
        .queue(queue)
        .upstream("search", &[slots])
}

pub const POOL: UpstreamId = UpstreamId(0);

/// How long quotas may stand still where the system's clock has stepped back.
pub const STEP_MAX: Span = Span::from_secs(300);

pub fn caller(number: u64) -> Caller {
    Caller::Account(AccountId(number.try_into().expect("tests have few callers")))
}

/// A request that is ready and names no wait, of the tier with that priority.
pub fn ask(caller_number: u64, priority: u8) -> AdmissionRequest {
    request(caller(caller_number), TierId(priority.into()))
}

/// A policy and what time it is.
pub struct Harness {
    pub policy: Policy,
    pub now: Timestamp,
    ids: Ids,
}

impl Harness {
    pub fn new(rules: impl Into<Rules>) -> Self {
        let mut ids = Ids::default();
        let rules = ids.assign(&rules.into()).expect("few names");
        Self {
            policy: Policy::new(Arc::new(rules)),
            ids,
            now: Timestamp::ZERO,
        }
    }

    /// A policy in which every slot is taken, by callers that appear nowhere else.
    pub fn busy(rules: impl Into<Rules>) -> (Self, Vec<JobId>) {
        let mut harness = Self::new(rules);
        let running = (0..harness.policy.slots(POOL))
            .map(|number| harness.runs(&ask(1_000_000 + u64::from(number), 6)).job)
            .collect();
        (harness, running)
    }

    pub fn pass(&mut self, span: Span) {
        self.now = self.now + span;
    }

    /// The system's wall clock reads so.
    pub fn set_clock(&mut self, reading: UnixTime) -> ClockStep {
        self.policy.follow_clock(reading, self.now, STEP_MAX)
    }

    /// Other rules, of a file that lists no account.
    pub fn reload(&mut self, rules: impl Into<Rules>) -> Vec<Grant> {
        let rules = self.ids.assign(&rules.into()).expect("few names");
        self.policy.reload(Arc::new(rules), |_| None, self.now)
    }

    pub fn enter(&mut self, ask: &AdmissionRequest) -> Result<Admission, Refusal> {
        self.policy.enter(ask, self.now)
    }

    /// Enters and must get a slot at once.
    pub fn runs(&mut self, ask: &AdmissionRequest) -> Grant {
        match self.enter(ask) {
            Ok(Admission::Running { grant, .. }) => grant,
            other => panic!("{ask:?} should run, but: {other:?}"),
        }
    }

    /// Enters and must get a free queue place.
    pub fn queues(&mut self, ask: &AdmissionRequest) -> JobId {
        match self.queued(ask) {
            (job, _, None) => job,
            (_, _, displaced) => panic!("{ask:?} should find a free queue place, but displaced {displaced:?}"),
        }
    }

    /// Enters and must displace a job: the new job, and the displaced one.
    pub fn displaces(&mut self, ask: &AdmissionRequest) -> (JobId, JobId) {
        match self.queued(ask) {
            (job, _, Some(displaced)) => (job, displaced.job),
            (job, _, None) => panic!("{ask:?} should displace a job, but {job:?} found a free queue place"),
        }
    }

    /// Enters and must be queued: the job, when its wait ends, and the displaced job.
    pub fn queued(&mut self, ask: &AdmissionRequest) -> (JobId, Timestamp, Option<Displaced>) {
        match self.enter(ask) {
            Ok(Admission::Queued {
                job, until, displaced, ..
            }) => (job, until, displaced),
            other => panic!("{ask:?} should be queued, but: {other:?}"),
        }
    }

    /// Enters and must upload.
    pub fn uploads(&mut self, ask: &AdmissionRequest) -> JobId {
        match self.enter(&ask.clone().uploading()) {
            Ok(Admission::Uploading { job, .. }) => job,
            other => panic!("{ask:?} should upload, but: {other:?}"),
        }
    }

    /// The body of an uploading job is complete, which came with that request.
    pub fn arrives_with(&mut self, job: JobId, waits: WaitLimits) -> Result<Admission, Refusal> {
        let arrived = self.policy.arrive(job, waits, self.now);
        arrived.unwrap_or_else(|| panic!("{job:?} should be uploading"))
    }

    /// The body of an uploading job is complete. It came without any longest wait.
    pub fn arrives(&mut self, job: JobId) -> Result<Admission, Refusal> {
        self.arrives_with(job, WaitLimits::default())
    }

    /// Enters and must be refused.
    pub fn refused(&mut self, ask: &AdmissionRequest) -> Refusal {
        match self.enter(ask) {
            Err(refusal) => refusal,
            Ok(admission) => panic!("{ask:?} should be refused, but: {admission:?}"),
        }
    }

    /// The job succeeds. Returns the grant of its slot to the next.
    pub fn succeeds(&mut self, job: JobId) -> Option<Grant> {
        self.policy.end(job, Outcome::Succeeded, self.now)
    }
}
