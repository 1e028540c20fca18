//! A queue as it is drawn in the documents, and whom it lets in.
//!
//! Absent on purpose: the tables. Each system's module has its own, as its document draws it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tiergate::policy::caller::{AccountId, Caller, Network};
use tiergate::policy::refusal::{Reason, Refusal};
use tiergate::policy::rules::{
    CALLERS_MAX_DEFAULT, PoolId, PoolRules, Priority, QueueRules, Rules, Tier, TierId, Within,
};
use tiergate::policy::time::{Span, Timestamp};
use tiergate::policy::{Admission, Ask, Policy};

/// One row of a queue table: who waits, who is accepted, who is rejected.
pub struct Row {
    /// One character a seat: the priority of who sits there, or `_` for a free one.
    pub queue: &'static str,
    pub acceptable: &'static [u8],
    pub rejecting: &'static [u8],
}

/// A sponsor level as the documents list it: name, concurrency, priority.
pub type Level = (&'static str, u32, u8);

/// The rules of a system: its sponsor levels and so many seats, before one worker.
pub fn rules(levels: &[Level], seats: u32) -> Rules {
    let tier = |(name, concurrency, priority): &Level| Tier {
        name: (*name).into(),
        priority: Priority::new(*priority).expect("0 to 6"),
        concurrency: *concurrency,
        quotas: Vec::new(),
        max_wait: None,
        displacements_per_minute: 10 * concurrency,
        limits: Vec::new(),
    };
    Rules {
        queue: QueueRules {
            length: seats,
            within_tier: Within::Fifo,
            max_wait: Span::from_secs(30),
            lifeline: None,
        },
        windows: Vec::new(),
        tiers: levels.iter().map(tier).collect(),
        anonymous: TierId(0),
        pools: vec![PoolRules {
            name: "search".into(),
            slots: vec![1],
        }],
        limits: Vec::new(),
        callers_max: CALLERS_MAX_DEFAULT,
    }
}

impl Row {
    /// Lets every priority of the levels knock at the queue of this row, each at a fresh one.
    pub fn check(&self, levels: &[Level]) {
        for priority in [0, 2, 5, 6] {
            let accepted = self.accepts(levels, priority);
            assert_eq!(
                accepted,
                self.acceptable.contains(&priority),
                "{priority} at {}",
                self.queue
            );
            assert_eq!(
                !accepted,
                self.rejecting.contains(&priority),
                "{priority} at {}",
                self.queue
            );
        }
    }

    /// Whether a queue as drawn lets a request of that priority in, and whether it does so as it should: a free seat if
    /// there is one, or else that of somebody of the lowest priority.
    fn accepts(&self, levels: &[Level], priority: u8) -> bool {
        let mut door = Door::busy(rules(levels, u32::try_from(self.queue.len()).unwrap()));
        let seated: Vec<u8> = self
            .queue
            .bytes()
            .filter(|seat| *seat != b'_')
            .map(|seat| seat - b'0')
            .collect();
        for seat in &seated {
            door.knocks(*seat).expect("there are seats for all who are drawn");
        }
        let before = door.drawn();
        match door.knocks(priority) {
            Ok(Admission::Seated { displaced, .. }) => {
                let lowest = seated.iter().min();
                let full = seated.len() == self.queue.len();
                assert_eq!(displaced.is_some(), full, "{priority} at {}", self.queue);
                let mut after = before;
                after[usize::from(priority)] += 1;
                if full {
                    after[usize::from(*lowest.unwrap())] -= 1;
                }
                assert_eq!(door.drawn(), after, "{priority} at {}", self.queue);
                true
            }
            Err(refusal) => {
                self.check_refusal(&refusal, priority, &seated);
                assert_eq!(door.drawn(), before, "a refusal changes nothing");
                false
            }
            Ok(other) => panic!("the worker is busy, but: {other:?}"),
        }
    }

    /// A 503 that names the lowest priority that would have been let in: the one above the lowest that waits.
    fn check_refusal(&self, refusal: &Refusal, priority: u8, seated: &[u8]) {
        assert_eq!(refusal.reason(), Reason::QueueFull, "{priority} at {}", self.queue);
        let Refusal::QueueFull { seats, admits_from, .. } = refusal else {
            unreachable!("the reason was looked at above");
        };
        assert_eq!(usize::try_from(*seats).unwrap(), self.queue.len());
        let above_lowest = seated.iter().min().and_then(|lowest| Priority::new(lowest + 1));
        assert_eq!(*admits_from, above_lowest, "{priority} at {}", self.queue);
    }
}

/// How many requests of one caller of that level are let in before one is refused, waiting ones included, and why.
pub fn first_refusal(levels: &[Level], level: usize) -> (u32, Reason) {
    let mut door = Door::busy(rules(levels, 8));
    let ask = door.ask(TierId(u16::try_from(level).unwrap()));
    for let_in in 0.. {
        if let Err(refusal) = door.policy.enter(&ask, Timestamp::ZERO) {
            return (let_in, refusal.reason());
        }
    }
    unreachable!("seats are bounded")
}

/// A door whose only worker is busy. Every request is of a caller of its own.
struct Door {
    policy: Policy,
    callers: u32,
}

impl Door {
    fn busy(rules: Rules) -> Self {
        let mut door = Self {
            policy: Policy::new(Arc::new(rules)),
            callers: 0,
        };
        let first = door.knocks(6);
        assert!(
            matches!(first, Ok(Admission::Running { .. })),
            "the worker is free: {first:?}"
        );
        door
    }

    fn knocks(&mut self, priority: u8) -> Result<Admission, Refusal> {
        let tiers = &self.policy.rules().tiers;
        let level = tiers.iter().position(|tier| tier.priority.get() == priority);
        let ask = self.ask(TierId(u16::try_from(level.expect("a level of that priority")).unwrap()));
        self.policy.enter(&ask, Timestamp::ZERO)
    }

    /// A request of a caller who was never here before.
    fn ask(&mut self, tier: TierId) -> Ask {
        self.callers += 1;
        Ask {
            caller: Caller::Account(AccountId(self.callers)),
            from: Network::V4(Ipv4Addr::LOCALHOST),
            tier,
            own: None,
            delegate: None,
            cost: 1,
            pool: PoolId(0),
            ready: true,
            max_wait: None,
            prefer_wait: None,
        }
    }

    /// How many wait, by priority.
    fn drawn(&self) -> [u32; Priority::COUNT] {
        *self.policy.waiting()
    }
}
