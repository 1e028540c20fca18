//! What operators do must have the same effect in the policy and the model (rules §11).

use tiergate_policy::refusal::Refusal;
use tiergate_policy::{Displaced, JobId};

use super::SideBySide;
use super::call::{Call, Decision};
use super::invariants::from_estimate;

impl SideBySide {
    pub(super) fn same_control(&mut self, call: &Call, decision: &Decision) {
        let now = self.now;
        let granted = match call {
            Call::Resume => self.model.resume(now),
            Call::Undrain(pool, server) => self.model.undrain(*pool, *server, now),
            Call::Pause => return self.model.pause(),
            Call::StopAdmission => return self.model.stop_admission(),
            Call::StartAdmission => return self.model.start_admission(),
            Call::Drain(pool, server) => return self.model.drain(*pool, *server),
            other => unreachable!("{other:?} is no control"),
        };
        let Decision::GrantedAll(grants) = decision else {
            unreachable!("{call:?} is never answered by {decision:?}")
        };
        self.same_grants(grants, &granted);
    }

    /// §11.4: a queued job is refused, and tells when to come back; any other goes on.
    pub(super) fn same_cancellation(&mut self, job: JobId, out: Option<&Displaced>) {
        let known = self.number(job);
        let held = known.and_then(|number| self.model.job(number).cloned());
        let expected = known.is_some_and(|number| self.model.cancel(number));
        assert_eq!(out.is_some(), expected, "{job:?}");
        let (Some(out), Some(held)) = (out, held) else { return };
        assert_eq!((out.job, out.tier, out.admitted), (job, held.tier, held.admitted));
        assert!(matches!(out.refusal, Refusal::CancelledByOperator { .. }));
        from_estimate(&out.refusal, self.model.estimate(held.pool, held.priority));
    }

    /// What operators have set is what the policy shows.
    pub(super) fn check_controls(&self) {
        assert_eq!(self.policy.is_paused(), self.model.is_paused());
        assert_eq!(self.policy.is_admission_stopped(), self.model.is_admission_stopped());
        for pool in self.model.pools() {
            let shown: Vec<_> = self.policy.servers(pool).map(|server| server.id).collect();
            let mut expected: Vec<_> = self.model.servers(pool).collect();
            expected.sort_unstable();
            assert_eq!(shown, expected, "{pool:?}");
            for server in self.policy.servers(pool) {
                assert_eq!(
                    server.drained,
                    self.model.is_drained(pool, server.id),
                    "§11.3: {server:?}"
                );
                assert_eq!(server.available(), self.model.slots_of(pool, server.id), "{server:?}");
                assert_eq!(server.running, self.model.running_on(pool, server.id), "{server:?}");
            }
        }
    }
}
