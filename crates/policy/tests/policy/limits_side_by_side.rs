//! Request limits and their model, side by side, while other rules are loaded now and then: after every step both have said the
//! same, and what is promised to callers holds, which is checked without the model too.
//!
//! Histories come from `limits` and `fuzz/fuzz_targets/limits.rs`; full tables are in `limits_aggregated`.

use std::collections::HashMap;
use std::sync::Arc;

use tiergate_policy::limits::{Admitted, Counter, Moment, Refused, Reload, Shard, Subject, decide};
use tiergate_policy::rules::{CALLERS_MAX_DEFAULT, Kind, Limit, LimitId, LimitSet, Rules};
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use super::limits_model::Model;
use super::rules;

/// Accounts that ask; the last one is none.
pub const ACCOUNTS: u8 = 3;
/// Networks from which they ask, with two prefixes.
pub const NETWORKS: u8 = 3;

/// Of admitted requests that lie so close together, every pair is looked at.
const PAIRS_MAX: usize = 40;
/// Sweeps that look at every place of tables this small.
const SWEEPS: u8 = 4;
const OPENED: UnixTime = UnixTime::from_millis(1_780_000_000_123);

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A request that matches some of the limits, by their bits.
    Request { account: u8, network: u8, matching: u8 },
    /// So many nanoseconds pass.
    Pass(u64),
    /// So many millionths of the window of that limit pass, and some nanoseconds more or less.
    PassOf(u8, u32, i8),
    /// The caller refused last retries when it was told to, so many nanoseconds earlier or later.
    Return(i8),
    /// The wall clock is set by so many milliseconds.
    Set(i32),
    /// The tables are swept.
    Sweep,
    /// Other limits are loaded: those of that number.
    Reload(u8),
}

/// What was asked last, and what the answer was.
#[derive(Debug)]
struct Asked {
    at: Moment,
    account: u8,
    network: u8,
    matching: u8,
    is_refused: bool,
    /// When it was told to come back; `None`: it was admitted, or blocked.
    refused_until: Option<Timestamp>,
    /// Whether a number above nothing was left of every counter, with none degraded; `None`: it was refused, or can't be told.
    had_more: Option<bool>,
}

/// When one subject was admitted by one limit, and the largest number by which it was.
#[derive(Clone, Debug, Default)]
struct Stretch {
    number: u32,
    times: Vec<Timestamp>,
}

/// Stretches that begin with each reload, by the limit's name and the subject. Those before go on if only numbers have changed.
type Stretches = HashMap<(Arc<str>, u64), (Limit, Vec<Stretch>)>;

/// Both.
#[derive(Debug)]
pub struct SideBySide {
    /// Limits that may be loaded. Their names tell them apart within one set.
    generations: Vec<Vec<Limit>>,
    rules: Rules,
    shards: Vec<Shard>,
    /// The same, but never swept, and where no refusal leaves a trace without any refused request.
    twin: Option<Vec<Shard>>,
    traceless: bool,
    model: Model,
    now: Timestamp,
    wall_ms: i64,
    asked: Option<Asked>,
    admitted: Stretches,
    /// Those of limits that have changed since.
    ended: Vec<(Limit, Stretch)>,
    refusals: u64,
    returns: u64,
}

impl SideBySide {
    /// The first of these limits hold at first.
    pub fn new(generations: Vec<Vec<Limit>>) -> Self {
        let rules = rules(generations[0].clone(), CALLERS_MAX_DEFAULT);
        let leaves_trace = |limit: &Limit| limit.penalty.is_some() || limit.block_after.is_some();
        Self {
            shards: Shard::all(&rules),
            twin: Some(Shard::all(&rules)),
            traceless: !rules.limits.iter().any(leaves_trace),
            model: Model::new(rules.limits.clone()),
            generations,
            rules,
            now: Timestamp::ZERO,
            wall_ms: OPENED.as_millis() as i64,
            asked: None,
            admitted: HashMap::new(),
            ended: Vec::new(),
            refusals: 0,
            returns: 0,
        }
    }

    /// Requests that were refused so far, and how many came back exactly when they were told.
    pub fn seen(&self) -> (u64, u64) {
        (self.refusals, self.returns)
    }

    pub fn step(&mut self, step: &Step) {
        match *step {
            Step::Request {
                account,
                network,
                matching,
            } => self.ask(account % ACCOUNTS, network % NETWORKS, matching),
            Step::Pass(nanos) => self.pass(nanos as i128),
            Step::PassOf(limit, millionths, more) => {
                let window = self.rules.limits[usize::from(limit) % self.rules.limits.len()].window;
                let part = i128::from(window.as_nanos()) * i128::from(millionths) / 1_000_000;
                self.pass(part + i128::from(more));
            }
            Step::Return(more) => self.come_back(more),
            Step::Set(by_ms) => {
                self.wall_ms = (self.wall_ms + i64::from(by_ms)).max(0);
                // Who looks after a step decides which window has ended, so those that differ in that are different now.
                if self.rules.limits.iter().any(|limit| limit.kind == Kind::Aligned) {
                    self.twin = None;
                }
                self.asked = None;
            }
            Step::Sweep => {
                let at = self.moment();
                // One looks at so many places, and a place that it frees counts twice.
                for shard in &mut self.shards {
                    (0..SWEEPS).for_each(|_| shard.sweep(&self.rules.limits, at));
                }
                self.model.sweep(at);
            }
            Step::Reload(number) => self.reload(number),
        }
    }

    fn reload(&mut self, number: u8) {
        let limits = self.generations[usize::from(number) % self.generations.len()].clone();
        let (at, new) = (self.moment(), rules(limits, CALLERS_MAX_DEFAULT));
        let reload = Reload::new(&self.rules, &new);
        self.shards.iter_mut().for_each(|shard| reload.apply(shard, at));
        self.model.reload(new.limits.clone(), at);
        for (key, (limit, stretches)) in std::mem::take(&mut self.admitted) {
            let is_alike = |new: &&Limit| {
                let counts = |limit: &Limit| (limit.kind, limit.window, limit.penalty);
                new.name == limit.name && counts(new) == counts(&limit)
            };
            if let Some(new) = new.limits.iter().find(is_alike) {
                let before = stretches.into_iter().chain([Stretch::default()]);
                self.admitted.insert(key, (new.clone(), before.collect()));
            } else {
                self.ended
                    .extend(stretches.into_iter().map(|stretch| (limit.clone(), stretch)));
            }
        }
        // What was refused leaves traces in what is carried over.
        self.twin = None;
        self.asked = None;
        self.rules = new;
    }

    /// No subject ever got more than its limit.
    pub fn finish(&self) {
        let of_limit =
            |(limit, stretches)| Vec::into_iter(stretches).map(move |stretch| (Limit::clone(limit), stretch));
        let now = self.admitted.values().cloned().collect::<Vec<_>>();
        let now = now
            .iter()
            .flat_map(|(limit, stretches)| of_limit((limit, stretches.clone())));
        for (limit, Stretch { number, times }) in now.chain(self.ended.clone()) {
            for (first, from) in times.iter().enumerate() {
                for (more, to) in times[first..].iter().enumerate().take(PAIRS_MAX) {
                    let (count, passed) = (more as u64 + 1, to.since(*from));
                    let may = at_most(&limit, number, passed);
                    assert!(count <= may, "{limit:?}: {count} of {may} within {passed}");
                }
            }
        }
    }

    fn pass(&mut self, nanos: i128) {
        let nanos = u64::try_from(nanos.clamp(0, i128::from(u32::MAX) * 1_000_000_000)).expect("it is in range");
        let before = self.now.as_nanos();
        self.now = self.now + Span::from_nanos(nanos);
        self.wall_ms += (self.now.as_nanos() / 1_000_000 - before / 1_000_000) as i64;
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            wall: UnixTime::from_millis(self.wall_ms as u64),
        }
    }

    /// A retry at the time told is admitted, and not a nanosecond earlier.
    fn come_back(&mut self, more: i8) {
        let Some(Asked {
            at,
            account,
            network,
            matching,
            refused_until: Some(until),
            ..
        }) = self.asked
        else {
            return;
        };
        let back = i128::from(until.as_nanos()) + i128::from(more);
        if back < i128::from(self.now.as_nanos()) {
            return;
        }
        self.pass(back - i128::from(self.now.as_nanos()));
        self.ask(account, network, matching);
        let counters = self.counters(account, network, matching);
        let is_enforced = |counter: &&Counter| self.rules.limits[counter.limit.index()].enforce;
        let met = || counters.iter().filter(|counter| counter.matches).filter(is_enforced);
        // A limit of nothing tells no time, and the wall clock tells milliseconds only.
        let tells =
            |counter: &Counter| counter.enforced > 0 && self.rules.limits[counter.limit.index()].kind != Kind::Aligned;
        if met().any(|counter| counter.enforced == 0) {
            return;
        }
        let asked = self.asked.as_ref().expect("a request has just been made");
        let is_refused = asked.is_refused;
        if more >= 0 {
            assert!(
                !is_refused,
                "refused though it came when it was told at {at:?}: {asked:?}"
            );
            self.returns += 1;
        } else if met().all(tells) {
            assert!(is_refused, "admitted earlier than it was told at {at:?}: {asked:?}");
        }
    }

    fn ask(&mut self, account: u8, network: u8, matching: u8) {
        let (at, counters) = (self.moment(), self.counters(account, network, matching));
        let limits = &self.rules.limits;
        let said = decide(&counters, &mut self.shards, limits, at);
        assert_eq!(said, self.model.decide(&counters, at), "{counters:?} at {at:?}");
        if let Some(twin) = &mut self.twin
            && (said.is_ok() || !self.traceless)
        {
            assert_eq!(said, decide(&counters, twin, limits, at), "without refusals and sweeps");
        }
        let again = self.asked.take();
        if let Some(before) = again.filter(|before| {
            (before.at, before.account, before.network, before.matching) == (at, account, network, matching)
        }) && let Some(had_more) = before.had_more
        {
            assert_eq!(said.is_ok(), had_more, "it was told what was left: {before:?}");
        }
        if let Ok(Admitted { unenforced, .. }) = said {
            self.note_admitted(&counters, unenforced);
        }
        self.note(said, &counters, (account, network, matching));
    }

    fn note_admitted(&mut self, counters: &[Counter], unenforced: LimitSet) {
        let charged = |counter: &&Counter| counter.matches && !unenforced.has(counter.limit);
        for counter in counters.iter().filter(charged) {
            let limit = &self.rules.limits[counter.limit.index()];
            let new = || (limit.clone(), vec![Stretch::default()]);
            let key = (Arc::clone(&limit.name), counter.subject.id);
            for stretch in &mut self.admitted.entry(key).or_insert_with(new).1 {
                stretch.number = stretch.number.max(counter.enforced);
                stretch.times.push(self.now);
            }
        }
    }

    fn note(
        &mut self,
        said: Result<Admitted, Refused>,
        counters: &[Counter],
        (account, network, matching): (u8, u8, u8),
    ) {
        let degraded = counters.iter().any(|counter| counter.enforced != counter.number);
        let had_more = said.as_ref().ok().filter(|_| !degraded);
        let refused_until = match &said {
            Err(Refused::Limited {
                retry_after, blocked, ..
            }) if blocked.is_empty() => Some(self.now + *retry_after),
            _ => None,
        };
        self.refusals += u64::from(said.is_err());
        self.asked = Some(Asked {
            at: self.moment(),
            account,
            network,
            matching,
            is_refused: said.is_err(),
            refused_until,
            had_more: had_more.map(|admitted| admitted.left.iter().all(|left| left.remaining > 0)),
        });
    }

    /// As `http::limits` makes them.
    fn counters(&self, account: u8, network: u8, matching: u8) -> Vec<Counter> {
        let mut counters = Vec::new();
        for (id, limit) in (0..).map(LimitId).zip(&self.rules.limits) {
            let mut count = |subject| {
                counters.push(Counter {
                    limit: id,
                    subject,
                    number: limit.number,
                    enforced: limit
                        .degraded
                        .map_or(limit.number, |degraded| degraded.min(limit.number)),
                    matches: matching >> id.0 & 1 == 1,
                });
            };
            let has_account = account + 1 < ACCOUNTS;
            if limit.per.account && has_account {
                count(of_account(account));
            }
            if limit.per.network || (limit.per.account && !has_account) {
                count(of_network(network.into(), (network / 2).into()));
            }
            if limit.per.global {
                count(of_account(u8::MAX));
            }
        }
        counters
    }
}

/// Requests that may be admitted so far apart from first to last: promised by the kind of limit alone, whatever penalties there are.
pub fn at_most(limit: &Limit, number: u32, passed: Span) -> u64 {
    let (number, windows) = (u64::from(number), passed.as_nanos() / limit.window.as_nanos());
    match limit.kind {
        // As many windows as begin in it, and one that began before.
        Kind::Fixed => number * (windows + 2),
        Kind::Sliding => number * (windows + 1),
        Kind::Burst => number + passed.as_nanos() / limit.window.as_nanos().div_ceil(number.max(1)),
        // A clock that is set begins another one at any time.
        Kind::Aligned => u64::MAX,
    }
}

pub fn of_account(account: u8) -> Subject {
    let id = (u64::from(account) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Subject {
        id,
        wider: id,
        region: 0,
        is_network: false,
    }
}

/// The number of a network and of its wider prefix, well spread as a keyed hash is. Each prefix has a region of its own.
pub fn of_network(network: u64, wider: u64) -> Subject {
    Subject {
        region: spread(wider ^ 0xFF_0000_0000_0000) as u32,
        id: spread(network),
        wider: spread(wider ^ 0xFFFF_0000_0000),
        is_network: true,
    }
}

/// splitmix64: different numbers stay different.
fn spread(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

pub fn rules(limits: Vec<Limit>, callers_max: u32) -> Rules {
    rules::rules().limits(limits).callers_max(callers_max).build()
}
