//! Reloading request limits while they count: what stays, what is carried over, and what is forgotten. `limits` compares all ways in
//! which limits change with the model, in random histories.

use proptest::collection::vec;
use proptest::prelude::*;
use tiergate_policy::limits::{Admitted, Counter, Lefts, Moment, Refused, Reload, Shard, Subject, decide};
use tiergate_policy::rules::{Kind, Limit, LimitId, Rules};
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use super::limits::{limit, plain};
use super::limits_side_by_side::{of_account, of_network, rules};
use super::rules::{LimitExt, block};
use super::seeded::runner;

const HISTORIES: u32 = 300;
const CALLERS_MAX: u32 = 1_000;
const MINUTE: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3_600);
const KINDS: [Kind; 4] = [Kind::Fixed, Kind::Aligned, Kind::Sliding, Kind::Burst];

struct Limiter {
    rules: Rules,
    shards: Vec<Shard>,
}

impl Limiter {
    fn new(limits: Vec<Limit>) -> Self {
        let rules = rules(limits, CALLERS_MAX);
        Self {
            shards: Shard::all(&rules),
            rules,
        }
    }

    fn reload(&mut self, limits: Vec<Limit>, at: Moment) {
        self.reload_rules(rules(limits, CALLERS_MAX), at);
    }

    fn reload_rules(&mut self, rules: Rules, at: Moment) {
        let reload = Reload::new(&self.rules, &rules);
        self.shards.iter_mut().for_each(|shard| reload.apply(shard, at));
        self.rules = rules;
    }

    #[expect(clippy::result_large_err, reason = "as the policy's own")]
    fn decide(&mut self, counters: &[Counter], at: Moment) -> Result<Admitted, Refused> {
        decide(counters, &mut self.shards, &self.rules.limits, at)
    }

    /// How long the network's next request is refused by the first limit.
    fn refused(&mut self, at: Moment) -> Span {
        let counter = counter(LimitId(0), &self.rules, of_network(1, 1));
        match self.decide(&[counter], at) {
            Err(Refused::Limited { retry_after, .. }) => retry_after,
            other => panic!("it should be refused, but: {other:?}"),
        }
    }

    /// How many of so many requests of one network are admitted by the first limit.
    fn admitted(&mut self, times: usize, at: Moment) -> usize {
        let counter = counter(LimitId(0), &self.rules, of_network(1, 1));
        (0..times).filter(|_| self.decide(&[counter], at).is_ok()).count()
    }
}

fn counter(limit: LimitId, rules: &Rules, subject: Subject) -> Counter {
    let number = rules.limits[limit.index()].number;
    Counter {
        limit,
        subject,
        number,
        enforced: number,
        matches: true,
    }
}

/// All counters of that account and that network.
fn counters(rules: &Rules, account: u8, network: u64) -> Vec<Counter> {
    let mut counters = Vec::new();
    for (id, limit) in (0..).map(LimitId).zip(&rules.limits) {
        if limit.per.account {
            counters.push(counter(id, rules, of_account(account)));
        }
        if limit.per.network {
            counters.push(counter(id, rules, of_network(network, network)));
        }
    }
    counters
}

/// What a decision says, by the names of limits and in their order.
fn told(decided: Result<Admitted, Refused>, counters: &[Counter], rules: &Rules) -> String {
    let name = |id: LimitId| rules.limits[id.index()].name.to_string();
    let lefts = |left: Lefts| {
        let mut told: Vec<_> = (left.into_iter())
            .map(|left| (name(left.limit), left.number, left.remaining, left.until))
            .collect();
        told.sort();
        told
    };
    match decided {
        Ok(Admitted { left, unenforced }) => {
            let mut names: Vec<_> = unenforced.iter().map(name).collect();
            names.sort();
            format!("{:?}, not enforced: {names:?}", lefts(left))
        }
        Err(Refused::Blocked { .. }) => "blocked".to_owned(),
        Err(Refused::Limited {
            retry_after,
            left,
            blocked,
            ..
        }) => {
            let mut names: Vec<_> = blocked.iter().map(|place| name(counters[*place].limit)).collect();
            names.sort();
            format!("for {retry_after}, blocked {names:?}, {:?}", lefts(left))
        }
    }
}

fn after(span: Span) -> Moment {
    Moment {
        now: Timestamp::ZERO + span,
        wall: UnixTime::from_secs(1_780_000_000) + span,
    }
}

fn secs(secs: u64) -> Moment {
    after(Span::from_secs(secs))
}

/// Requests make their counters by the rules in force, in their order.
#[test]
fn the_same_limits_in_another_order_change_nothing() {
    let (mut runner, seed, _) = runner(HISTORIES);
    let orders = vec(limit(), 1..=4).prop_flat_map(|limits| {
        let names = ["a", "b", "c", "d"].into_iter();
        let limits: Vec<Limit> = names.zip(limits).map(|(name, limit)| limit.named(name)).collect();
        let reordered = Just(limits.clone()).prop_shuffle();
        (Just(limits), vec(reordered, 1..4))
    });
    let step = (0_u8..3, 0_u64..3, 0_u64..2_000, prop::option::weighted(0.1, 0_usize..3));
    let result = runner.run(&(orders, vec(step, 10..100)), |((limits, orders), steps)| {
        let (mut one, mut other) = (Limiter::new(limits.clone()), Limiter::new(limits.clone()));
        let mut now = Span::ZERO;
        for (account, network, millis, order) in steps {
            now = now + Span::from_millis(millis);
            if let Some(order) = order {
                other.reload(orders[order % orders.len()].clone(), after(now));
            }
            let [said, expected] = [&mut other, &mut one].map(|limiter| {
                let counters = counters(&limiter.rules, account, network);
                told(limiter.decide(&counters, after(now)), &counters, &limiter.rules)
            });
            prop_assert_eq!(said, expected);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
}

#[test]
fn changing_the_number_keeps_the_counts() {
    for kind in KINDS {
        let mut limiter = Limiter::new(vec![plain(kind, 5, HOUR)]);
        assert_eq!(limiter.admitted(9, secs(0)), 5, "{kind:?}");
        limiter.reload(vec![plain(kind, 8, HOUR)], secs(1));
        assert_eq!(limiter.admitted(9, secs(1)), 3, "{kind:?}");
        limiter.reload(vec![plain(kind, 2, HOUR)], secs(2));
        assert_eq!(limiter.admitted(9, secs(3)), 0, "{kind:?}");
        assert_eq!(limiter.admitted(9, secs(2 * 3_600)), 2, "{kind:?}");
    }
}

/// Regression: a burst lowered from 10 to 3 after 5 were used still let one in, since it was half full. What counts are requests.
#[test]
fn used_requests_count_under_any_new_number() {
    let changes = (0..=10_usize).flat_map(|used| [1, 2, 3, 9, 10, 11, 40].map(move |to| (used, to)));
    for ((used, to), kind) in changes.flat_map(|change| KINDS.map(|kind| (change, kind))) {
        let mut limiter = Limiter::new(vec![plain(kind, 10, HOUR)]);
        assert_eq!(limiter.admitted(used, secs(0)), used);
        limiter.reload(vec![plain(kind, to, HOUR)], secs(0));
        let more = (to as usize).saturating_sub(used);
        assert_eq!(
            limiter.admitted(50, secs(0)),
            more,
            "{kind:?}: {used} of 10, then of {to}"
        );
        let told = limiter.refused(secs(0));
        assert!(told <= HOUR + MINUTE, "{kind:?}: {told}");
        if kind != Kind::Aligned {
            let before = Span::from_nanos(told.as_nanos() - 1);
            assert_eq!(
                limiter.admitted(1, after(before)),
                0,
                "{kind:?}: {used} of 10, then of {to}"
            );
        }
        assert_eq!(
            limiter.admitted(1, after(told)),
            1,
            "{kind:?}: {used} of 10, then of {to}"
        );
    }
}

/// A caller with its own number and one without share their network's counter. Regression: in a burst, half of the one's number
/// counted as half of the other's.
#[test]
fn a_counter_shared_by_different_numbers_counts_requests() {
    for kind in KINDS {
        let mut limiter = Limiter::new(vec![plain(kind, 10, HOUR)]);
        let plainly = counter(LimitId(0), &limiter.rules, of_network(1, 1));
        let own = Counter {
            number: 100,
            enforced: 100,
            ..plainly
        };
        let admitted = |limiter: &mut Limiter, counter: Counter| {
            let asked = (0..200).filter(|_| limiter.decide(&[counter], secs(0)).is_ok());
            asked.count()
        };
        assert_eq!(limiter.admitted(4, secs(0)), 4);
        for _ in 0..50 {
            assert!(limiter.decide(&[own], secs(0)).is_ok(), "{kind:?}");
        }
        assert_eq!(admitted(&mut limiter, plainly), 0, "{kind:?}: 54 of 10 are used");
        assert_eq!(admitted(&mut limiter, own), 46, "{kind:?}: 54 of 100 were used");
    }
}

/// Regression: what was carried over into a burst was cut to the number of the first caller, and the rest was lifted for others.
#[test]
fn counts_carried_into_a_burst_are_not_cut() {
    let mut limiter = Limiter::new(vec![plain(Kind::Fixed, 100, HOUR)]);
    assert_eq!(limiter.admitted(50, secs(0)), 50);
    limiter.reload(vec![plain(Kind::Burst, 10, HOUR)], secs(0));
    assert_eq!(limiter.admitted(1, secs(0)), 0);
    limiter.reload(vec![plain(Kind::Burst, 100, HOUR)], secs(0));
    assert_eq!(limiter.admitted(200, secs(0)), 50);
}

/// For every kind of limit before and after: requests sent so far count, and no refusal outlasts the new window.
#[test]
fn changing_kind_or_window_lifts_nothing() {
    let counting = KINDS
        .into_iter()
        .flat_map(|kind| [MINUTE, HOUR].map(|window| (kind, window)));
    for (from, to) in counting
        .clone()
        .flat_map(|from| counting.clone().map(move |to| (from, to)))
    {
        let mut limiter = Limiter::new(vec![plain(from.0, 6, from.1)]);
        assert_eq!(limiter.admitted(4, secs(0)), 4);
        limiter.reload(vec![plain(to.0, 6, to.1)], secs(1));
        let dripped = usize::from(from == (Kind::Burst, MINUTE));
        let more = limiter.admitted(9, secs(1));
        assert!((2..=2 + dripped).contains(&more), "{from:?} to {to:?}: {more}");
        // A sliding window's buckets are late by a sixtieth.
        let over = secs(2).now + to.1 + Span::from_secs(to.1.as_secs_ceil() / 60);
        let late = after(over.since(Timestamp::ZERO));
        assert_eq!(limiter.admitted(9, late), 6, "{from:?} to {to:?}");
    }
}

/// The number by which a bucket drips may be the caller's own: it is known with the first request.
#[test]
fn a_new_bucket_fills_by_the_number_of_its_caller() {
    for (number, more) in [(6, 2), (60, 56), (2, 0)] {
        let mut limiter = Limiter::new(vec![plain(Kind::Fixed, 6, HOUR)]);
        assert_eq!(limiter.admitted(4, secs(0)), 4);
        limiter.reload(vec![plain(Kind::Burst, 6, HOUR)], secs(0));
        let own = Counter {
            number,
            enforced: number,
            ..counter(LimitId(0), &limiter.rules, of_network(1, 1))
        };
        let admitted = (0..100).filter(|_| limiter.decide(&[own], secs(0)).is_ok()).count();
        assert_eq!(admitted, more, "of {number}");
    }
}

#[test]
fn a_reload_shortens_penalties() {
    let with = |penalty_s: Option<u64>| plain(Kind::Fixed, 1, MINUTE).penalty(penalty_s.map(Span::from_secs));
    for (to, ends) in [(Some(7_200), 3_600), (Some(600), 610), (Some(1), 70), (None, 70)] {
        let mut limiter = Limiter::new(vec![with(Some(3_600))]);
        assert_eq!(limiter.admitted(2, secs(0)), 1);
        limiter.reload(vec![with(to)], secs(10));
        assert_eq!(limiter.admitted(1, secs(ends - 1)), 0, "{to:?}");
        assert_eq!(limiter.admitted(1, secs(ends)), 1, "{to:?}");
    }
}

#[test]
fn a_reload_shortens_blocks_and_ends_those_without_a_rule() {
    let with = |lasts_s: Option<u64>| {
        let rule = lasts_s.map(|secs| block(2, HOUR, Span::from_secs(secs)));
        plain(Kind::Fixed, 1, Span::from_secs(1)).block_after(rule)
    };
    for (to, ends) in [(Some(7_200), 3_600), (Some(60), 70), (None, 11)] {
        let mut limiter = Limiter::new(vec![with(Some(3_600))]);
        assert_eq!(limiter.admitted(3, secs(0)), 1);
        assert_eq!(limiter.admitted(1, secs(9)), 0);
        let still = limiter.admitted(1, secs(10));
        limiter.reload(vec![with(to)], secs(10));
        let before = if to.is_some() { secs(ends - 1) } else { secs(10) };
        assert_eq!(
            (still, limiter.admitted(1, before)),
            (0, usize::from(to.is_none())),
            "{to:?}"
        );
        assert_eq!(limiter.admitted(1, secs(ends)), 1, "{to:?}");
    }
    // One refusal was noted before there was another rule.
    let mut limiter = Limiter::new(vec![with(Some(3_600))]);
    assert_eq!(limiter.admitted(2, secs(0)), 1);
    limiter.reload(vec![with(Some(60))], secs(0));
    assert_eq!(limiter.admitted(1, secs(0)), 0);
    assert_eq!(limiter.admitted(1, secs(59)), 0, "the second blocks");
    assert_eq!(limiter.admitted(1, secs(60)), 1);
}

#[test]
fn removed_limits_are_forgotten_and_new_ones_begin_empty() {
    let limit = |name: &str| plain(Kind::Fixed, 2, HOUR).named(name);
    let mut limiter = Limiter::new(vec![limit("a")]);
    assert_eq!(limiter.admitted(3, secs(0)), 2);
    limiter.reload(vec![limit("b")], secs(0));
    assert_eq!(limiter.admitted(3, secs(0)), 2);
    limiter.reload(vec![limit("a")], secs(0));
    assert_eq!(limiter.admitted(3, secs(0)), 2);
}

#[test]
fn a_changed_caller_budget_applies_at_once() {
    let limit = plain(Kind::Fixed, 1, HOUR);
    let mut limiter = Limiter::new(vec![limit.clone()]);
    let mut next = 0;
    let mut counted = |limiter: &mut Limiter, networks: u64| {
        for _ in 0..networks {
            next += 1;
            let counter = counter(LimitId(0), &limiter.rules, of_network(next, next));
            _ = limiter.decide(&[counter], secs(0));
        }
        limiter
            .shards
            .iter()
            .map(|shard| shard.counted(LimitId(0)).0)
            .sum::<usize>()
    };
    assert_eq!(counted(&mut limiter, 1_500), 1_000);
    limiter.reload_rules(rules(vec![limit.clone()], 1_200), secs(0));
    assert_eq!(counted(&mut limiter, 1_000), 1_200);
    limiter.reload_rules(rules(vec![limit], 1_000), secs(0));
    assert_eq!(counted(&mut limiter, 1_000), 1_200, "counted callers stay counted");
}

/// A limit that isn't enforced does all that it would do, but refuse: so enforcing it later brings no surprise.
#[test]
fn unenforced_limits_count_and_can_be_enforced_later() {
    let limit = |enforce| plain(Kind::Fixed, 2, MINUTE).penalty(HOUR).enforced(enforce);
    let mut limiter = Limiter::new(vec![limit(false)]);
    let counter = counter(LimitId(0), &limiter.rules, of_network(1, 1));
    let would: Vec<bool> = (0..4)
        .map(|_| {
            let admitted = limiter.decide(&[counter], secs(0)).expect("it is within the limit");
            assert!(admitted.left.is_empty(), "nobody is told");
            admitted.unenforced.has(LimitId(0))
        })
        .collect();
    assert_eq!(would, [false, false, true, true]);
    limiter.reload(vec![limit(true)], secs(1));
    assert_eq!(limiter.admitted(1, secs(3_599)), 0, "its penalty has begun");
    assert_eq!(limiter.admitted(1, secs(3_600)), 1);
}
