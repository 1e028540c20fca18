//! A small house to tell stories in: tiers named by their priority, callers by a number, times in seconds.
//!
//! Absent on purpose: anything that decides.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tiergate::policy::caller::{AccountId, Caller, Network};
use tiergate::policy::refusal::Refusal;
use tiergate::policy::rules::{
    CALLERS_MAX_DEFAULT, PoolId, PoolRules, Priority, QueueRules, Rules, Tier, TierId, Within,
};
use tiergate::policy::time::{Span, Timestamp, UnixTime};
use tiergate::policy::{Admission, Ask, ClockStep, Displaced, Grant, JobId, Outcome, Policy};

/// Seven tiers, one a priority, of generous concurrency; one pool with one server of `slots`.
pub fn rules(seats: u32, slots: u32) -> Rules {
    let tier = |priority: Priority| Tier {
        name: format!("p{}", priority.get()).into(),
        priority,
        concurrency: 100,
        quotas: Vec::new(),
        max_wait: None,
        displacements_per_minute: 1_000,
        limits: Vec::new(),
    };
    Rules {
        queue: QueueRules {
            length: seats,
            within_tier: Within::Fifo,
            max_wait: Span::from_secs(30),
            lifeline: None,
        },
        windows: Vec::new(),
        tiers: Priority::all().map(tier).collect(),
        anonymous: TierId(0),
        pools: vec![PoolRules {
            name: "search".into(),
            slots: vec![slots],
        }],
        limits: Vec::new(),
        callers_max: CALLERS_MAX_DEFAULT,
    }
}

pub const POOL: PoolId = PoolId(0);

/// How long quotas may stand still where the system's clock has stepped back.
pub const STEP_MAX: Span = Span::from_secs(300);

pub fn caller(number: u64) -> Caller {
    Caller::Account(AccountId(number.try_into().expect("tests have few callers")))
}

/// An ask that is ready and names no wait, of the tier with that priority.
pub fn ask(caller_number: u64, priority: u8) -> Ask {
    Ask {
        caller: caller(caller_number),
        from: Network::V4(Ipv4Addr::LOCALHOST),
        tier: TierId(priority.into()),
        own: None,
        delegate: None,
        cost: 1,
        pool: POOL,
        ready: true,
        max_wait: None,
        prefer_wait: None,
    }
}

/// A policy and what time it is.
pub struct House {
    pub policy: Policy,
    pub now: Timestamp,
}

impl House {
    pub fn new(rules: Rules) -> Self {
        Self {
            policy: Policy::new(Arc::new(rules)),
            now: Timestamp::ZERO,
        }
    }

    /// A house in which every slot is taken, by callers that appear nowhere else.
    pub fn busy(rules: Rules) -> (Self, Vec<JobId>) {
        let mut house = Self::new(rules);
        let running = (0..house.policy.slots(POOL))
            .map(|number| house.runs(&ask(1_000_000 + u64::from(number), 6)).job)
            .collect();
        (house, running)
    }

    pub fn pass(&mut self, span: Span) {
        self.now = self.now + span;
    }

    /// The system's wall clock reads so.
    pub fn set_clock(&mut self, reading: UnixTime) -> ClockStep {
        self.policy.follow_clock(reading, self.now, STEP_MAX)
    }

    /// Other rules, of a file that lists nobody.
    pub fn reload(&mut self, rules: Rules) -> Vec<Grant> {
        self.policy.reload(Arc::new(rules), |_| None, self.now)
    }

    pub fn enter(&mut self, ask: &Ask) -> Result<Admission, Refusal> {
        self.policy.enter(ask, self.now)
    }

    /// Enters and must get a slot at once.
    pub fn runs(&mut self, ask: &Ask) -> Grant {
        match self.enter(ask) {
            Ok(Admission::Running { grant, .. }) => grant,
            other => panic!("{ask:?} should run, but: {other:?}"),
        }
    }

    /// Enters and must get a seat that was free.
    pub fn sits(&mut self, ask: &Ask) -> JobId {
        match self.seated(ask) {
            (job, _, None) => job,
            (_, _, displaced) => panic!("{ask:?} should find a free seat, but displaced {displaced:?}"),
        }
    }

    /// Enters and must get the seat of somebody else: the newcomer, and who made room.
    pub fn displaces(&mut self, ask: &Ask) -> (JobId, JobId) {
        match self.seated(ask) {
            (job, _, Some(displaced)) => (job, displaced.job),
            (job, _, None) => panic!("{ask:?} should displace somebody, but {job:?} found a free seat"),
        }
    }

    /// Enters and must get a seat: the job, when its wait is over, and who made room.
    pub fn seated(&mut self, ask: &Ask) -> (JobId, Timestamp, Option<Displaced>) {
        match self.enter(ask) {
            Ok(Admission::Seated {
                job, until, displaced, ..
            }) => (job, until, displaced),
            other => panic!("{ask:?} should be seated, but: {other:?}"),
        }
    }

    /// Enters and must be refused.
    pub fn refused(&mut self, ask: &Ask) -> Refusal {
        match self.enter(ask) {
            Err(refusal) => refusal,
            Ok(admission) => panic!("{ask:?} should be refused, but: {admission:?}"),
        }
    }

    /// The job succeeds; who gets its slot.
    pub fn succeeds(&mut self, job: JobId) -> Option<Grant> {
        self.policy.end(job, Outcome::Succeeded, self.now)
    }
}
