//! More networks than are counted individually (rules §7.9): they take no more memory than configured, no quota is lifted for them,
//! and known callers are not affected.
//!
//! Regression: a caller that left an aggregate as soon as there was capacity began with nothing used.

use tiergate_policy::caller::{Caller, HashedOrigin, NetworkId};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{Admission, JobId, Outcome};

use super::harness::{Harness, ask, rules};
use super::rules::{RulesBuilder, rolling};

const DAY: Span = Span::from_secs(86_400);
const LIMIT: u64 = 3;
const MAX: u32 = 100;
/// As many as there may be of them (`policy::aggregation`).
const GROUPS: usize = 4_096;

fn few() -> RulesBuilder {
    rules(0, 1_000)
        .edit_tier("p0", |tier| tier.quota("daily", LIMIT, rolling(86_400)))
        .callers_max(MAX)
}

/// The network of that number, 256 to a prefix, with ids above those of the groups, as hashes have. Each prefix has a region of its own.
fn hashed_origin(number: u64) -> HashedOrigin {
    HashedOrigin {
        network: NetworkId(1 << 40 | number),
        prefix: NetworkId(1 << 50 | (number / 256) << 13),
        region: (number / 256) as u32,
    }
}

/// Whether the network's job is admitted; then it succeeds.
fn succeeds(harness: &mut Harness, number: u64) -> bool {
    let Some(job) = begins(harness, number) else {
        return false;
    };
    harness.policy.end(job, Outcome::Succeeded, harness.now);
    true
}

/// The network's job, if it is admitted.
fn begins(harness: &mut Harness, number: u64) -> Option<JobId> {
    let mut ask = ask(0, 0);
    ask.caller = Caller::Network(harness.policy.counted_as(hashed_origin(number), harness.now));
    let Admission::Running { grant, .. } = harness.policy.enter(&ask, harness.now).ok()? else {
        panic!("there are slots for all")
    };
    Some(grant.job)
}

/// As many sweeps look at every part of the tables.
fn forget(harness: &mut Harness) {
    for _ in 0..256 {
        harness.policy.sweep(harness.now);
    }
}

fn opened() -> Harness {
    let mut harness = Harness::new(few());
    harness.set_clock(UnixTime::from_secs(1_780_000_000));
    harness
}

#[test]
fn a_flood_takes_no_memory_beyond_the_cap_and_lifts_no_quota() {
    let mut harness = opened();
    assert!(succeeds(&mut harness, u64::MAX >> 24), "the first of all");
    let mut served = 0_u64;
    for number in 0..50_000 {
        for _ in 0..=LIMIT {
            served += u64::from(succeeds(&mut harness, number));
        }
    }
    let [_, networks, _] = harness.policy.debtors();
    assert!(networks <= (MAX + MAX / 4) as usize + GROUPS, "{networks}");
    assert!(served <= networks as u64 * LIMIT, "{served} of {networks}");
    // A known caller is still counted individually.
    let old = u64::MAX >> 24;
    assert!(succeeds(&mut harness, old) && succeeds(&mut harness, old) && !succeeds(&mut harness, old));
}

#[test]
fn aggregated_callers_stay_together_while_usage_counts() {
    let mut harness = opened();
    for number in 0..u64::from(MAX) {
        assert!(succeeds(&mut harness, 1_000_000 + number * 256));
    }
    // There is no capacity for these two, which have the same prefix.
    assert!(succeeds(&mut harness, 1) && succeeds(&mut harness, 2) && succeeds(&mut harness, 1));
    assert!(!succeeds(&mut harness, 2), "together they have used what one may");
    // Half a day later others have been forgotten, but not what the two have used.
    harness.pass(Span::from_secs(43_200));
    assert!(
        succeeds(&mut harness, 77_777),
        "there is capacity for a network with another prefix"
    );
    assert!(!succeeds(&mut harness, 1));
    // The day after it is forgotten, and all are counted individually again.
    harness.pass(DAY + Span::from_secs(120));
    forget(&mut harness);
    for _ in 0..LIMIT {
        assert!(succeeds(&mut harness, 1) && succeeds(&mut harness, 2));
    }
    assert!(!succeeds(&mut harness, 1) && !succeeds(&mut harness, 2));
}

/// A policy without capacity for one more network or prefix.
fn full() -> Harness {
    let mut harness = opened();
    for number in 0..u64::from(MAX + MAX / 4) {
        assert!(succeeds(&mut harness, 1_000_000 + number * 256));
    }
    harness
}

#[test]
fn leaving_an_aggregate_keeps_its_usage() {
    let mut harness = full();
    harness.pass(Span::from_secs(43_200));
    let aggregated = (0..9).filter(|_| succeeds(&mut harness, 1)).count();
    assert_eq!(aggregated as u64, LIMIT);
    // All others are forgotten. What was used half a day ago is not.
    harness.pass(Span::from_secs(43_200 + 120));
    forget(&mut harness);
    assert!(!succeeds(&mut harness, 1), "it has used its quota within the day");
    harness.pass(Span::from_secs(43_200));
    forget(&mut harness);
    let individually = (0..9).filter(|_| succeeds(&mut harness, 1)).count();
    assert_eq!(individually as u64, LIMIT, "and it has a day's again");
}

/// The last aggregated caller came later than the last moment without capacity.
#[test]
fn aggregated_usage_counts_as_long_as_any_other() {
    let mut harness = full();
    let almost_a_day = Span::from_secs(86_400 - 600);
    for _ in 0..3 {
        harness.pass(almost_a_day);
        forget(&mut harness);
        let admitted = (0..9).filter(|_| succeeds(&mut harness, 1)).count() as u64;
        harness.pass(Span::from_secs(300));
        let more = (0..9).filter(|_| succeeds(&mut harness, 1)).count() as u64;
        assert!(admitted + more <= LIMIT, "{admitted} and {more}");
    }
}

/// What a job in flight will have used isn't used yet, so it can't be copied.
#[test]
fn a_caller_stays_aggregated_while_its_job_is_in_flight() {
    let mut harness = full();
    harness.pass(Span::from_secs(43_200));
    let running: Vec<JobId> = (0..LIMIT)
        .map(|_| begins(&mut harness, 1).expect("the aggregate has used nothing"))
        .collect();
    harness.pass(Span::from_secs(43_200 + 120));
    forget(&mut harness);
    assert!(!succeeds(&mut harness, 1), "its whole quota is held");
    for job in running {
        harness.policy.end(job, Outcome::Failed, harness.now);
    }
    assert!(succeeds(&mut harness, 1), "nothing was used");
}

/// Until when networks may be counted together was in the future: for as long as the clock had been ahead.
#[test]
fn aggregation_ends_after_a_clock_was_ahead() {
    let mut harness = full();
    let reads = harness.policy.clock_reads(harness.now);
    harness.set_clock(reads + Span::from_secs(365 * 86_400));
    assert!(harness.policy.is_aggregating(harness.now));
    harness.set_clock(reads);
    assert!(
        harness.policy.is_aggregating(harness.now),
        "what they have used together may be read back"
    );
    harness.pass(DAY + Span::from_secs(120));
    assert!(!harness.policy.is_aggregating(harness.now));
}
