//! More networks than may be counted individually (rules §7.9): aggregation lifts no limit, callers with their own counter are not
//! affected, and aggregated ones get their own counter again.
//!
//! Regressions of the first table. A prefix in a full row took over the lightest counter, whose previous prefix was forgotten and began
//! anew. A caller counted with its prefix stayed there while the window was never empty: with a sliding window as long as two callers of
//! that prefix go on. A penalty shorter than the window lasted until one request fitted, and then admitted as many as the limit. A caller
//! that was refused for the requests of others with its prefix was blocked for it. Rows were chosen by prefix, so that one client with
//! an IPv6 /32 filled all of them.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use tiergate_policy::limits::{Counter, Moment, Refused, Shard, Subject, decide};
use tiergate_policy::rules::{Kind, Limit, LimitId, Rules};
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use super::limits::plain;
use super::limits_side_by_side::{at_most, of_network, rules};
use super::rules::{LimitExt, block};
use super::seeded::runner;

const HISTORIES: u32 = 150;
const ID: LimitId = LimitId(0);
const SECOND: Span = Span::from_secs(1);

struct Limiter {
    rules: Rules,
    shards: Vec<Shard>,
    admitted: HashMap<u64, Vec<Timestamp>>,
    refused: HashMap<u64, Vec<Timestamp>>,
}

impl Limiter {
    fn new(limit: Limit, callers_max: u32) -> Self {
        let rules = rules(vec![limit], callers_max);
        Self {
            shards: Shard::all(&rules),
            rules,
            admitted: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    fn limit(&self) -> &Limit {
        &self.rules.limits[0]
    }

    fn ask(&mut self, subject: Subject, now: Timestamp) -> bool {
        let counter = Counter {
            limit: ID,
            subject,
            number: self.limit().number,
            enforced: self.limit().number,
            matches: true,
        };
        let decided = decide(&[counter], &mut self.shards, &self.rules.limits, at(now));
        match &decided {
            Ok(_) => self.admitted.entry(subject.id).or_default().push(now),
            Err(Refused::Limited { .. }) => self.refused.entry(subject.id).or_default().push(now),
            Err(Refused::Blocked { .. }) => self.check_block(subject),
        }
        decided.is_ok()
    }

    /// A blocked subject was refused often enough within the time.
    fn check_block(&self, subject: Subject) {
        let (rule, refused) = (self.limit().block_after, self.refused.get(&subject.id));
        let (rule, refused) = (rule.expect("a rule has blocked it"), refused.expect("it was refused"));
        let mut stretches = refused.windows(rule.refusals as usize);
        let often = stretches.any(|stretch| stretch[stretch.len() - 1].since(stretch[0]) < rule.within);
        assert!(often, "{:?}: it was refused at {refused:?}", self.limit());
    }

    /// The clock isn't set here, so aligned windows promise what fixed ones do.
    fn may(&self, passed: Span) -> u64 {
        let kind = match self.limit().kind {
            Kind::Aligned => Kind::Fixed,
            kind => kind,
        };
        let limit = self.limit().clone().kind(kind);
        at_most(&limit, limit.number, passed)
    }

    fn sweep(&mut self, now: Timestamp) {
        for shard in &mut self.shards {
            shard.sweep(&self.rules.limits, at(now));
        }
    }

    /// Callers counted individually, and requests counted by prefix.
    fn counted(&self) -> (usize, u64) {
        let counted = self.shards.iter().map(|shard| shard.counted(ID));
        counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn check_limits(&self) {
        for times in self.admitted.values() {
            for (first, from) in times.iter().enumerate() {
                for (more, to) in times[first..].iter().enumerate() {
                    let may = self.may(to.since(*from));
                    assert!((more as u64) < may, "{:?}: {} of {may}", self.limit(), more + 1);
                }
            }
        }
    }
}

fn at(now: Timestamp) -> Moment {
    Moment {
        now,
        wall: UnixTime::from_millis(now.as_nanos() / 1_000_000),
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request of one of a few networks.
    Request(u64),
    /// Many that come once, out of as many prefixes.
    Flood {
        networks: u64,
        prefixes: u64,
    },
    /// Hundredths of the window.
    Pass(u64),
    Sweep,
}

#[test]
fn aggregation_lifts_no_limit() {
    let (mut runner, seed, _) = runner(HISTORIES);
    let kind = prop_oneof![
        Just(Kind::Fixed),
        Just(Kind::Aligned),
        Just(Kind::Sliding),
        Just(Kind::Burst)
    ];
    let callers_max = prop_oneof![Just(1_u32), 1_u32..64, 64_u32..4_096];
    let step = prop_oneof![
        10 => (0_u64..12).prop_map(Step::Request),
        2 => (1_u64..300, 1_u64..3_000).prop_map(|(networks, prefixes)| Step::Flood { networks, prefixes }),
        4 => prop_oneof![Just(1), Just(100), 0_u64..130].prop_map(Step::Pass),
        2 => Just(Step::Sweep),
    ];
    let hundredths = || (1_u64..300).prop_map(|hundredths| Span::from_millis(hundredths * 10));
    let block_after =
        (1_u32..5, hundredths(), hundredths()).prop_map(|(refusals, within, lasts)| block(refusals, within, lasts));
    let limit = (kind, 1_u32..5, weighted(0.3, hundredths()), weighted(0.3, block_after)).prop_map(
        |(kind, number, penalty, block_after)| plain(kind, number, SECOND).penalty(penalty).block_after(block_after),
    );
    let result = runner.run(
        &(limit, callers_max, vec(step, 20..120)),
        |(limit, callers_max, steps)| {
            let mut limiter = Limiter::new(limit, callers_max);
            let (mut now, mut stranger) = (Timestamp::ZERO, 1_000);
            for step in &steps {
                match *step {
                    Step::Request(network) => _ = limiter.ask(of_network(network, network / 3), now),
                    Step::Flood { networks, prefixes } => {
                        for _ in 0..networks {
                            stranger += 1;
                            limiter.ask(of_network(stranger, stranger % prefixes), now);
                        }
                    }
                    Step::Pass(hundredths) => now = now + Span::from_nanos(SECOND.as_nanos() / 100 * hundredths),
                    Step::Sweep => limiter.sweep(now),
                }
            }
            limiter.check_limits();
            Ok(())
        },
    );
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
}

/// All prefixes below are of one row of one shard: they lie in one region, and their numbers begin alike.
fn in_one_row(prefix: u64) -> Subject {
    Subject {
        id: prefix << 32 | 1,
        wider: prefix << 32,
        region: 1,
        is_network: true,
    }
}

#[test]
fn a_prefix_in_a_full_row_lifts_no_limit() {
    let millis = |millis| Timestamp::ZERO + Span::from_millis(millis);
    for others in 0..40 {
        let mut limiter = Limiter::new(plain(Kind::Sliding, 4, SECOND), 1);
        assert!(limiter.ask(in_one_row(1_000), millis(0)), "it is counted individually");
        for prefix in 1..=others {
            for _ in 0..3 {
                limiter.ask(in_one_row(prefix), millis(0));
            }
        }
        // One that sends little comes late, and another one after it.
        let late = in_one_row(2_000);
        let before = u32::from(limiter.ask(late, millis(900)));
        limiter.ask(in_one_row(3_000), millis(950));
        // All windows but theirs are over.
        let after: u32 = (0..4).map(|_| u32::from(limiter.ask(late, millis(1_017)))).sum();
        assert!(before + after <= 4, "{before} and {after} beside {others} others");
    }
}

#[test]
fn aggregated_callers_are_counted_apart_again() {
    let mut limiter = Limiter::new(plain(Kind::Sliding, 5, SECOND), 3);
    // Others take all the counters, so that two networks with one prefix share one at first.
    for other in 100..103 {
        limiter.ask(of_network(other, other), Timestamp::ZERO);
    }
    let mut admitted = [0; 2];
    for quarter in 0..60 {
        let now = Timestamp::ZERO + Span::from_millis(quarter * 250);
        limiter.sweep(now);
        for (network, admitted) in (1..).zip(&mut admitted) {
            let is_admitted = limiter.ask(of_network(network, 1), now);
            *admitted += u32::from(is_admitted && quarter >= 20);
        }
    }
    // Four a second each is within a limit of five.
    assert_eq!(admitted, [40, 40], "{:?}", limiter.counted());
}

#[test]
fn a_short_penalty_lifts_no_limit() {
    for kind in [Kind::Sliding, Kind::Burst] {
        let limit = plain(kind, 10, Span::from_secs(60)).penalty(SECOND);
        let mut limiter = Limiter::new(limit, 100);
        let me = of_network(1, 1);
        // One early; then nothing until it is about to leave, and from then on ten a second.
        let times_ms = [60_000].into_iter().chain((0..110).map(|tenth| 119_000 + tenth * 100));
        let admitted = |limiter: &mut Limiter, ms| limiter.ask(me, Timestamp::ZERO + Span::from_millis(ms));
        let late = times_ms
            .filter(|ms| admitted(&mut limiter, *ms) && *ms > 60_000)
            .count();
        assert!(late <= 11, "{kind:?}: {late} within eleven seconds");
        limiter.check_limits();
    }
}

/// A limit of five in a minute, with all counters taken by ten other networks, and a rule that blocks for an hour after three refusals.
/// Five networks with the prefix of number 300 have used up what the prefix may send.
fn used_up_by_its_prefix() -> Limiter {
    let block = block(3, Span::from_secs(60), Span::from_secs(3_600));
    let limit = plain(Kind::Fixed, 5, Span::from_secs(60)).block_after(block);
    let mut limiter = Limiter::new(limit, 10);
    for other in 100..110 {
        limiter.ask(of_network(other, other), Timestamp::ZERO);
    }
    for other in 200..205 {
        assert!(limiter.ask(of_network(other, 7), Timestamp::ZERO + SECOND));
    }
    limiter
}

#[test]
fn nobody_is_blocked_for_others_of_its_prefix() {
    let (mut limiter, me) = (used_up_by_its_prefix(), of_network(300, 7));
    for _ in 0..9 {
        assert!(
            !limiter.ask(me, Timestamp::ZERO + SECOND),
            "others with its prefix have used it up"
        );
    }
    let later = Timestamp::ZERO + Span::from_secs(120);
    limiter.sweep(later);
    assert!(limiter.ask(me, later), "none of its requests was admitted before");
}

#[test]
fn inherited_counts_block_nobody() {
    let (mut limiter, me) = (used_up_by_its_prefix(), of_network(300, 7));
    // A minute after the ten others there is capacity, and the counter that it shared goes on for a second.
    let room = Timestamp::ZERO + Span::from_millis(60_500);
    limiter.sweep(room);
    for _ in 0..9 {
        assert!(!limiter.ask(me, room));
    }
    assert!(limiter.counted().0 > 0, "it is counted individually");
    let (later, before) = (room + SECOND, limiter.refused[&me.id].len());
    let admitted = (0..12).filter(|_| limiter.ask(me, later)).count();
    assert_eq!(admitted, 5, "a second later its counter is empty");
    assert_eq!(
        limiter.refused[&me.id].len() - before,
        3,
        "then it is blocked for its own refusals"
    );
}

/// One client has an IPv6 /32: 65,536 prefixes in one region. Others have prefixes and regions of their own.
#[test]
fn a_flood_from_one_region_affects_only_its_row() {
    // With 64 rows in each shard.
    for callers_max in [1_000, 64_000] {
        let mut limiter = Limiter::new(plain(Kind::Fixed, 5, Span::from_secs(3_600)), callers_max);
        for number in 0..u64::from(callers_max) + 200_000 {
            let of_the_flood = Subject {
                region: 0x5EED,
                ..of_network(10_000_000 + number, number % 65_536)
            };
            limiter.ask(of_the_flood, Timestamp::ZERO);
        }
        let stranger = |number| of_network(500_000_000 + number, 900_000_000 + number);
        let refused = (0..2_000_u64)
            .filter(|number| !limiter.ask(stranger(*number), Timestamp::ZERO))
            .count();
        // One in 64 lies in the flood's row by chance.
        assert!(
            refused <= 2 * 2_000 / 64,
            "{callers_max}: {refused} of 2,000 are refused"
        );
    }
}

/// One prefix alone has more networks than are counted individually: a /48 has 65,536 of them.
#[test]
fn one_prefix_leaves_counters_for_the_others() {
    let max = 16_384;
    let mut limiter = Limiter::new(plain(Kind::Fixed, 5, Span::from_secs(3_600)), max);
    for number in 0..2 * u64::from(max) {
        limiter.ask(of_network(1_000_000 + number, 7), Timestamp::ZERO);
    }
    let (alone, _) = limiter.counted();
    assert_eq!(alone, max as usize / 8, "an eighth, which is what a shard has at most");
    let (_, aggregated) = limiter.counted();
    for stranger in 0..1_000 {
        assert!(limiter.ask(of_network(stranger, 1_000 + stranger * 7), Timestamp::ZERO));
    }
    let shared = limiter.counted().1 - aggregated;
    assert!(
        shared < 100,
        "{shared} of 1,000 networks are not counted individually: those of its shard"
    );
}
