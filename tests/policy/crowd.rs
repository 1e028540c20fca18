//! More strangers than are counted one by one (semantics §7.9): they take no more memory than was said, no quota is lifted for them, and
//! those who were there before notice nothing.

use tiergate::policy::Outcome;
use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::rules::{Quota, Rules, Window, WindowId};
use tiergate::policy::time::{Span, UnixTime};

use super::house::{House, ask, rules};

const DAY: Span = Span::from_secs(86_400);
const LIMIT: u64 = 3;
const MAX: u32 = 100;
/// As many as there may be of them (`policy::crowd`).
const CROWDS: usize = 4_096;

fn few() -> Rules {
    let mut rules = rules(0, 1_000);
    rules.windows = vec![Window::Rolling(DAY)];
    rules.tiers[0].quotas = vec![Quota {
        name: "daily".into(),
        limit: LIMIT,
        window: WindowId(0),
        enforce: true,
    }];
    rules.callers_max = MAX;
    rules
}

/// A stranger of that number, in neighbourhoods of 256, as hashes would have it: beyond the numbers of crowds.
fn known_by(number: u64) -> (NetworkId, NetworkId) {
    (NetworkId(1 << 40 | number), NetworkId(1 << 50 | (number / 256) << 13))
}

/// Whether the stranger's search is let in; it succeeds then.
fn searches(house: &mut House, number: u64) -> bool {
    let (own, neighbourhood) = known_by(number);
    let mut ask = ask(0, 0);
    ask.caller = Caller::Network(house.policy.counted_as(own, neighbourhood, house.now));
    let Ok(admission) = house.policy.enter(&ask, house.now) else {
        return false;
    };
    let tiergate::policy::Admission::Running { grant, .. } = admission else {
        panic!("there is a slot for everybody")
    };
    house.policy.end(grant.job, Outcome::Succeeded, house.now);
    true
}

fn opened() -> House {
    let mut house = House::new(few());
    house.policy.follow_clock(UnixTime::from_secs(1_780_000_000), house.now);
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
fn who_was_counted_with_its_neighbours_stays_with_them_while_that_counts() {
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
    for _ in 0..256 {
        house.policy.sweep(house.now);
    }
    for _ in 0..LIMIT {
        assert!(searches(&mut house, 1) && searches(&mut house, 2));
    }
    assert!(!searches(&mut house, 1) && !searches(&mut house, 2));
}
