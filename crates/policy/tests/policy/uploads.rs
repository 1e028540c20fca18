//! Jobs whose bodies still arrive: what they hold, and what they get when their bodies are complete (rules §2.5, §6).

use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::refusal::{Reason, Refusal};
use tiergate_policy::rules::{Priority, ServerId, WindowId};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{AccountOverrides, Admission, Displaced, Grant, JobId, Outcome, State, WaitLimits};

use super::harness::{Harness, POOL, ask, caller, rules};
use super::request::RequestExt;
use super::rules::{calendar, rolling, tier_a_priority};

/// It must have got a slot.
fn runs(arrived: Result<Admission, Refusal>) -> Grant {
    match arrived {
        Ok(Admission::Running { grant, .. }) => grant,
        other => panic!("a slot is free, but: {other:?}"),
    }
}

/// It must have been queued: the job that it displaced.
fn queues(arrived: Result<Admission, Refusal>) -> Option<Displaced> {
    match arrived {
        Ok(Admission::Queued { displaced, .. }) => displaced,
        other => panic!("it should be queued, but: {other:?}"),
    }
}

/// It must have been refused.
fn refused(arrived: Result<Admission, Refusal>) -> Reason {
    match arrived {
        Err(refusal) => refusal.reason(),
        Ok(admission) => panic!("it should be refused, but: {admission:?}"),
    }
}

fn client_waits(span: Span) -> WaitLimits {
    WaitLimits {
        client: Some(span),
        ..WaitLimits::default()
    }
}

fn state(harness: &Harness, job: JobId) -> Option<State> {
    harness.policy.job(job).map(|job| job.state)
}

/// Regression: eight slow uploads held the eight queue places while the server was idle, and everybody else was refused.
#[test]
fn slow_uploads_hold_no_place_and_no_slot() {
    let mut harness = Harness::new(rules(2, 2));
    let uploads: Vec<JobId> = (0..50).map(|number| harness.uploads(&ask(100 + number, 3))).collect();
    let (running, queued): (u32, u32) = (harness.policy.running(POOL), harness.policy.waiting().iter().sum());
    assert_eq!((running, queued, harness.policy.in_flight()), (0, 0, 50));
    // Whoever is complete is served as if the uploads weren't there.
    let first = harness.runs(&ask(1, 0)).job;
    harness.runs(&ask(2, 0));
    let next = harness.queues(&ask(3, 0));
    harness.queues(&ask(4, 0));
    assert_eq!(
        harness.policy.estimate(POOL, Priority::LOWEST),
        Span::from_millis(1_500)
    );
    assert_eq!(harness.succeeds(first).map(|grant| grant.job), Some(next));
    assert!(
        uploads
            .iter()
            .all(|job| state(&harness, *job) == Some(State::Uploading))
    );
}

#[test]
fn an_upload_holds_quota_and_concurrency() {
    let rules = rules(8, 8).edit_tier("p3", |tier| tier.concurrency(2).quota("daily", 3, rolling(86_400)));
    let mut harness = Harness::new(rules);
    let upload = harness.uploads(&ask(1, 3).cost(2));
    assert_eq!(harness.refused(&ask(1, 3).cost(2)).reason(), Reason::QuotaDepleted);
    harness.uploads(&ask(1, 3));
    assert_eq!(
        harness.refused(&ask(1, 3).cost(0)).reason(),
        Reason::ConcurrencyExceeded
    );
    let of_caller = |harness: &mut Harness| {
        let held = harness.policy.usage(WindowId(0), &caller(1), harness.now).held;
        let policy = &harness.policy;
        let (jobs, waiting) = (policy.jobs_of(&caller(1)), policy.waiting_of(&caller(1)));
        (jobs, waiting, policy.uploading_of(&caller(1)), held)
    };
    assert_eq!(of_caller(&mut harness), (2, 0, 2, 3));
    assert!(harness.policy.end_upload(upload));
    assert_eq!(of_caller(&mut harness), (1, 0, 1, 1));
    assert!(!harness.policy.end_upload(upload), "once");
    assert_eq!(harness.policy.stats().upload_ended, 1);
}

/// A user's upload counts for the account that asks for it, too.
#[test]
fn an_upload_counts_for_a_user_and_its_account() {
    let mut harness = Harness::new(rules(8, 8));
    let asked = ask(0, 3).by_user(AccountId(7), 1, 2);
    let (user, account) = (asked.caller, Caller::Account(AccountId(7)));
    let upload = harness.uploads(&asked);
    assert_eq!([user, account].map(|one| harness.policy.uploading_of(&one)), [1, 1]);
    runs(harness.arrives(upload));
    assert_eq!([user, account].map(|one| harness.policy.uploading_of(&one)), [0, 0]);
    assert_eq!([user, account].map(|one| harness.policy.jobs_of(&one)), [1, 1]);
}

/// Nobody sends a large body in vain if that is known before.
#[test]
fn an_upload_is_refused_if_it_would_be_refused_now() {
    let (mut harness, running) = Harness::busy(rules(1, 1));
    let at_once = ask(2, 6).prefer_wait(Span::ZERO).uploading();
    assert_eq!(harness.refused(&at_once).reason(), Reason::WaitTooLong);
    harness.queues(&ask(1, 3));
    let equal = ask(2, 3).uploading();
    assert_eq!(harness.refused(&equal).reason(), Reason::QueueFull);
    assert_eq!(
        (harness.policy.jobs_of(&caller(2)), harness.policy.stats().refused),
        (0, 2)
    );
    // A slot that is free is enough, whatever the wait and the queue.
    let next = harness.succeeds(running[0]).expect("one waits").job;
    harness.succeeds(next);
    harness.uploads(&at_once);
    let mut without_queue = Harness::new(rules(0, 1));
    without_queue.uploads(&ask(1, 0));
    without_queue.uploads(&ask(2, 0));
}

#[test]
fn an_upload_displaces_only_when_it_is_complete() {
    let (mut harness, _) = Harness::busy(rules(1, 1).edit_tier("p6", |tier| tier.displacements(1)));
    let low = harness.queues(&ask(1, 0));
    let first = harness.uploads(&ask(9, 6));
    let second = harness.uploads(&ask(9, 6));
    assert_eq!(
        (state(&harness, low), harness.policy.stats().displaced),
        (Some(State::Waiting), 0)
    );
    let displaced = queues(harness.arrives(first)).expect("the queue is full");
    assert_eq!(displaced.job, low);
    assert!(matches!(displaced.refusal, Refusal::Displaced { by, .. } if by == Priority::HIGHEST));

    // It has displaced as often as it may: that is found out when the body is complete, and before the next one begins.
    assert!(harness.policy.hang_up(first));
    harness.queues(&ask(1, 0));
    assert_eq!(refused(harness.arrives(second)), Reason::QueueFull);
    assert_eq!(harness.refused(&ask(9, 6).uploading()).reason(), Reason::QueueFull);
    assert_eq!(harness.policy.stats().displaced, 1);
}

/// Two find the same place when their heads come. It is the one's that is complete first.
#[test]
fn two_uploads_are_complete_for_one_place() {
    let (mut harness, _) = Harness::busy(rules(1, 1));
    let [slow, quick] = [1, 2].map(|number| harness.uploads(&ask(number, 3)));
    assert_eq!(queues(harness.arrives(quick)), None);
    assert_eq!(refused(harness.arrives(slow)), Reason::QueueFull);
    assert_eq!(state(&harness, slow), None);
    assert_eq!(harness.policy.jobs_of(&caller(1)), 0, "it may try again");

    let mut idle = Harness::new(rules(0, 1));
    let [slow, quick] = [1, 2].map(|number| idle.uploads(&ask(number, 3).prefer_wait(Span::ZERO)));
    runs(idle.arrives_with(quick, client_waits(Span::ZERO)));
    assert_eq!(
        refused(idle.arrives_with(slow, client_waits(Span::ZERO))),
        Reason::QueueFull
    );
}

#[test]
fn a_refusal_of_a_complete_body_releases_everything() {
    let rules = rules(1, 1).edit_tiers(|tier| tier.concurrency(1).quota("daily", 1, rolling(86_400)));
    let mut harness = Harness::new(rules);
    let upload = harness.uploads(&ask(1, 3));
    harness.runs(&ask(2, 3));
    harness.queues(&ask(3, 3));
    assert_eq!(refused(harness.arrives(upload)), Reason::QueueFull);
    let usage = harness.policy.usage(WindowId(0), &caller(1), harness.now);
    assert_eq!((usage.used, usage.held, harness.policy.jobs_of(&caller(1))), (0, 0, 0));
    let stats = *harness.policy.stats();
    assert_eq!((stats.arrived, stats.refused, stats.upload_ended), (3, 1, 0));
    assert_eq!(harness.policy.arrive(upload, WaitLimits::default(), harness.now), None);
}

/// The order, the longest wait and the time that is told as waited count from when the body is complete.
#[test]
fn the_wait_begins_when_the_body_is_complete() {
    let (mut harness, running) = Harness::busy(rules(4, 1).max_wait(Span::from_secs(30)));
    let slow = harness.uploads(&ask(1, 3));
    harness.pass(Span::from_secs(100));
    let quick = harness.queues(&ask(2, 3));
    let Ok(Admission::Queued { until, .. }) = harness.arrives_with(slow, client_waits(Span::from_secs(20))) else {
        panic!("a place is free")
    };
    assert_eq!(until, harness.now + Span::from_secs(20));
    harness.pass(Span::from_secs(5));
    assert_eq!(harness.succeeds(running[0]).map(|grant| grant.job), Some(quick));
    let granted = harness.succeeds(quick).expect("one waits");
    assert_eq!((granted.job, granted.waited), (slow, Span::from_secs(5)));

    let late = harness.uploads(&ask(3, 3));
    harness.pass(Span::from_secs(40));
    queues(harness.arrives(late));
    harness.pass(Span::from_secs(30));
    let refusal = harness.policy.expire(late, harness.now);
    assert!(matches!(refusal, Some(Refusal::WaitedTooLong { waited, .. }) if waited == Span::from_secs(30)));
}

/// A client that would not wait that long is told before it has sent its body, and again when it has.
#[test]
fn the_estimate_is_compared_with_the_wait_twice() {
    let mut harness = Harness::new(rules(8, 1));
    for _ in 0..20 {
        let job = harness.runs(&ask(100, 3)).job;
        harness.pass(Span::from_secs(2));
        harness.succeeds(job);
    }
    harness.runs(&ask(100, 3));
    let short = Span::from_secs(3);
    let upload = harness.uploads(&ask(1, 3).prefer_wait(short));
    harness.queues(&ask(2, 3));
    let refusal = harness.refused(&ask(3, 3).prefer_wait(short).uploading());
    assert!(
        matches!(refusal, Refusal::WaitTooLong { estimate, .. } if estimate == Span::from_secs(4)),
        "{refusal:?}"
    );
    assert_eq!(
        refused(harness.arrives_with(upload, client_waits(short))),
        Reason::WaitTooLong
    );
}

/// The debit is dated when the job was admitted, however long its body takes.
#[test]
fn an_upload_is_debited_by_the_date_of_its_head() {
    let june = UnixTime::from_secs(1_780_272_000);
    let month = calendar("month UTC", [june]);
    let mut harness = Harness::new(rules(8, 1).edit_tiers(|tier| tier.quota("monthly", 1, month.clone())));
    harness.set_clock(UnixTime::from_secs(june.as_secs() - 60));
    let upload = harness.uploads(&ask(1, 3));
    harness.pass(Span::from_secs(3_600));
    let grant = runs(harness.arrives(upload));
    assert_eq!(grant.admitted, UnixTime::from_secs(june.as_secs() - 60));
    harness.succeeds(upload);
    let usage = harness.policy.usage(WindowId(0), &caller(1), harness.now);
    assert_eq!((usage.used, usage.held), (0, 0), "it is May's");
    harness.runs(&ask(1, 3));
}

/// Quota and concurrency were decided with the head: what has changed since lifts or takes nothing.
#[test]
fn quota_is_not_decided_again() {
    let mut harness = Harness::new(rules(8, 8).edit_tiers(|tier| tier.quota("daily", 2, rolling(86_400))));
    let upload = harness.uploads(&ask(1, 3).cost(2));
    harness.reload(rules(8, 8).edit_tiers(|tier| tier.concurrency(1).quota("daily", 1, rolling(86_400))));
    runs(harness.arrives(upload));
    harness.succeeds(upload);
    assert_eq!(harness.policy.usage(WindowId(0), &caller(1), harness.now).used, 2);
}

/// A reload renews the terms that count when the body is complete: priority, longest wait, displacements.
#[test]
fn a_reload_renews_the_terms_of_an_upload() {
    let (mut harness, _) = Harness::busy(rules(1, 1));
    let upload = harness.uploads(&ask(1, 3));
    harness.queues(&ask(2, 3));
    let higher = |tier: super::rules::TierBuilder| tier.named("p3").priority(6).max_wait(Span::from_secs(7));
    // Whoever is queued is raised as well, so the queue is full of equals.
    harness.reload(rules(1, 1).edit_tier("p3", higher));
    assert_eq!(
        harness.policy.job(upload).map(|job| job.priority),
        Some(Priority::HIGHEST)
    );
    assert_eq!(refused(harness.arrives(upload)), Reason::QueueFull);

    let (mut harness, _) = Harness::busy(rules(1, 1));
    let upload = harness.uploads(&ask(1, 3));
    harness.queues(&ask(2, 4));
    harness.reload(rules(1, 1).edit_tier("p3", higher));
    let Ok(Admission::Queued {
        priority,
        until,
        displaced: Some(_),
        ..
    }) = harness.arrives(upload)
    else {
        panic!("it is of a higher priority now")
    };
    assert_eq!((priority, until), (Priority::HIGHEST, harness.now + Span::from_secs(7)));
}

/// Its tier is gone, and so is its upstream: it is of the anonymous tier, and may still use the upstream's slots.
#[test]
fn an_upload_outlives_its_tier_and_its_upstream() {
    let mut harness = Harness::new(rules(2, 1));
    let upload = harness.uploads(&ask(1, 6));
    let anonymous = super::rules::rules().tier("free", |tier| tier.priority(1));
    harness.reload(anonymous.upstream("other", &[1]));
    let job = harness.policy.job(upload).expect("it goes on");
    assert_eq!(job.priority.get(), 1);
    assert_eq!(runs(harness.arrives(upload)).priority.get(), 1);
    harness.succeeds(upload);
}

#[test]
fn a_shutdown_ends_uploads_and_queued_jobs() {
    let (mut harness, running) = Harness::busy(rules(4, 1));
    let upload = harness.uploads(&ask(1, 0));
    let waiting = harness.queues(&ask(2, 0));
    let out = harness.policy.shut_down();
    let jobs: Vec<JobId> = out.iter().map(|out| out.job).collect();
    assert_eq!(jobs, [upload, waiting]);
    assert!(out.iter().all(|out| out.refusal.reason() == Reason::ShuttingDown));
    let stats = harness.policy.stats();
    assert_eq!((stats.upload_ended, stats.shut_down), (1, 1));
    assert_eq!(harness.policy.arrive(upload, WaitLimits::default(), harness.now), None);
    assert!(!harness.policy.end_upload(upload), "it has ended");
    assert_eq!(harness.refused(&ask(1, 0).uploading()).reason(), Reason::ShuttingDown);
    harness.succeeds(running[0]);
    assert_eq!((harness.policy.in_flight(), harness.policy.callers()), (0, 0));
}

#[test]
fn an_upload_that_is_complete_while_paused_is_queued() {
    let mut harness = Harness::new(rules(1, 2));
    let [first, second] = [1, 2].map(|number| harness.uploads(&ask(number, 0)));
    harness.policy.pause();
    assert_eq!(queues(harness.arrives(first)), None);
    assert_eq!(refused(harness.arrives(second)), Reason::QueueFull);
    assert_eq!(harness.refused(&ask(3, 0).uploading()).reason(), Reason::QueueFull);
    let grants = harness.policy.resume(harness.now);
    assert_eq!(grants.iter().map(|grant| grant.job).collect::<Vec<_>>(), [first]);
}

#[test]
fn an_upload_is_refused_when_admission_is_stopped() {
    let mut harness = Harness::new(rules(8, 2));
    let [stopped, goes_on] = [1, 2].map(|number| harness.uploads(&ask(number, 6)));
    harness.policy.stop_admission();
    assert_eq!(
        harness.refused(&ask(3, 6).uploading()).reason(),
        Reason::AdmissionStopped
    );
    assert_eq!(refused(harness.arrives(stopped)), Reason::AdmissionStopped);
    assert_eq!(harness.policy.jobs_of(&caller(1)), 0);
    harness.policy.start_admission();
    runs(harness.arrives(goes_on));
}

#[test]
fn an_upload_waits_for_a_server_drained_meanwhile() {
    let mut harness = Harness::new(rules(8, 1));
    let upload = harness.uploads(&ask(1, 0));
    harness.policy.drain(POOL, ServerId(0));
    assert_eq!(queues(harness.arrives(upload)), None);
    let grants = harness.policy.undrain(POOL, ServerId(0), harness.now);
    assert_eq!(grants.iter().map(|grant| grant.job).collect::<Vec<_>>(), [upload]);
}

/// What concerns queued and running jobs changes nothing for one that is uploading, and the other way round.
#[test]
fn an_upload_is_neither_queued_nor_running() {
    let (mut harness, running) = Harness::busy(rules(8, 1));
    let upload = harness.uploads(&ask(1, 0));
    let waiting = harness.queues(&ask(2, 0));
    let now = harness.now;
    let policy = &mut harness.policy;
    assert!(!policy.hang_up(upload));
    assert_eq!((policy.cancel(upload), policy.expire(upload, now)), (None, None));
    assert_eq!(policy.end(upload, Outcome::Succeeded, now), None);
    assert_eq!(
        (policy.give_back_slot(upload, now), policy.decline(upload, now)),
        (None, None)
    );
    assert_eq!(policy.forgo(upload, now), None);
    for other in [waiting, running[0]] {
        assert!(!policy.end_upload(other));
        assert_eq!(policy.arrive(other, WaitLimits::default(), now), None);
    }
    assert_eq!(policy.places(8), Some(vec![waiting]));
    assert_eq!(state(&harness, upload), Some(State::Uploading));
}

/// Concurrency is checked before slots and places.
#[test]
fn a_free_slot_lifts_no_concurrency_of_an_upload() {
    let mut harness = Harness::new(tier_a_priority(|tier| tier).queue(8).upstream("search", &[2]));
    harness.uploads(&ask(1, 0));
    assert_eq!(harness.refused(&ask(1, 0)).reason(), Reason::ConcurrencyExceeded);
    let more = AccountOverrides {
        concurrency: Some(2),
        ..AccountOverrides::default()
    };
    harness.uploads(&ask(1, 0).own(Arc::new(more)));
}
