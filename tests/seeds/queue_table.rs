//! A queue as the documents show it, and which priorities it admits. The tables are in the module of each system.

use std::sync::Arc;

use tiergate::config::presets::Preset;
use tiergate::policy::caller::{AccountId, Caller};
use tiergate::policy::refusal::{Reason, Refusal};
use tiergate::policy::rules::{Priority, Rules, TierId, UpstreamId};
use tiergate::policy::time::{Span, Timestamp, UnixTime};
use tiergate::policy::{Admission, Policy};

use crate::support::request::{AdmissionRequest, RequestExt, request};

/// A system and its preset.
pub struct System {
    pub preset: &'static str,
    /// The upstream that searches, and a host that is routed there.
    pub upstream: &'static str,
    pub host: &'static str,
}

/// One row of a queue table: the queued priorities, those accepted, those rejected.
pub struct Row {
    /// One character per queue place: the priority of its job, or `_` for a free one.
    pub queue: &'static str,
    pub acceptable: &'static [u8],
    pub rejecting: &'static [u8],
}

/// | Current queue | Acceptable request | Rejecting request |
pub const fn row(queue: &'static str, acceptable: &'static [u8], rejecting: &'static [u8]) -> Row {
    Row {
        queue,
        acceptable,
        rejecting,
    }
}

/// The preset's rules, and the upstream that searches.
struct Said {
    rules: Arc<Rules>,
    searches: UpstreamId,
}

impl System {
    fn said(&self) -> Said {
        let preset = Preset::named(self.preset).expect("a preset that there is");
        let config = preset.config().unwrap_or_else(|errors| panic!("{errors}"));
        let search = config.routes.iter().find(|route| route.metered);
        Said {
            searches: search.expect("it searches").upstream,
            rules: Arc::new(config.rules),
        }
    }

    /// Searches that run at once.
    pub fn slots(&self) -> usize {
        self.said().slots()
    }

    /// How many requests of one caller of this tier are admitted before one is refused, queued ones included, and the
    /// reason.
    pub fn first_refusal(&self, tier: &str) -> (u32, Reason) {
        let mut busy = BusyPolicy::new(self.said());
        let at = busy.policy.rules().tiers.iter().position(|level| &*level.name == tier);
        let ask = busy.ask(TierId(
            u16::try_from(at.expect("the preset has it")).expect("a handful"),
        ));
        for admitted in 0.. {
            if let Err(refusal) = busy.policy.enter(&ask, Timestamp::ZERO) {
                return (admitted, refusal.reason());
            }
        }
        unreachable!("the queue is bounded")
    }
}

impl Said {
    fn slots(&self) -> usize {
        let pool = &self.rules.upstreams[self.searches];
        usize::try_from(pool.slots()).expect("a handful")
    }
}

impl Row {
    /// The queued priorities in order of arrival.
    pub fn queued(&self) -> Vec<u8> {
        let places = self.queue.bytes().filter(|place| *place != b'_');
        places.map(|place| place - b'0').collect()
    }

    /// Checks that a queue filled as in this row admits the priorities it should, each with a fresh queue.
    pub fn check(&self, system: &System) {
        let places = system.said().rules.queue.length;
        assert_eq!(usize::try_from(places).unwrap(), self.queue.len(), "as long as the row");
        for priority in [0, 2, 5, 6] {
            let accepted = self.accepts(system, priority);
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

    /// Whether a queue filled as in this row admits a request of this priority. Checks that it takes a free place if
    /// there is one, or else displaces a job of the lowest priority.
    fn accepts(&self, system: &System, priority: u8) -> bool {
        let mut busy = BusyPolicy::new(system.said());
        let queued = self.queued();
        for waiting in &queued {
            busy.enter(*waiting).expect("the row fits into the queue");
        }
        let before = busy.drawn();
        match busy.enter(priority) {
            Ok(Admission::Queued { displaced, .. }) => {
                let lowest = queued.iter().min();
                let full = queued.len() == self.queue.len();
                assert_eq!(displaced.is_some(), full, "{priority} at {}", self.queue);
                let mut after = before;
                after[usize::from(priority)] += 1;
                if full {
                    after[usize::from(*lowest.unwrap())] -= 1;
                }
                assert_eq!(busy.drawn(), after, "{priority} at {}", self.queue);
                true
            }
            Err(refusal) => {
                self.check_refusal(&refusal, priority, &queued);
                assert_eq!(busy.drawn(), before, "a refusal changes nothing");
                false
            }
            Ok(other) => panic!("all slots are taken, but: {other:?}"),
        }
    }

    /// A 503 that names the lowest priority that would have been admitted: the one above the lowest that is queued.
    fn check_refusal(&self, refusal: &Refusal, priority: u8, queued: &[u8]) {
        assert_eq!(refusal.reason(), Reason::QueueFull, "{priority} at {}", self.queue);
        let Refusal::QueueFull {
            capacity, admits_from, ..
        } = refusal
        else {
            unreachable!("the reason was checked above");
        };
        assert_eq!(usize::try_from(*capacity).unwrap(), self.queue.len());
        let above_lowest = queued.iter().min().and_then(|lowest| Priority::new(lowest + 1));
        assert_eq!(*admits_from, above_lowest, "{priority} at {}", self.queue);
    }
}

/// A policy whose slots are all taken. Every request is from a caller of its own.
struct BusyPolicy {
    policy: Policy,
    searches: UpstreamId,
    callers: u32,
}

impl BusyPolicy {
    fn new(said: Said) -> Self {
        let mut busy = Self {
            policy: Policy::new(Arc::clone(&said.rules)),
            searches: said.searches,
            callers: 0,
        };
        busy.policy
            .follow_clock(UnixTime::from_secs(1_800_014_400), Timestamp::ZERO, Span::MAX);
        for _ in 0..said.slots() {
            let running = busy.enter(6);
            assert!(
                matches!(running, Ok(Admission::Running { .. })),
                "a slot is free: {running:?}"
            );
        }
        busy
    }

    fn enter(&mut self, priority: u8) -> Result<Admission, Refusal> {
        let tiers = &self.policy.rules().tiers;
        let level = tiers.iter().position(|tier| tier.priority.get() == priority);
        let ask = self.ask(TierId(u16::try_from(level.expect("a level of that priority")).unwrap()));
        self.policy.enter(&ask, Timestamp::ZERO)
    }

    /// A request of a new caller.
    fn ask(&mut self, tier: TierId) -> AdmissionRequest {
        self.callers += 1;
        request(Caller::Account(AccountId(self.callers)), tier).to(self.searches)
    }

    /// How many jobs are queued, by priority.
    fn drawn(&self) -> [u32; Priority::COUNT] {
        *self.policy.waiting()
    }
}
