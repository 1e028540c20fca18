//! More networks than may be counted one by one (semantics §7.9): nobody gets more than its limit by being crowded out, who is counted by
//! itself is not disturbed, and what was crowded comes apart again.
//!
//! Two bugs of the first table are told here. A neighbourhood that found its row full took over the lightest counter; whose that had been was
//! forgotten, and who came out of it began anew. And who was counted with its neighbourhood stayed there for as long as the window was never
//! empty: with a sliding window that is as long as two of the neighbours go on.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tiergate::policy::limits::{Counter, Moment, Shard, Subject, decide};
use tiergate::policy::rules::{Kind, Limit, LimitId, Rules};
use tiergate::policy::time::{Span, Timestamp, UnixTime};

use super::histories::runner;
use super::limits::plain;
use super::limits_side_by_side::{at_most, of_network, rules};

const HISTORIES: u32 = 150;
const ID: LimitId = LimitId(0);
const SECOND: Span = Span::from_secs(1);

struct Door {
    rules: Rules,
    shards: Vec<Shard>,
    let_in: HashMap<u64, Vec<Timestamp>>,
}

impl Door {
    fn new(limit: Limit, callers_max: u32) -> Self {
        let rules = rules(vec![limit], callers_max);
        Self {
            shards: Shard::all(&rules),
            rules,
            let_in: HashMap::new(),
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
        let is_let_in = decide(&[counter], &mut self.shards, &self.rules.limits, at(now)).is_ok();
        if is_let_in {
            self.let_in.entry(subject.id).or_default().push(now);
        }
        is_let_in
    }

    fn sweep(&mut self, now: Timestamp) {
        for shard in &mut self.shards {
            shard.sweep(&self.rules.limits, at(now));
        }
    }

    /// Callers counted by themselves, and requests by neighbourhood.
    fn counted(&self) -> (usize, u64) {
        let counted = self.shards.iter().map(|shard| shard.counted(ID));
        counted.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn nobody_got_more_than_its_limit(&self) {
        for times in self.let_in.values() {
            for (first, from) in times.iter().enumerate() {
                for (more, to) in times[first..].iter().enumerate() {
                    let may = at_most(self.limit(), self.limit().number, to.since(*from));
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
    /// One of a few networks that come again and again.
    Ask(u64),
    /// Many that come once, out of as many neighbourhoods.
    Flood {
        networks: u64,
        neighbourhoods: u64,
    },
    /// Hundredths of the window.
    Pass(u64),
    Sweep,
}

#[test]
fn nobody_gets_more_than_its_limit_by_being_crowded_out() {
    let (mut runner, seed, _) = runner(HISTORIES);
    let kind = prop_oneof![Just(Kind::Fixed), Just(Kind::Sliding), Just(Kind::Burst)];
    let callers_max = prop_oneof![Just(1_u32), 1_u32..64, 64_u32..4_096];
    let step = prop_oneof![
        10 => (0_u64..12).prop_map(Step::Ask),
        2 => (1_u64..300, 1_u64..3_000).prop_map(|(networks, neighbourhoods)| Step::Flood { networks, neighbourhoods }),
        4 => prop_oneof![Just(1), Just(100), 0_u64..130].prop_map(Step::Pass),
        2 => Just(Step::Sweep),
    ];
    let crowd = (kind, 1_u32..5, callers_max, vec(step, 20..120));
    let result = runner.run(&crowd, |(kind, number, callers_max, steps)| {
        let mut door = Door::new(plain(kind, number, SECOND), callers_max);
        let (mut now, mut stranger) = (Timestamp::ZERO, 1_000);
        for step in &steps {
            match *step {
                Step::Ask(network) => _ = door.ask(of_network(network, network / 3), now),
                Step::Flood {
                    networks,
                    neighbourhoods,
                } => {
                    for _ in 0..networks {
                        stranger += 1;
                        door.ask(of_network(stranger, stranger % neighbourhoods), now);
                    }
                }
                Step::Pass(hundredths) => now = now + Span::from_nanos(SECOND.as_nanos() / 100 * hundredths),
                Step::Sweep => door.sweep(now),
            }
        }
        door.nobody_got_more_than_its_limit();
        Ok(())
    });
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
}

/// All neighbourhoods below are of one row of one shard: they lie in one region, and their numbers begin alike.
fn in_one_row(neighbourhood: u64) -> Subject {
    Subject {
        id: neighbourhood << 32 | 1,
        wider: neighbourhood << 32,
        region: 1,
        is_network: true,
    }
}

#[test]
fn a_neighbourhood_that_finds_its_row_full_lifts_nobodys_limit() {
    let millis = |millis| Timestamp::ZERO + Span::from_millis(millis);
    for others in 0..40 {
        let mut door = Door::new(plain(Kind::Sliding, 4, SECOND), 1);
        assert!(door.ask(in_one_row(1_000), millis(0)), "it is counted by itself");
        for neighbourhood in 1..=others {
            for _ in 0..3 {
                door.ask(in_one_row(neighbourhood), millis(0));
            }
        }
        // One that sends little comes late, and another one after it.
        let late = in_one_row(2_000);
        let before = u32::from(door.ask(late, millis(900)));
        door.ask(in_one_row(3_000), millis(950));
        // All windows but theirs are over.
        let after: u32 = (0..4).map(|_| u32::from(door.ask(late, millis(1_017)))).sum();
        assert!(before + after <= 4, "{before} and {after} beside {others} others");
    }
}

#[test]
fn who_was_counted_with_its_neighbours_is_counted_by_itself_again_while_they_go_on() {
    let mut door = Door::new(plain(Kind::Sliding, 5, SECOND), 3);
    // Others take all the places, so that two neighbours share a counter at first.
    for other in 100..103 {
        door.ask(of_network(other, other), Timestamp::ZERO);
    }
    let mut let_in = [0; 2];
    for quarter in 0..60 {
        let now = Timestamp::ZERO + Span::from_millis(quarter * 250);
        door.sweep(now);
        for (network, let_in) in (1..).zip(&mut let_in) {
            let is_let_in = door.ask(of_network(network, 1), now);
            *let_in += u32::from(is_let_in && quarter >= 20);
        }
    }
    // Four a second each is within a limit of five.
    assert_eq!(let_in, [40, 40], "{:?}", door.counted());
}
