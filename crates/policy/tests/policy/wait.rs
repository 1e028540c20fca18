//! How long a job waits, how long it is told that it would, and when it is told to come back (rules §3.8–10).

use tiergate_policy::refusal::{Reason, Refusal};
use tiergate_policy::rules::{Priority, Rules, ServerId};
use tiergate_policy::time::Span;
use tiergate_policy::{Admission, JobId};

use super::harness::{Harness, POOL, ask, rules};
use super::request::{AdmissionRequest, RequestExt};

const SLOT_TIME: Span = Span::from_secs(2);

fn priority(number: u8) -> Priority {
    Priority::new(number).unwrap()
}

fn prefers(secs: u64, ask: AdmissionRequest) -> AdmissionRequest {
    ask.prefer_wait(Span::from_secs(secs))
}

/// A busy policy that has seen so many slots held for [`SLOT_TIME`], by jobs of that priority.
fn seasoned(rules: impl Into<Rules>, slot_times: u32, of: u8) -> (Harness, Vec<JobId>) {
    let mut harness = Harness::new(rules);
    for _ in 0..slot_times {
        let job = harness.runs(&ask(500_000, of)).job;
        harness.pass(SLOT_TIME);
        harness.succeeds(job);
    }
    let slots = harness.policy.slots(POOL);
    let running = (0..slots)
        .map(|at| harness.runs(&ask(1_000_000 + u64::from(at), of)).job)
        .collect();
    (harness, running)
}

#[test]
fn the_estimate_follows_its_formula() {
    let (mut harness, _) = seasoned(rules(8, 2), 40, 0);
    assert_eq!(
        harness.policy.estimate(POOL, priority(0)),
        Span::from_secs(1),
        "1 × 2 s ÷ 2"
    );
    for number in 0..5 {
        harness.queues(&ask(number, 3));
    }
    assert_eq!(
        harness.policy.estimate(POOL, priority(3)),
        Span::from_secs(6),
        "6 × 2 s ÷ 2"
    );
    assert_eq!(
        harness.policy.estimate(POOL, priority(0)),
        Span::from_secs(6),
        "behind a higher one too"
    );
    assert_eq!(
        harness.policy.estimate(POOL, priority(4)),
        Span::from_secs(1),
        "ahead of all of them"
    );
}

#[test]
fn the_estimate_follows_the_last_slot_times() {
    let (mut harness, running) = seasoned(rules(8, 1), 100, 0);
    harness.succeeds(running[0]);
    for _ in 0..300 {
        let job = harness.runs(&ask(1, 0)).job;
        harness.pass(Span::from_secs(10));
        harness.succeeds(job);
    }
    let estimate = harness.policy.estimate(POOL, priority(0)).as_secs_f64();
    assert!(
        (9.99..=10.0).contains(&estimate),
        "{estimate} s, not the 2 s of long ago"
    );
}

#[test]
fn higher_priorities_stretch_estimates_at_most_eightfold() {
    let (harness, _) = seasoned(rules(8, 1), 63, 6);
    assert_eq!(
        harness.policy.estimate(POOL, priority(6)),
        SLOT_TIME,
        "nothing is above 6"
    );
    assert_eq!(
        harness.policy.estimate(POOL, priority(0)),
        Span::from_secs(16),
        "2 s × 8"
    );

    let mut mixed = Harness::new(rules(8, 1));
    for round in 0..64 {
        let job = mixed.runs(&ask(1, if round % 4 == 0 { 0 } else { 5 })).job;
        mixed.pass(SLOT_TIME);
        mixed.succeeds(job);
    }
    assert_eq!(
        mixed.policy.estimate(POOL, priority(0)),
        Span::from_secs(8),
        "a quarter is left: 2 s × 4"
    );
}

/// Refusals lower the rate at which a priority is admitted; an estimate made from that rate would grow with them.
#[test]
fn refusals_do_not_change_the_estimate() {
    let (mut harness, _) = seasoned(rules(1, 1), 40, 0);
    harness.queues(&ask(1, 6));
    let before = harness.policy.estimate(POOL, priority(0));
    for number in 0..1_000 {
        harness.refused(&ask(10 + number, 0));
    }
    assert_eq!(harness.policy.estimate(POOL, priority(0)), before);
}

#[test]
fn retry_after_is_the_estimate_within_bounds_and_spread() {
    // (slot time, the estimate with one job ahead)
    for (slot_ms, estimate_s) in [(1, 0.002), (500, 1.0), (20_000, 40.0), (3_600_000, 240.0)] {
        let mut harness = Harness::new(rules(1, 1));
        let job = harness.runs(&ask(1, 0)).job;
        harness.pass(Span::from_millis(slot_ms));
        harness.succeeds(job);
        harness.runs(&ask(1, 0));
        harness.queues(&ask(2, 0));

        let told: Vec<f64> = (0..200)
            .map(|number| {
                harness
                    .refused(&ask(10 + number, 0))
                    .retry_after()
                    .unwrap()
                    .as_secs_f64()
            })
            .collect();
        let (earliest, latest) = (
            told.iter().copied().fold(f64::MAX, f64::min),
            told.iter().copied().fold(0.0, f64::max),
        );
        assert!(
            earliest >= f64::max(1.0, estimate_s),
            "{slot_ms} ms: back after {earliest} s"
        );
        assert!(
            latest <= f64::min(300.0, estimate_s * 1.25 + 1.0),
            "{slot_ms} ms: back after {latest} s"
        );
        if slot_ms > 1 {
            let range = estimate_s / 4.0 + 1.0;
            assert!(
                latest - earliest > range * 0.8,
                "{slot_ms} ms: all back within {} s",
                latest - earliest
            );
        }
    }
}

/// Clients that are refused at the same moment retry over the whole range, not in a few bursts.
#[test]
fn simultaneous_refusals_are_spread_over_time() {
    let (mut harness, _) = seasoned(rules(1, 1), 40, 0);
    harness.queues(&ask(1, 0));
    let mut told: Vec<Span> = (0..100)
        .map(|number| harness.refused(&ask(10 + number, 0)).retry_after().unwrap())
        .collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 100, "no two of them at the same moment");
    // A range of 4 s × ¼ + 1 s: in 10 parts, none is empty or has more than twice its share.
    let mut parts = [0; 10];
    for at in told {
        parts[usize::try_from((at.as_nanos() - 4_000_000_000) / 200_000_001).unwrap()] += 1;
    }
    assert!(parts.iter().all(|part| (5..=20).contains(part)), "{parts:?}");
}

/// Regression: the only server was restarted, which took ten seconds, and meanwhile clients were told to retry in four minutes.
#[test]
fn with_all_servers_down_retry_after_stays_short() {
    let (mut harness, _) = Harness::busy(rules(0, 1));
    harness.policy.server_down(POOL, tiergate_policy::rules::ServerId(0));
    let retry_after = harness.refused(&ask(1, 0)).retry_after().unwrap();
    assert!(
        (Span::from_secs(1)..=Span::from_secs(3)).contains(&retry_after),
        "{retry_after}"
    );
}

/// Regression: with the only server down for minutes, clients were told to retry in a second.
#[test]
fn with_all_servers_down_retry_after_waits_for_the_probe() {
    let servers: [ServerId; 2] = [ServerId(0), ServerId(1)];
    let rules = rules(0, 1).slots("search", &[1, 1]);
    let (mut harness, _) = Harness::busy(rules);
    let at = |harness: &Harness, secs| harness.now + Span::from_secs(secs);
    let after = |harness: &mut Harness| harness.refused(&ask(1, 6)).retry_after().unwrap();
    // An unseen slot time is 1 s, of two slots; then up to a quarter more and a second.
    let told = |least: f64, after: Span| {
        let latest = least * 1.25 + 1.0;
        assert!(
            (least..=latest).contains(&after.as_secs_f64()),
            "{after}, not from {least} to {latest}"
        );
    };
    harness.policy.server_down(POOL, servers[0]);
    harness.policy.server_probed_at(POOL, servers[0], at(&harness, 20));
    told(1.0, after(&mut harness));
    harness.policy.server_down(POOL, servers[1]);
    harness.policy.server_probed_at(POOL, servers[1], at(&harness, 12));
    told(12.5, after(&mut harness));
    harness.policy.server_down(POOL, servers[1]);
    harness.pass(Span::from_secs(8));
    told(4.5, after(&mut harness));
    harness.pass(Span::from_secs(8));
    told(0.5, after(&mut harness));
    harness.policy.server_probed_at(POOL, servers[1], at(&harness, 600));
    harness.policy.server_up(POOL, servers[0], harness.now);
    told(1.0, after(&mut harness));
    // The time of a server that is up, or was removed, is nobody's.
    harness.policy.server_probed_at(POOL, servers[0], at(&harness, 600));
    harness.policy.server_probed_at(POOL, ServerId(7), at(&harness, 600));
    told(1.0, after(&mut harness));
}

#[test]
fn a_queued_job_carries_its_estimate() {
    let estimate = |harness: &mut Harness, ask: &AdmissionRequest| match harness.enter(ask) {
        Ok(Admission::Queued { estimate, .. }) => estimate,
        other => panic!("{ask:?} should be queued, but: {other:?}"),
    };
    let (mut harness, _) = seasoned(rules(8, 2), 40, 0);
    for (number, secs) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(estimate(&mut harness, &ask(number, 3)), Span::from_secs(secs));
    }
    assert_eq!(estimate(&mut harness, &ask(3, 6)), Span::from_secs(1), "ahead of them");
    assert_eq!(
        estimate(&mut harness, &prefers(9, ask(4, 3))),
        Span::from_secs(5),
        "by which it is not refused"
    );
    let (mut fair, _) = seasoned(rules(8, 2).fair(), 40, 0);
    for _ in 0..4 {
        estimate(&mut fair, &ask(1, 3));
    }
    assert_eq!(
        estimate(&mut fair, &prefers(9, ask(2, 3))),
        Span::from_secs(2),
        "one turn ahead"
    );
    assert_eq!(
        estimate(&mut fair, &ask(3, 3)),
        Span::from_secs(6),
        "what Retry-After would say"
    );
}

#[test]
fn estimates_refuse_nobody_before_20_slot_times() {
    // 2 s for the one ahead, 2 s for oneself: 4 s, and the client would wait 3.
    let impatient = prefers(3, ask(2, 0));
    let (mut young, _) = seasoned(rules(8, 1), 19, 0);
    young.queues(&ask(1, 0));
    young.queues(&impatient);

    let (mut old, _) = seasoned(rules(8, 1), 20, 0);
    old.queues(&ask(1, 0));
    let refusal = old.refused(&impatient);
    assert!(
        matches!(refusal, Refusal::WaitTooLong { asked, estimate, .. }
            if asked == Span::from_secs(3) && estimate == Span::from_secs(4)),
        "{refusal:?}"
    );
    old.queues(&prefers(4, ask(2, 0)));
}

#[test]
fn estimates_refuse_only_those_who_ask_and_must_wait() {
    let (mut harness, _) = seasoned(rules(8, 1), 40, 0);
    harness.queues(&prefers(1, ask(1, 0)));
    harness.queues(&ask(2, 0));
    harness.queues(&prefers(1, ask(3, 1)));
    assert_eq!(harness.refused(&prefers(1, ask(4, 0))).reason(), Reason::WaitTooLong);
}

/// Regression: the estimate of a caller in `fair` was made from an upper bound (as many whole rounds of the ring as it
/// would then have jobs), so a client that would have been served in time was refused for a wait that it wouldn't have had.
#[test]
fn the_fair_estimate_counts_only_jobs_served_first() {
    let (mut harness, running) = seasoned(rules(8, 1).fair(), 20, 0);
    harness.queues(&ask(1, 0));
    for _ in 0..4 {
        harness.queues(&ask(2, 0));
    }
    // In turn: 1, 2, and then the newcomer of 1. Two ahead, so 6 s. The bound said four, and 10 s.
    let second = harness.queues(&prefers(6, ask(1, 0)));
    assert_eq!(
        harness.refused(&prefers(7, ask(1, 0))).reason(),
        Reason::WaitTooLong,
        "the next one: 8 s or more"
    );

    let mut on_the_way = running[0];
    for _ in 0..2 {
        harness.pass(SLOT_TIME);
        on_the_way = harness.succeeds(on_the_way).expect("a job is queued").job;
    }
    harness.pass(SLOT_TIME);
    let grant = harness.succeeds(on_the_way).expect("a job is queued");
    assert_eq!(
        (grant.job, grant.waited),
        (second, Span::from_secs(6)),
        "and so it came"
    );
}

#[test]
fn a_zero_wait_is_refused_unless_a_slot_is_free() {
    let mut harness = Harness::new(rules(8, 1));
    let job = harness.runs(&prefers(0, ask(1, 0))).job;
    let refusal = harness.refused(&prefers(0, ask(2, 6)));
    assert_eq!(refusal.reason(), Reason::WaitTooLong);
    assert_eq!(harness.policy.in_flight(), 1, "a refusal takes nothing");
    harness.succeeds(job);
    harness.runs(&prefers(0, ask(2, 6)));
}

/// The wait is checked before anything is taken.
#[test]
fn a_refusal_for_the_wait_displaces_nobody() {
    let (mut harness, _) = Harness::busy(rules(1, 1));
    harness.queues(&ask(1, 0));
    assert_eq!(harness.refused(&prefers(0, ask(2, 6))).reason(), Reason::WaitTooLong);
    assert_eq!(harness.policy.stats().displaced, 0);
    assert_eq!(harness.policy.waiting()[0], 1);
}

#[test]
fn the_shortest_of_all_longest_waits_applies() {
    for least in 0..4 {
        let wait = |which: usize| Span::from_secs(if which == least { 7 } else { 20 });
        let rules = rules(8, 1)
            .max_wait(wait(0))
            .edit_tier("p3", |tier| tier.max_wait(wait(1)));
        let (mut harness, _) = Harness::busy(rules);
        harness.pass(Span::from_secs(100));
        let (_, until, _) = harness.queued(&ask(1, 3).max_wait(wait(2)).prefer_wait(wait(3)));
        assert_eq!(until, harness.now + Span::from_secs(7), "the {least}th is the least");
    }
}

#[test]
fn an_expired_job_is_told_how_long_it_waited() {
    let (mut harness, running) = Harness::busy(rules(8, 1));
    let job = harness.queues(&ask(1, 0));
    harness.pass(Span::from_secs(30));
    let refusal = harness.policy.expire(job, harness.now).unwrap();
    assert!(matches!(refusal, Refusal::WaitedTooLong { waited, .. } if waited == Span::from_secs(30)));
    assert_eq!(harness.policy.expire(job, harness.now), None, "once");
    assert_eq!(
        harness.policy.expire(running[0], harness.now),
        None,
        "a running job doesn't wait"
    );
    assert_eq!(harness.policy.stats().waited_out, 1);
}
