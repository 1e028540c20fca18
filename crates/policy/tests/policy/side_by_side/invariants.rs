//! What is always true (rules §9), whatever the model decides.

use tiergate_policy::caller::Caller;
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Priority, ServerId, TierId, UpstreamId};
use tiergate_policy::time::Span;
use tiergate_policy::{Job, JobId, State};

use super::super::model::own_limit;
use super::super::request::AdmissionRequest;
use super::SideBySide;
use super::callers::callers;

/// What was before a call.
#[derive(Default)]
pub(super) struct Before {
    pub(super) queued: u32,
    pub(super) lowest: Option<Priority>,
    pub(super) running: Vec<(UpstreamId, ServerId, u32)>,
    /// By pool: jobs that run or move.
    pub(super) had_a_slot: Vec<(UpstreamId, u32)>,
}

impl Before {
    pub(super) fn of(both: &SideBySide) -> Self {
        let model = &both.model;
        let running = model.pools().flat_map(|pool| {
            model
                .servers(pool)
                .map(move |server| (pool, server, model.running_on(pool, server)))
        });
        Self {
            queued: model.queued(),
            lowest: model.lowest_queued(),
            running: running.collect(),
            had_a_slot: model
                .pools()
                .map(|pool| (pool, both.policy.running(pool) + model.moving(pool)))
                .collect(),
        }
    }
}

impl SideBySide {
    pub(super) fn check(&self, before: &Before) {
        self.check_counts();
        self.check_jobs();
        self.check_places();
        self.check_bounds(before);
        self.check_nothing_idle();
        self.check_controls();
    }

    /// §9.1, and every count that the policy shows, recounted.
    fn check_counts(&self) {
        let stats = self.policy.stats();
        let in_flight = self.policy.in_flight();
        assert_eq!(
            stats.arrived,
            stats.ended() + u64::try_from(in_flight).unwrap(),
            "§9.1: {stats:?}"
        );
        assert_eq!(stats, self.model.stats());
        let jobs = self.model.jobs();
        assert_eq!(in_flight, jobs.len());
        assert_eq!(self.policy.callers(), self.model.callers().len());
        for caller in callers() {
            assert_eq!(self.policy.jobs_of(&caller), self.model.jobs_of(caller), "{caller:?}");
            assert_eq!(
                self.policy.waiting_of(&caller),
                self.model.queued_of(caller),
                "{caller:?}"
            );
            assert_eq!(
                self.policy.uploading_of(&caller),
                self.model.uploading_of(caller),
                "{caller:?}"
            );
        }
        for priority in Priority::all() {
            let queued = jobs.iter().filter(|job| job.is_queued() && job.priority == priority);
            let seen = self.policy.waiting()[priority.index()];
            assert_eq!(
                usize::try_from(seen).unwrap(),
                queued.count(),
                "waiting with {priority:?}"
            );
        }
        for pool in self.model.pools() {
            let running: u32 = self
                .model
                .servers(pool)
                .map(|server| self.model.running_on(pool, server))
                .sum();
            assert_eq!(self.policy.running(pool), running, "{pool:?}");
            assert_eq!(self.policy.slots(pool), self.model.slots(pool), "{pool:?}");
            let turn = u8::try_from(self.history.len() % Priority::COUNT).unwrap();
            let priority = Priority::new(turn).unwrap();
            assert_eq!(
                self.policy.estimate(pool, priority),
                self.model.estimate(pool, priority)
            );
        }
    }

    /// The policy has the same jobs in the same states.
    fn check_jobs(&self) {
        assert_eq!(self.policy.jobs().count(), self.model.jobs().len());
        for expected in self.model.jobs() {
            let job = self.policy.job(self.names[expected.number]).expect("it is in flight");
            assert_eq!(
                (job.caller, job.tier, job.priority, job.pool, job.state),
                (
                    expected.caller,
                    expected.tier,
                    expected.priority,
                    expected.pool,
                    expected.state
                )
            );
            assert_eq!(
                (job.entered, job.admitted, job.cost),
                (expected.entered, expected.admitted, expected.cost)
            );
        }
    }

    /// §2.5: the places are those of the queued jobs: an uploading job has none, and no slot either.
    fn check_places(&self) {
        let places = self.policy.places(u32::MAX).expect("not more than that");
        let waits = |(_, job): &(JobId, &Job)| job.state == State::Waiting;
        assert_eq!(places.len(), self.policy.jobs().filter(waits).count());
        for job in places {
            let state = self.policy.job(job).map(|job| job.state);
            assert_eq!(state, Some(State::Waiting), "{job:?}");
        }
    }

    /// §9.2: as many as there are queue places and slots, or, after these became fewer, no more than before. A job that moves had a
    /// slot, and no other gets its first one before it: so no more move than there were slots.
    fn check_bounds(&self, before: &Before) {
        let queued = self.policy.waiting().iter().sum::<u32>();
        assert!(
            queued <= self.policy.rules().queue.length || queued <= before.queued,
            "§9.2: {queued} wait"
        );
        for pool in self.model.pools() {
            let had_a_slot = self.policy.running(pool) + self.model.moving(pool);
            let before_it = before
                .had_a_slot
                .iter()
                .find(|(of, _)| *of == pool)
                .map_or(0, |had| had.1);
            assert!(
                self.model.moving(pool) == 0 || had_a_slot <= before_it,
                "§2.7: a job gets a slot while others move"
            );
            for server in self.model.servers(pool) {
                let running = self.model.running_on(pool, server);
                let was = before
                    .running
                    .iter()
                    .find(|(at, on, _)| (*at, *on) == (pool, server))
                    .map_or(0, |was| was.2);
                assert!(
                    running <= self.model.slots_of(pool, server) || running <= was,
                    "§9.2: {running} run on {server:?}"
                );
            }
        }
    }

    /// §3.7: no job waits for a slot of a pool that has a free one; §11.1: unless it is queued and dispatch is paused.
    fn check_nothing_idle(&self) {
        let paused = self.model.is_paused();
        let asks = |state| matches!(state, State::Moving { .. }) || (state == State::Waiting && !paused);
        for (_, job) in self.policy.jobs().filter(|(_, job)| asks(job.state)) {
            assert!(!self.is_idle(job.pool), "§3.7: a slot is idle while {job:?} waits");
        }
    }

    pub(super) fn is_idle(&self, pool: UpstreamId) -> bool {
        let free = |server| self.model.running_on(pool, server) < self.model.slots_of(pool, server);
        self.model.servers(pool).any(free)
    }

    /// What must be true of an admission, whatever the model decides: §9.2, §9.4.
    pub(super) fn fair_admission(&mut self, ask: &AdmissionRequest) {
        for (caller, tier, own) in self.model.quota_subjects(ask) {
            let limit = own.as_ref().and_then(|own| own.concurrency);
            let jobs = self.policy.jobs_of(&caller);
            assert!(jobs <= limit.unwrap_or(tier.concurrency), "§9.2: {ask:?}");
            for quota in tier.quotas.iter().filter(|quota| quota.enforce) {
                let usage = self.policy.usage(quota.window, &caller, self.now);
                let limit = own_limit(own.as_deref(), quota);
                assert!(usage.used + usage.held <= limit, "§9.4: {ask:?}: {usage:?}");
            }
        }
    }

    /// What must be true of a refusal: §3.3, §3.10, §9.3. `tier` is the one that the refused job has now.
    pub(super) fn fair_refusal(
        &self,
        refusal: &Refusal,
        (caller, pool, tier): (Caller, UpstreamId, TierId),
        estimate: Span,
        before: &Before,
    ) {
        let tier = self.model.rules().tier(tier);
        if let Refusal::QueueFull { .. } = refusal {
            let lower = before.lowest.is_some_and(|lowest| lowest < tier.priority);
            let spent = self.model.displaced_within_a_minute(caller, self.now);
            assert!(
                !lower || spent >= tier.displacements_per_minute,
                "§9.3: {caller:?}, while a lower priority waits"
            );
        }
        if matches!(refusal, Refusal::QueueFull { .. } | Refusal::WaitTooLong { .. }) {
            let idle = self.is_idle(pool) && !self.model.is_paused();
            assert!(!idle, "§3.7: {caller:?} is refused while a slot is idle");
        }
        let of_the_queue = !matches!(
            refusal,
            Refusal::ConcurrencyExceeded { .. } | Refusal::QuotaDepleted { .. } | Refusal::TooManyUsers { .. }
        );
        if of_the_queue {
            from_estimate(refusal, estimate);
        }
    }
}

/// §3.10: 1 to 300 s.
pub(super) fn in_range(refusal: &Refusal) -> Span {
    let retry_after = refusal.retry_after().expect("a 503 says when to come back");
    assert!(
        (Span::from_secs(1)..=Span::from_secs(300)).contains(&retry_after),
        "§3.10: {retry_after}"
    );
    retry_after
}

/// §3.10: not before the estimate (or 240 s, for an endless one), and at most a quarter and a second after it.
pub(super) fn from_estimate(refusal: &Refusal, estimate: Span) {
    let retry_after = in_range(refusal);
    let estimate = estimate.min(Span::from_secs(240));
    let latest = Span::from_nanos(estimate.as_nanos() / 4 * 5) + Span::from_secs(1) + Span::from_nanos(5);
    assert!(
        (estimate..=latest).contains(&retry_after),
        "§3.10: {retry_after} for an estimate of {estimate}"
    );
}
