//! Calls of the policy, with their jobs and numbers looked up.

use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Rules, ServerId, TierId, UpstreamId, WindowId};
use tiergate_policy::time::{Timestamp, UnixTime};
use tiergate_policy::{
    Admission, ClockStep, DebitNumber, Displaced, Grant, JobId, Outcome, Policy, Relocation, Usage, WaitLimits,
};

use super::super::request::AdmissionRequest;
use super::STEP_MAX;

/// What is asked of the policy: a step with its job and its numbers looked up.
#[derive(Clone, Debug)]
pub enum Call {
    Enter(AdmissionRequest),
    Arrive(JobId, WaitLimits),
    EndUpload(JobId),
    GiveBackSlot(JobId),
    End(JobId, Outcome),
    HangUp(JobId),
    Expire(JobId),
    Decline(JobId),
    Relocate(JobId),
    Forgo(JobId),
    ServerDown(UpstreamId, ServerId),
    ServerUp(UpstreamId, ServerId),
    Pause,
    Resume,
    StopAdmission,
    StartAdmission,
    Drain(UpstreamId, ServerId),
    Undrain(UpstreamId, ServerId),
    Cancel(JobId),
    Reload(Arc<Rules>),
    ShutDown,
    Usage(WindowId, Caller),
    Remember {
        window: WindowId,
        caller: Caller,
        admitted: UnixTime,
        units: u64,
    },
    FollowClock(UnixTime),
    Recount,
    /// All windows that are new count from this debit on; those before are read back.
    Fill(DebitNumber, Vec<(WindowId, Caller, UnixTime, u64)>),
    Sweep(u16),
}

/// What the policy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Entered(Result<Admission, Refusal>),
    Arrived(Option<Result<Admission, Refusal>>),
    UploadEnded(bool),
    Granted(Option<Grant>),
    HungUp(bool),
    Expired(Option<Refusal>),
    Relocated(Relocation),
    Gone,
    GrantedAll(Vec<Grant>),
    Refused(Vec<Displaced>),
    Cancelled(Option<Displaced>),
    Usage(Usage),
    Stepped(ClockStep),
}

/// Puts one call to a policy.
pub fn decide(policy: &mut Policy, call: &Call, now: Timestamp) -> Decision {
    match call {
        Call::Enter(ask) => Decision::Entered(policy.enter(ask, now)),
        Call::Arrive(job, waits) => Decision::Arrived(policy.arrive(*job, *waits, now)),
        Call::EndUpload(job) => Decision::UploadEnded(policy.end_upload(*job)),
        Call::GiveBackSlot(job) => Decision::Granted(policy.give_back_slot(*job, now)),
        Call::End(job, outcome) => Decision::Granted(policy.end(*job, *outcome, now)),
        Call::HangUp(job) => Decision::HungUp(policy.hang_up(*job)),
        Call::Expire(job) => Decision::Expired(policy.expire(*job, now)),
        Call::Decline(job) => Decision::Granted(policy.decline(*job, now)),
        Call::Forgo(job) => Decision::Granted(policy.forgo(*job, now)),
        Call::Relocate(job) => Decision::Relocated(policy.relocate(*job, now)),
        Call::ServerDown(pool, server) => {
            policy.server_down(*pool, *server);
            Decision::Gone
        }
        Call::ServerUp(pool, server) => Decision::GrantedAll(policy.server_up(*pool, *server, now)),
        Call::Pause | Call::Resume | Call::StopAdmission | Call::StartAdmission => control(policy, call, now),
        Call::Drain(pool, server) => {
            policy.drain(*pool, *server);
            Decision::Gone
        }
        Call::Undrain(pool, server) => Decision::GrantedAll(policy.undrain(*pool, *server, now)),
        Call::Cancel(job) => Decision::Cancelled(policy.cancel(*job)),
        Call::Reload(rules) => {
            let listed = |account| listed(rules, account);
            Decision::GrantedAll(policy.reload(Arc::clone(rules), listed, now))
        }
        Call::ShutDown => Decision::Refused(policy.shut_down()),
        Call::Usage(window, caller) => Decision::Usage(policy.usage(*window, caller, now)),
        Call::Remember {
            window,
            caller,
            admitted,
            units,
        } => {
            policy.remember(*window, *caller, *admitted, *units, now);
            Decision::Gone
        }
        Call::FollowClock(reading) => Decision::Stepped(policy.follow_clock(*reading, now, STEP_MAX)),
        Call::Recount => {
            policy.recount(now);
            Decision::Gone
        }
        Call::Fill(first, debits) => {
            policy.count_from(*first);
            for (window, caller, admitted, units) in debits {
                policy.remember(*window, *caller, *admitted, *units, now);
            }
            Decision::Gone
        }
        Call::Sweep(times) => {
            for _ in 0..*times {
                policy.sweep(now);
            }
            Decision::Gone
        }
    }
}

/// Switches what holds for the whole policy.
fn control(policy: &mut Policy, call: &Call, now: Timestamp) -> Decision {
    match call {
        Call::Resume => return Decision::GrantedAll(policy.resume(now)),
        Call::Pause => policy.pause(),
        Call::StopAdmission => policy.stop_admission(),
        _ => policy.start_admission(),
    }
    Decision::Gone
}

/// The file of those rules lists every other account, in some tier.
pub(super) fn listed(rules: &Rules, account: AccountId) -> Option<TierId> {
    let tier = nth_tier(rules, (account.0 + rules.queue.length) as usize);
    account.0.is_multiple_of(2).then_some(tier)
}

/// Of the tiers in a circle.
pub(super) fn nth_tier(rules: &Rules, nth: usize) -> TierId {
    rules
        .tiers
        .ids()
        .cycle()
        .nth(nth % rules.tiers.len())
        .expect("there is a tier")
}
