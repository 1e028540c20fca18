//! The model must decide as the policy did. `controls` compares what operators do.

use std::sync::Arc;

use tiergate_policy::caller::Caller;
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Rules, TierId};
use tiergate_policy::time::Span;
use tiergate_policy::{Admission, ClockStep, Displaced, Grant, JobId, Relocation, WaitLimits};

use super::super::model::{Entered, Granted, Number, Rejection};
use super::super::request::AdmissionRequest;
use super::call::{Call, Decision, listed};
use super::callers::callers;
use super::invariants::{Before, from_estimate, in_range};
use super::{Arrivals, STEP_MAX, SWEEPS, SideBySide};

impl SideBySide {
    pub(super) fn compare(&mut self, call: &Call, decision: &Decision, before: &Before) {
        let now = self.now;
        match (call, decision) {
            (Call::Enter(ask), Decision::Entered(decision)) => self.same_admission(ask, decision, before),
            (Call::Arrive(job, waits), Decision::Arrived(decision)) => {
                self.same_arrival(*job, *waits, decision.as_ref(), before);
            }
            (Call::EndUpload(job), Decision::UploadEnded(uploading)) => {
                let expected = self.number(*job).is_some_and(|number| self.model.end_upload(number));
                assert_eq!(*uploading, expected, "{call:?}");
            }
            (call, Decision::Granted(grant)) => {
                let granted = self.granted(call);
                self.same_grant(*grant, granted);
            }
            (Call::HangUp(job), Decision::HungUp(queued)) => {
                let expected = self.number(*job).is_some_and(|number| self.model.hang_up(number));
                assert_eq!(*queued, expected, "{call:?}");
            }
            (Call::Expire(job), Decision::Expired(refusal)) => self.same_expiry(*job, refusal.as_ref()),
            (Call::Relocate(job), Decision::Relocated(relocation)) => {
                let number = self.number(*job);
                let expected = number.map_or(Relocation::Nowhere, |number| self.model.relocate(number, now));
                assert_eq!(*relocation, expected, "{call:?}");
            }
            (Call::ServerDown(pool, server), Decision::Gone) => self.model.server_down(*pool, *server),
            (Call::ServerUp(pool, server), Decision::GrantedAll(grants)) => {
                let granted = self.model.server_up(*pool, *server, now);
                self.same_grants(grants, &granted);
            }
            (
                Call::Pause
                | Call::Resume
                | Call::StopAdmission
                | Call::StartAdmission
                | Call::Drain(..)
                | Call::Undrain(..),
                decision,
            ) => self.same_control(call, decision),
            (Call::Cancel(job), Decision::Cancelled(out)) => self.same_cancellation(*job, out.as_ref()),
            (Call::Reload(rules), Decision::GrantedAll(grants)) => {
                let listed = |account| listed(rules, account);
                let granted = self.model.reload(Rules::clone(rules), listed, now);
                self.same_grants(grants, &granted);
            }
            (Call::ShutDown, Decision::Refused(turned)) => self.same_refusals(turned),
            (call, decision) => self.same_counting(call, decision),
        }
    }

    /// Calls that concern what is counted, and the clock by which it is.
    fn same_counting(&mut self, call: &Call, decision: &Decision) {
        let now = self.now;
        match (call, decision) {
            (Call::Usage(window, caller), Decision::Usage(usage)) => {
                let expected = self.model.usage(*window, *caller, now);
                assert_eq!(*usage, expected, "§5: {caller:?} in {window:?}");
            }
            (
                Call::Remember {
                    window,
                    caller,
                    admitted,
                    units,
                },
                Decision::Gone,
            ) => self.model.remember(*window, *caller, *admitted, *units, now),
            (Call::FollowClock(reading), Decision::Stepped(step)) => {
                assert_eq!(*step, self.model.follow_clock(*reading, now, STEP_MAX));
                if let ClockStep::Followed { .. } = step {
                    self.model.wall_clock(now);
                    self.begun_anew();
                }
            }
            (Call::Recount, Decision::Gone) => {
                self.model.wall_clock(now);
                self.begun_anew();
            }
            (Call::Fill(..), Decision::Gone) => self.model.refilled(),
            (Call::Sweep(times), Decision::Gone) => {
                self.model.wall_clock(now);
                if *times == SWEEPS {
                    self.same_debtors();
                }
            }
            (call, decision) => unreachable!("{call:?} is never answered by {decision:?}"),
        }
    }

    /// The grant that the model gives for that call.
    fn granted(&mut self, call: &Call) -> Option<Granted> {
        let now = self.now;
        let (Call::GiveBackSlot(job) | Call::End(job, _) | Call::Decline(job) | Call::Forgo(job)) = call else {
            unreachable!("{call:?} is never answered by a grant")
        };
        let number = self.number(*job)?;
        match call {
            Call::GiveBackSlot(_) => self.model.give_back_slot(number, now),
            Call::End(_, outcome) => self.model.end(number, *outcome, now),
            Call::Decline(_) => self.model.decline(number, now),
            _ => self.model.forgo(number, now),
        }
    }

    fn same_admission(&mut self, ask: &AdmissionRequest, decision: &Result<Admission, Refusal>, before: &Before) {
        let now = self.now;
        let estimate = self
            .model
            .estimate(ask.pool, self.model.rules().tier(ask.tier).priority);
        let overdrawn = self.model.overdrawn(ask, now);
        let entered = self.model.enter(ask, now);
        match decision {
            Ok(admission) => {
                self.name(admission.job());
                assert_eq!(admission.overdrawn().as_slice(), overdrawn, "{ask:?}");
                self.same_place(admission, &entered, ask.tier, (ask.waits, estimate));
                self.fair_admission(ask);
            }
            Err(refusal) => {
                self.depleted += u64::from(matches!(refusal, Refusal::QuotaDepleted { .. }));
                self.same_rejection(refusal, &entered);
                self.fair_refusal(refusal, (ask.caller, ask.pool, ask.tier), estimate, before);
            }
        }
    }

    /// §2.5: the body is complete.
    fn same_arrival(
        &mut self,
        job: JobId,
        waits: WaitLimits,
        decision: Option<&Result<Admission, Refusal>>,
        before: &Before,
    ) {
        let number = self.number(job);
        let held = number.and_then(|number| self.model.job(number).cloned());
        let estimate = held.as_ref().map(|job| self.model.estimate(job.pool, job.priority));
        let arrived = number.and_then(|number| self.model.arrive(number, waits, self.now));
        let (Some(decision), Some(arrived)) = (decision, &arrived) else {
            assert_eq!((decision, &arrived), (None, &None), "{job:?}");
            return;
        };
        let (held, estimate) = (held.unwrap(), estimate.unwrap());
        self.arrivals.count(decision);
        match decision {
            Ok(admission) => {
                assert!(admission.overdrawn().is_empty(), "quotas were decided before");
                self.same_place(admission, arrived, held.tier, (waits, estimate));
            }
            Err(refusal) => {
                self.same_rejection(refusal, arrived);
                self.fair_refusal(refusal, (held.caller, held.pool, held.tier), estimate, before);
            }
        }
    }

    fn begun_anew(&mut self) {
        let has_windows = self.model.windows().next().is_some();
        assert_eq!(self.policy.has_new_windows(), has_windows);
        self.has_emptied = true;
    }

    /// The same slot or queue place, or neither.
    fn same_place(
        &mut self,
        admission: &Admission,
        expected: &Entered,
        tier: TierId,
        (waits, estimated): (WaitLimits, Span),
    ) {
        let by = self.model.rules().tier(tier).priority;
        match (admission, expected) {
            (Admission::Running { grant, .. }, Entered::Running(granted)) => {
                self.same_grant(Some(*grant), Some(*granted));
            }
            (
                Admission::Uploading {
                    job,
                    admitted,
                    priority,
                    ..
                },
                Entered::Uploading(number),
            ) => {
                assert_eq!((self.number(*job), *priority), (Some(*number), by));
                assert_eq!(*admitted, self.model.wall_clock(self.now));
            }
            (
                Admission::Queued {
                    job,
                    admitted,
                    priority,
                    until,
                    estimate,
                    displaced,
                    ..
                },
                Entered::Queued {
                    number,
                    until: expected_until,
                    displaced: expected_displaced,
                },
            ) => {
                assert_eq!((self.number(*job), *priority), (Some(*number), by));
                assert_eq!(until, expected_until, "{job:?}");
                let date = self.model.job(*number).map(|job| job.admitted);
                assert_eq!(Some(*admitted), date, "§5.6: {job:?}");
                assert!(waits.client.is_some() || *estimate == estimated, "§3.8: {job:?}");
                let who = displaced.as_ref().map(|displaced| self.number(displaced.job).unwrap());
                assert_eq!(who, *expected_displaced, "{job:?} displaces another than it should");
                if let Some(displaced) = displaced {
                    assert!(matches!(displaced.refusal, Refusal::Displaced { by: told, .. } if told == by));
                    in_range(&displaced.refusal);
                }
            }
            _ => panic!("the policy says {admission:?}, the model {expected:?}"),
        }
    }

    fn same_rejection(&self, refusal: &Refusal, expected: &Entered) {
        let rejection = Entered::Refused(rejection_of(refusal));
        assert_eq!(rejection, *expected, "the policy says {refusal:?}");
    }

    fn same_expiry(&mut self, job: JobId, refusal: Option<&Refusal>) {
        let number = self.number(job);
        let held = number.and_then(|number| self.model.job(number).cloned());
        let expected = number.is_some_and(|number| self.model.expire(number));
        assert_eq!(refusal.is_some(), expected, "{job:?}");
        let Some(refusal) = refusal else { return };
        let held = held.unwrap();
        let waited = self.now.since(held.entered);
        assert!(matches!(refusal, Refusal::WaitedTooLong { waited: told, .. } if *told == waited));
        from_estimate(refusal, self.model.estimate(held.pool, held.priority));
    }

    fn same_refusals(&mut self, turned: &[Displaced]) {
        let mut numbers: Vec<Number> = turned
            .iter()
            .map(|displaced| self.number(displaced.job).unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, self.model.shut_down());
        for displaced in turned {
            assert!(matches!(displaced.refusal, Refusal::ShuttingDown { .. }));
            in_range(&displaced.refusal);
        }
    }

    pub(super) fn same_grants(&self, grants: &[Grant], granted: &[Granted]) {
        assert_eq!(grants.len(), granted.len(), "{grants:?} but should be {granted:?}");
        for (grant, granted) in grants.iter().zip(granted) {
            self.same_grant(Some(*grant), Some(*granted));
        }
    }

    /// After all parts were swept, no caller without a debit is known.
    fn same_debtors(&mut self) {
        let wall = self.model.wall_clock(self.now);
        let callers: Vec<Caller> = callers().collect();
        for caller in &callers {
            let expected = self.model.debits().has_debit(*caller, wall);
            assert_eq!(self.policy.has_debit(caller), expected, "{caller:?}");
        }
        assert_eq!(self.policy.debtors(), self.model.debits().debtors(&callers, wall));
    }

    fn same_grant(&self, grant: Option<Grant>, granted: Option<Granted>) {
        let named = grant.map(|grant| Granted {
            number: self.number(grant.job).expect("a slot goes to an admitted job"),
            server: grant.server,
            admitted: grant.admitted,
            waited: grant.waited,
            priority: grant.priority,
        });
        assert_eq!(named, granted, "the slot goes to another than it should");
    }
}

impl Arrivals {
    fn count(&mut self, decision: &Result<Admission, Refusal>) {
        *match decision {
            Ok(Admission::Queued { displaced: None, .. }) => &mut self.queued,
            Ok(Admission::Queued { .. }) => &mut self.displaced,
            Ok(_) => &mut self.ran,
            Err(_) => &mut self.refused,
        } += 1;
    }
}

fn rejection_of(refusal: &Refusal) -> Rejection {
    match *refusal {
        Refusal::TooManyUsers { limit } => Rejection::TooManyUsers { limit },
        Refusal::QuotaDepleted {
            ref name,
            limit,
            used,
            retry_after,
        } => Rejection::QuotaDepleted {
            name: Arc::clone(name),
            limit,
            used,
            retry_after,
        },
        Refusal::ShuttingDown { .. } => Rejection::ShuttingDown,
        Refusal::AdmissionStopped { .. } => Rejection::AdmissionStopped,
        Refusal::ConcurrencyExceeded { limit, used } => Rejection::ConcurrencyExceeded { limit, used },
        Refusal::QueueFull {
            capacity, admits_from, ..
        } => Rejection::QueueFull { capacity, admits_from },
        Refusal::WaitTooLong { asked, estimate, .. } => Rejection::WaitTooLong { asked, estimate },
        ref other => panic!("{other:?} is no answer to an arrival"),
    }
}
