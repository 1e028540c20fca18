//! More strangers than are counted one by one (rules §7.9): they take no more memory than was said, no quota is lifted for them, and
//! those who were there before notice nothing.
//!
//! A bug of the first crowds is told here: who had been counted in one was counted by itself as soon as there was room, and began with
//! nothing used, as if the crowd were none of its own.

use tiergate_policy::caller::{Caller, NetworkId, Whereabouts};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{Admission, JobId, Outcome};

use super::house::{House, ask, rules};
use super::rules::{RulesBuilder, rolling};

const DAY: Span = Span::from_secs(86_400);
const LIMIT: u64 = 3;
const MAX: u32 = 100;
/// As many as there may be of them (`policy::crowd`).
const CROWDS: usize = 4_096;

fn few() -> RulesBuilder {
    rules(0, 1_000)
        .edit_tier("p0", |tier| tier.quota("daily", LIMIT, rolling(86_400)))
        .callers_max(MAX)
}

/// A stranger of that number, in neighbourhoods of 256, as hashes would have it: beyond the numbers of crowds. Each neighbourhood lies
/// in a region of its own.
fn whereabouts(number: u64) -> Whereabouts {
    Whereabouts {
        network: NetworkId(1 << 40 | number),
        neighbourhood: NetworkId(1 << 50 | (number / 256) << 13),
        region: (number / 256) as u32,
    }
}

/// Whether the stranger's search is let in; it succeeds then.
fn searches(house: &mut House, number: u64) -> bool {
    let Some(job) = begins(house, number) else {
        return false;
    };
    house.policy.end(job, Outcome::Succeeded, house.now);
    true
}

/// The stranger's search, if it is let in.
fn begins(house: &mut House, number: u64) -> Option<JobId> {
    let mut ask = ask(0, 0);
    ask.caller = Caller::Network(house.policy.counted_as(whereabouts(number), house.now));
    let Admission::Running { grant, .. } = house.policy.enter(&ask, house.now).ok()? else {
        panic!("there is a slot for everybody")
    };
    Some(grant.job)
}

/// As many sweeps look at every part of the tables.
fn forget(house: &mut House) {
    for _ in 0..256 {
        house.policy.sweep(house.now);
    }
}

fn opened() -> House {
    let mut house = House::new(few());
    house.set_clock(UnixTime::from_secs(1_780_000_000));
    house
}

#[test]
fn a_flood_takes_no_memory_beyond_the_cap_and_lifts_no_quota() {
    let mut house = opened();
    assert!(searches(&mut house, u64::MAX >> 24), "the first of all");
    let mut served = 0_u64;
    for number in 0..50_000 {
        for _ in 0..=LIMIT {
            served += u64::from(searches(&mut house, number));
        }
    }
    let [_, networks, _] = house.policy.debtors();
    assert!(networks <= (MAX + MAX / 4) as usize + CROWDS, "{networks}");
    assert!(served <= networks as u64 * LIMIT, "{served} of {networks}");
    // Who was there before has a count of its own still.
    let old = u64::MAX >> 24;
    assert!(searches(&mut house, old) && searches(&mut house, old) && !searches(&mut house, old));
}

#[test]
fn aggregated_callers_stay_together_while_it_counts() {
    let mut house = opened();
    for number in 0..u64::from(MAX) {
        assert!(searches(&mut house, 1_000_000 + number * 256));
    }
    // There is no room for these two, who are neighbours.
    assert!(searches(&mut house, 1) && searches(&mut house, 2) && searches(&mut house, 1));
    assert!(!searches(&mut house, 2), "together they have used what one may");
    // Half a day later somebody has been forgotten, but not what the two have used.
    house.pass(Span::from_secs(43_200));
    assert!(
        searches(&mut house, 77_777),
        "somebody else finds room, in a neighbourhood of its own"
    );
    assert!(!searches(&mut house, 1));
    // The day after it is forgotten, and everybody is counted alone again.
    house.pass(DAY + Span::from_secs(120));
    forget(&mut house);
    for _ in 0..LIMIT {
        assert!(searches(&mut house, 1) && searches(&mut house, 2));
    }
    assert!(!searches(&mut house, 1) && !searches(&mut house, 2));
}

/// A door on which there is no room for one more network or neighbourhood.
fn full() -> House {
    let mut house = opened();
    for number in 0..u64::from(MAX + MAX / 4) {
        assert!(searches(&mut house, 1_000_000 + number * 256));
    }
    house
}

#[test]
fn leaving_an_aggregate_keeps_its_usage() {
    let mut house = full();
    house.pass(Span::from_secs(43_200));
    let in_the_crowd = (0..9).filter(|_| searches(&mut house, 1)).count();
    assert_eq!(in_the_crowd as u64, LIMIT);
    // All others are forgotten. What was used half a day ago is not.
    house.pass(Span::from_secs(43_200 + 120));
    forget(&mut house);
    assert!(!searches(&mut house, 1), "it has used its quota within the day");
    house.pass(Span::from_secs(43_200));
    forget(&mut house);
    let by_itself = (0..9).filter(|_| searches(&mut house, 1)).count();
    assert_eq!(by_itself as u64, LIMIT, "and it has a day's again");
}

/// The last one that was counted in a crowd was there later than the last moment without room.
#[test]
fn what_a_crowd_has_used_counts_as_long_as_it_would_of_anybody() {
    let mut house = full();
    let almost_a_day = Span::from_secs(86_400 - 600);
    for _ in 0..3 {
        house.pass(almost_a_day);
        forget(&mut house);
        let let_in = (0..9).filter(|_| searches(&mut house, 1)).count() as u64;
        house.pass(Span::from_secs(300));
        let more = (0..9).filter(|_| searches(&mut house, 1)).count() as u64;
        assert!(let_in + more <= LIMIT, "{let_in} and {more}");
    }
}

/// What a job in the house will have used isn't used yet, so it can't be taken along.
#[test]
fn who_has_a_job_in_a_crowd_stays_with_it_until_that_has_ended() {
    let mut house = full();
    house.pass(Span::from_secs(43_200));
    let running: Vec<JobId> = (0..LIMIT)
        .map(|_| begins(&mut house, 1).expect("the crowd has used nothing"))
        .collect();
    house.pass(Span::from_secs(43_200 + 120));
    forget(&mut house);
    assert!(!searches(&mut house, 1), "all that it has is set aside");
    for job in running {
        house.policy.end(job, Outcome::Failed, house.now);
    }
    assert!(searches(&mut house, 1), "nothing was used");
}

/// Until when networks may be counted together was in the future: for as long as the clock had been ahead.
#[test]
fn a_clock_that_was_ahead_leaves_no_crowd_behind() {
    let mut house = full();
    let reads = house.policy.clock_reads(house.now);
    house.set_clock(reads + Span::from_secs(365 * 86_400));
    assert!(house.policy.is_crowded(house.now));
    house.set_clock(reads);
    assert!(
        house.policy.is_crowded(house.now),
        "what they have used together may be read back"
    );
    house.pass(DAY + Span::from_secs(120));
    assert!(!house.policy.is_crowded(house.now));
}
