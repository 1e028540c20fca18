//! The policy and the model through one history, side by side: every decision must be the same, and what is always true
//! (rules §9) must be true after every step.
//!
//! Absent on purpose: where histories come from. `histories` draws them at random, the fuzzer makes them from bytes.

use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate_policy::ids::Ids;
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Priority, Rules, ServerId, TierId, UpstreamId, WindowId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{
    Admission, ClockStep, DebitNumber, Delegate, Displaced, Grant, JobId, Outcome, Own, Policy, Relocation, State,
    Usage,
};

use super::model::{Entered, Handed, Model, No, Number, own_limit};
use super::request::{AdmissionRequest, RequestExt, request};
use super::rules::rules;

/// Something that happens. Numbers are taken modulo what there is, so every step means something in every history.
#[derive(Clone, Debug)]
pub enum Step {
    Enter {
        caller: u8,
        tier: u8,
        pool: u8,
        cost: u8,
        /// What it has of its own.
        own: Option<u8>,
        /// If it is a user: the tier of its account, how many users that may have, and what it has of its own.
        of: (u8, u8, Option<u8>),
        ready: bool,
        max_wait_s: Option<u8>,
        prefer_wait_s: Option<u8>,
    },
    /// A debit of the past (or, by a clock that was wrong, of the future).
    Remember {
        window: u8,
        caller: u8,
        before_ms: i64,
        units: u64,
    },
    Clock(Reading),
    /// All debits are read back.
    Recount,
    /// Time passes until something comes back, or until so many milliseconds before or after.
    PassToEdge(u8, i8),
    Sweep,
    /// All parts of all tables.
    SweepAll,
    AskSlot(Pick),
    GiveBackSlot(Pick),
    End(Pick, Outcome),
    HangUp(Pick),
    Expire(Pick),
    Decline(Pick),
    Relocate(Pick),
    Forgo(Pick),
    ServerDown(u8, u8),
    ServerUp(u8, u8),
    Reload(Rules),
    Pass(Span),
    ShutDown,
}

/// What the system's wall clock reads.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// So many milliseconds later than it should, or earlier.
    Off(i64),
    /// As when something comes back, or so many milliseconds before or after.
    Edge(u8, i8),
    /// So many milliseconds after [`OPENED`].
    At(u64),
}

/// A day in May of 2026, on which most histories begin.
pub const OPENED: UnixTime = UnixTime::from_secs(1_780_000_000);

/// No history goes beyond it (in 2413): monotonic time ends with the 584 years of a [`Span`].
const LATEST: UnixTime = UnixTime::from_secs(14_000_000_000);

/// How long quotas may stand still where the clock has stepped back.
const STEP_MAX: Span = Span::from_secs(300);

/// Which job: mostly one in the house, sometimes any that ever was, sometimes one that never was.
#[derive(Clone, Copy, Debug)]
pub struct Pick(pub u8);

/// Callers that take part: a network, four accounts, and users of two of these.
const CALLERS: u8 = 8;

/// Parts of the policy's tables: so many sweeps look at all.
const SWEEPS: u16 = 256;

/// What is asked of the policy: a step with its job and its numbers looked up.
#[derive(Clone, Debug)]
pub enum Call {
    Enter(AdmissionRequest),
    AskSlot(JobId),
    GiveBackSlot(JobId),
    End(JobId, Outcome),
    HangUp(JobId),
    Expire(JobId),
    Decline(JobId),
    Relocate(JobId),
    Forgo(JobId),
    ServerDown(UpstreamId, ServerId),
    ServerUp(UpstreamId, ServerId),
    Reload(Arc<Rules>),
    ShutDown,
    Usage(WindowId, Caller),
    Remember {
        window: WindowId,
        caller: Caller,
        admitted: UnixTime,
        units: u64,
    },
    FollowClock(UnixTime),
    Recount,
    /// All windows that are new count from this debit on; those before are read back.
    Fill(DebitNumber, Vec<(WindowId, Caller, UnixTime, u64)>),
    Sweep(u16),
}

/// What the policy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Entered(Result<Admission, Refusal>),
    Granted(Option<Grant>),
    HungUp(bool),
    Expired(Option<Refusal>),
    Relocated(Relocation),
    Gone,
    GrantedAll(Vec<Grant>),
    TurnedAway(Vec<Displaced>),
    Usage(Usage),
    Stepped(ClockStep),
}

/// Puts one call to a policy.
pub fn decide(policy: &mut Policy, call: &Call, now: Timestamp) -> Decision {
    match call {
        Call::Enter(ask) => Decision::Entered(policy.enter(ask, now)),
        Call::AskSlot(job) => Decision::Granted(policy.ask_slot(*job, now)),
        Call::GiveBackSlot(job) => Decision::Granted(policy.give_back_slot(*job, now)),
        Call::End(job, outcome) => Decision::Granted(policy.end(*job, *outcome, now)),
        Call::HangUp(job) => Decision::HungUp(policy.hang_up(*job)),
        Call::Expire(job) => Decision::Expired(policy.expire(*job, now)),
        Call::Decline(job) => Decision::Granted(policy.decline(*job, now)),
        Call::Forgo(job) => Decision::Granted(policy.forgo(*job, now)),
        Call::Relocate(job) => Decision::Relocated(policy.relocate(*job, now)),
        Call::ServerDown(pool, server) => {
            policy.server_down(*pool, *server);
            Decision::Gone
        }
        Call::ServerUp(pool, server) => Decision::GrantedAll(policy.server_up(*pool, *server, now)),
        Call::Reload(rules) => {
            let listed = |account| listed(rules, account);
            Decision::GrantedAll(policy.reload(Arc::clone(rules), listed, now))
        }
        Call::ShutDown => Decision::TurnedAway(policy.shut_down()),
        Call::Usage(window, caller) => Decision::Usage(policy.usage(*window, caller, now)),
        Call::Remember {
            window,
            caller,
            admitted,
            units,
        } => {
            policy.remember(*window, *caller, *admitted, *units, now);
            Decision::Gone
        }
        Call::FollowClock(reading) => Decision::Stepped(policy.follow_clock(*reading, now, STEP_MAX)),
        Call::Recount => {
            policy.recount(now);
            Decision::Gone
        }
        Call::Fill(first, debits) => {
            policy.count_from(*first);
            for (window, caller, admitted, units) in debits {
                policy.remember(*window, *caller, *admitted, *units, now);
            }
            Decision::Gone
        }
        Call::Sweep(times) => {
            for _ in 0..*times {
                policy.sweep(now);
            }
            Decision::Gone
        }
    }
}

pub struct SideBySide {
    policy: Policy,
    model: Model,
    ids: Ids,
    first_rules: Rules,
    now: Timestamp,
    /// The policy's names of the jobs that the model knows by number.
    names: Vec<JobId>,
    /// A name that no job in this history ever has.
    stranger: JobId,
    /// All that happened, to be replayed.
    history: Vec<(Call, Timestamp, Decision)>,
    /// Refusals for want of quota.
    depleted: u64,
    /// How often all debits were read back.
    fills: u64,
    /// Whether all windows have just begun anew.
    has_emptied: bool,
}

impl SideBySide {
    pub fn new(rules: Rules) -> Self {
        let mut ids = Ids::default();
        let rules = ids.assign(&rules).expect("few names");
        Self {
            ids,
            policy: Policy::new(Arc::new(rules.clone())),
            model: Model::new(rules.clone()),
            first_rules: rules,
            now: Timestamp::ZERO,
            names: Vec::new(),
            stranger: stranger(),
            history: Vec::new(),
            depleted: 0,
            fills: 0,
            has_emptied: false,
        }
    }

    /// One step of both; then all that must be true is looked at.
    pub fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(span) => self.pass(span),
            Step::PassToEdge(which, by) => {
                let edge = self.edge(which, by);
                self.pass(edge.since(self.model.wall_expected(self.now)));
            }
            _ => {}
        }
        if let Some(call) = self.call(step) {
            self.put(call);
        }
        self.fill();
        self.look_at_one_usage();
    }

    /// Where all windows have begun anew, everything that was ever debited is read back, as the model has it dated.
    fn fill(&mut self) {
        if std::mem::take(&mut self.has_emptied) && self.policy.has_new_windows() {
            self.fills += 1;
            self.put(Call::Fill(DebitNumber(self.fills), self.model.debits().all()));
        }
    }

    fn pass(&mut self, span: Span) {
        let left = LATEST.since(self.model.wall_expected(self.now));
        self.now = self.now + span.min(left);
    }

    /// A caller and a window after the other. It is a call like others: it may turn a calendar's page.
    fn look_at_one_usage(&mut self) {
        let turn = self.history.len() / 2;
        let windows: Vec<WindowId> = self.model.windows().collect();
        if self.history.len().is_multiple_of(2) && !windows.is_empty() {
            let caller = who(u8::try_from(turn % usize::from(CALLERS)).unwrap());
            let call = Call::Usage(windows[turn % windows.len()], caller);
            let before = Before::default();
            self.decide_both(call, &before);
        }
    }

    /// Everybody goes home, on both sides: then nothing is left over (§9.5), and the same history gives the same
    /// decisions once more (§9.6).
    pub fn finish(mut self) {
        while let Some(job) = self.model.jobs().first() {
            let name = self.names[job.number];
            self.put(if job.has_seat() {
                Call::HangUp(name)
            } else {
                Call::End(name, Outcome::Succeeded)
            });
        }
        self.put(Call::Sweep(SWEEPS));
        for window in self.model.windows() {
            for caller in callers() {
                self.put(Call::Usage(window, caller));
                let held = self.policy.usage(window, &caller, self.now).held;
                assert_eq!(held, 0, "§9.5: {caller:?} holds something of an empty house");
            }
        }
        assert_eq!(self.policy.in_flight(), 0);
        assert_eq!(self.policy.callers(), 0);
        assert_eq!(self.policy.waiting(), &[0; Priority::COUNT]);
        assert!(self.model.pools().all(|pool| self.policy.running(pool) == 0));
        assert_eq!(self.policy.stats().arrived, self.policy.stats().ended());

        let mut again = Policy::new(Arc::new(self.first_rules));
        for (call, now, decision) in &self.history {
            assert_eq!(
                &decide(&mut again, call, *now),
                decision,
                "replayed, {call:?} is decided otherwise"
            );
        }
    }

    /// Jobs that move at this moment.
    pub fn moving(&self) -> u32 {
        self.model.pools().map(|pool| self.model.moving(pool)).sum()
    }

    /// How often all debits were read back so far.
    pub fn fills(&self) -> u64 {
        self.fills
    }

    /// Refusals for want of quota so far.
    pub fn depleted(&self) -> u64 {
        self.depleted
    }

    // ---- from a step to a call

    fn call(&mut self, step: &Step) -> Option<Call> {
        Some(match step {
            Step::Enter {
                caller,
                tier,
                pool,
                cost,
                own: its_own,
                of,
                ready,
                max_wait_s,
                prefer_wait_s,
            } => {
                let secs = |secs: Option<u8>| secs.map(|secs| Span::from_secs(secs.into()));
                let ask = request(who(*caller), self.tier(*tier))
                    .own(its_own.map(own))
                    .delegate(self.delegate(who(*caller), *of))
                    .cost(u32::from(*cost % 6))
                    .to(self.pool(*pool))
                    .ready(*ready)
                    .max_wait(secs(*max_wait_s))
                    .prefer_wait(secs(*prefer_wait_s));
                Call::Enter(ask)
            }
            Step::AskSlot(pick) => Call::AskSlot(self.pick(*pick)),
            Step::GiveBackSlot(pick) => Call::GiveBackSlot(self.pick(*pick)),
            Step::End(pick, outcome) => Call::End(self.pick(*pick), *outcome),
            Step::HangUp(pick) => Call::HangUp(self.pick(*pick)),
            Step::Expire(pick) => Call::Expire(self.pick(*pick)),
            Step::Decline(pick) => Call::Decline(self.pick(*pick)),
            Step::Forgo(pick) => Call::Forgo(self.pick(*pick)),
            Step::Relocate(pick) => Call::Relocate(self.pick(*pick)),
            Step::ServerDown(pool, server) => Call::ServerDown(self.pool(*pool), self.server(*pool, *server)),
            Step::ServerUp(pool, server) => Call::ServerUp(self.pool(*pool), self.server(*pool, *server)),
            Step::Reload(rules) => Call::Reload(Arc::new(self.ids.assign(rules).expect("few names"))),
            Step::ShutDown => Call::ShutDown,
            Step::Remember {
                window,
                caller,
                before_ms,
                units,
            } => Call::Remember {
                window: self.model.windows().cycle().nth(usize::from(*window))?,
                caller: who(*caller),
                admitted: self.off(-before_ms),
                units: *units,
            },
            Step::Clock(reading) => Call::FollowClock(match *reading {
                Reading::Off(by) => self.off(by),
                Reading::Edge(which, by) => self.edge(which, by),
                Reading::At(after) => LATEST.min(OPENED + Span::from_millis(after)),
            }),
            Step::Recount => Call::Recount,
            Step::Sweep => Call::Sweep(1),
            Step::SweepAll => Call::Sweep(SWEEPS),
            Step::Pass(_) | Step::PassToEdge(..) => return None,
        })
    }

    fn tier(&self, tier: u8) -> TierId {
        nth_tier(self.model.rules(), tier.into())
    }

    fn delegate(&self, caller: Caller, (tier, users, its_own): (u8, u8, Option<u8>)) -> Option<Box<Delegate>> {
        let Caller::User { of, .. } = caller else { return None };
        Some(Box::new(Delegate {
            account: of,
            tier: self.tier(tier),
            own: its_own.map(own),
            users_max: u32::from(users % 4),
        }))
    }

    /// That long after what the wall clock should read.
    fn off(&self, by_ms: i64) -> UnixTime {
        let expected = self.model.wall_expected(self.now).as_millis();
        LATEST.min(UnixTime::from_millis(expected.saturating_add_signed(by_ms)))
    }

    /// A moment at which something comes back, or so many milliseconds from it; now, if there is none.
    fn edge(&self, which: u8, by_ms: i8) -> UnixTime {
        let now = self.model.wall_expected(self.now);
        let edges = self.model.debits().edges(now);
        let edge = edges.get(usize::from(which) % edges.len().max(1));
        let at = edge.map_or(now, |edge| {
            UnixTime::from_millis(edge.as_millis().saturating_add_signed(by_ms.into()))
        });
        LATEST.min(at)
    }

    fn pick(&self, Pick(pick): Pick) -> JobId {
        let at = usize::from(pick / 16);
        let jobs = self.model.jobs();
        match pick % 16 {
            0 => self.stranger,
            1 | 2 if !self.names.is_empty() => self.names[self.names.len() - 1 - at % self.names.len()],
            _ if !jobs.is_empty() => self.names[jobs[at % jobs.len()].number],
            _ => self.stranger,
        }
    }

    fn pool(&self, pool: u8) -> UpstreamId {
        self.model.pools().cycle().nth(pool.into()).unwrap()
    }

    fn server(&self, pool: u8, server: u8) -> ServerId {
        self.model.servers(self.pool(pool)).cycle().nth(server.into()).unwrap()
    }

    fn number(&self, job: JobId) -> Option<Number> {
        self.names.iter().rposition(|name| *name == job)
    }

    // ---- one call to both

    fn put(&mut self, call: Call) {
        let before = Before::of(self);
        self.decide_both(call, &before);
        self.check(&before);
    }

    fn decide_both(&mut self, call: Call, before: &Before) {
        let decision = decide(&mut self.policy, &call, self.now);
        self.compare(&call, &decision, before);
        self.history.push((call, self.now, decision));
    }

    fn compare(&mut self, call: &Call, decision: &Decision, before: &Before) {
        let now = self.now;
        match (call, decision) {
            (Call::Enter(ask), Decision::Entered(decision)) => {
                let expected = self.estimate_for(ask);
                let overdrawn = self.model.overdrawn(ask, now);
                let entered = self.model.enter(ask, now);
                self.same_entry(ask, decision, &entered);
                if let Ok(Admission::Running { overdrawn: said, .. } | Admission::Seated { overdrawn: said, .. }) =
                    decision
                {
                    assert_eq!(said.as_slice(), overdrawn, "{ask:?}");
                }
                self.fair_refusal(ask, decision, expected, before);
            }
            (Call::AskSlot(job), Decision::Granted(grant)) => {
                let handed = self.number(*job).and_then(|number| self.model.ask_slot(number, now));
                self.same_grant(*grant, handed);
            }
            (Call::GiveBackSlot(job), Decision::Granted(grant)) => {
                let handed = self
                    .number(*job)
                    .and_then(|number| self.model.give_back_slot(number, now));
                self.same_grant(*grant, handed);
            }
            (Call::End(job, outcome), Decision::Granted(grant)) => {
                let handed = self
                    .number(*job)
                    .and_then(|number| self.model.end(number, *outcome, now));
                self.same_grant(*grant, handed);
            }
            (Call::HangUp(job), Decision::HungUp(seated)) => {
                let expected = self.number(*job).is_some_and(|number| self.model.hang_up(number));
                assert_eq!(*seated, expected, "{call:?}");
            }
            (Call::Expire(job), Decision::Expired(refusal)) => self.same_expiry(*job, refusal.as_ref()),
            (Call::Decline(job), Decision::Granted(grant)) => {
                let handed = self.number(*job).and_then(|number| self.model.decline(number, now));
                self.same_grant(*grant, handed);
            }
            (Call::Forgo(job), Decision::Granted(grant)) => {
                let handed = self.number(*job).and_then(|number| self.model.forgo(number, now));
                self.same_grant(*grant, handed);
            }
            (Call::Relocate(job), Decision::Relocated(relocation)) => {
                let number = self.number(*job);
                let expected = number.map_or(Relocation::Nowhere, |number| self.model.relocate(number, now));
                assert_eq!(*relocation, expected, "{call:?}");
            }
            (Call::ServerDown(pool, server), Decision::Gone) => self.model.server_down(*pool, *server),
            (Call::ServerUp(pool, server), Decision::GrantedAll(grants)) => {
                let handed = self.model.server_up(*pool, *server, now);
                self.same_grants(grants, &handed);
            }
            (Call::Reload(rules), Decision::GrantedAll(grants)) => {
                let handed = self
                    .model
                    .reload(Rules::clone(rules), |account| listed(rules, account), now);
                self.same_grants(grants, &handed);
            }
            (Call::ShutDown, Decision::TurnedAway(turned)) => self.same_turned_away(turned),
            (Call::Usage(window, caller), Decision::Usage(usage)) => {
                let expected = self.model.usage(*window, *caller, now);
                assert_eq!(*usage, expected, "§5: {caller:?} in {window:?}");
            }
            (
                Call::Remember {
                    window,
                    caller,
                    admitted,
                    units,
                },
                Decision::Gone,
            ) => self.model.remember(*window, *caller, *admitted, *units, now),
            (Call::FollowClock(reading), Decision::Stepped(step)) => {
                assert_eq!(*step, self.model.follow_clock(*reading, now, STEP_MAX));
                if let ClockStep::Followed { .. } = step {
                    self.model.wall_clock(now);
                    self.begun_anew();
                }
            }
            (Call::Recount, Decision::Gone) => {
                self.model.wall_clock(now);
                self.begun_anew();
            }
            (Call::Fill(..), Decision::Gone) => self.model.refilled(),
            (Call::Sweep(times), Decision::Gone) => {
                self.model.wall_clock(now);
                if *times == SWEEPS {
                    self.same_debtors();
                }
            }
            (call, decision) => unreachable!("{call:?} is never answered by {decision:?}"),
        }
    }

    fn begun_anew(&mut self) {
        let has_windows = self.model.windows().next().is_some();
        assert_eq!(self.policy.has_new_windows(), has_windows);
        self.has_emptied = true;
    }

    fn same_entry(&mut self, ask: &AdmissionRequest, decision: &Result<Admission, Refusal>, expected: &Entered) {
        match (decision, expected) {
            (Ok(Admission::Running { grant, .. }), Entered::Running(handed)) => {
                self.name(grant.job);
                self.same_grant(Some(*grant), Some(*handed));
            }
            (
                Ok(Admission::Seated {
                    job,
                    admitted,
                    until,
                    displaced,
                    ..
                }),
                Entered::Seated {
                    number,
                    until: expected_until,
                    displaced: expected_displaced,
                },
            ) => {
                assert_eq!(until, expected_until, "{ask:?}");
                let who = displaced.as_ref().map(|displaced| self.number(displaced.job).unwrap());
                assert_eq!(who, *expected_displaced, "{ask:?} displaces another than it should");
                if let Some(displaced) = displaced {
                    let by = self.model.rules().tier(ask.tier).priority;
                    assert!(matches!(displaced.refusal, Refusal::Displaced { by: told, .. } if told == by));
                    in_range(&displaced.refusal);
                }
                self.name(*job);
                assert_eq!(self.names.len(), number + 1);
                assert_eq!(*admitted, self.model.wall_clock(self.now));
            }
            (Err(refusal), Entered::No(no)) => assert_eq!(&no_of(refusal), no, "{ask:?}"),
            _ => panic!("{ask:?}: the policy says {decision:?}, the model {expected:?}"),
        }
    }

    /// The job that was let in last is called so from now on.
    fn name(&mut self, job: JobId) {
        assert_eq!(self.number(job), None, "{job:?} names another job already");
        self.names.push(job);
    }

    /// What must be true of a refusal or an admission whatever the model thinks: §3.3, §3.10, §9.2, §9.3, §9.4.
    fn fair_refusal(
        &mut self,
        ask: &AdmissionRequest,
        decision: &Result<Admission, Refusal>,
        estimate: Span,
        before: &Before,
    ) {
        let tier = self.model.rules().tier(ask.tier);
        match decision {
            Ok(_) => {
                for (caller, tier, own) in self.model.parties(ask) {
                    let limit = own.as_ref().and_then(|own| own.concurrency);
                    let jobs = self.policy.jobs_of(&caller);
                    assert!(jobs <= limit.unwrap_or(tier.concurrency), "§9.2: {ask:?}");
                    for quota in tier.quotas.iter().filter(|quota| quota.enforce) {
                        let usage = self.policy.usage(quota.window, &caller, self.now);
                        let limit = own_limit(own.as_deref(), quota);
                        assert!(usage.used + usage.held <= limit, "§9.4: {ask:?}: {usage:?}");
                    }
                }
            }
            Err(refusal) => {
                if let Refusal::QueueFull { .. } = refusal {
                    let lower = before.lowest.is_some_and(|lowest| lowest < tier.priority);
                    let spent = self.model.displaced_within_a_minute(ask.caller, self.now);
                    assert!(
                        !lower || spent >= tier.displacements_per_minute,
                        "§9.3: {ask:?}, while a lower priority waits"
                    );
                }
                if matches!(refusal, Refusal::QueueFull { .. } | Refusal::WaitTooLong { .. }) {
                    assert!(!self.is_idle(ask.pool), "§6: {ask:?} is refused while a slot is idle");
                }
                self.depleted += u64::from(matches!(refusal, Refusal::QuotaDepleted { .. }));
                let of_the_hall = !matches!(
                    refusal,
                    Refusal::ConcurrencyExceeded { .. } | Refusal::QuotaDepleted { .. } | Refusal::TooManyUsers { .. }
                );
                if of_the_hall {
                    from_estimate(refusal, estimate);
                }
            }
        }
    }

    fn same_expiry(&mut self, job: JobId, refusal: Option<&Refusal>) {
        let known = self.number(job);
        let held = known.and_then(|number| self.model.jobs().iter().find(|job| job.number == number).cloned());
        let expected = known.and_then(|number| self.model.expire(number));
        match (expected, refusal) {
            (None, None) => {}
            (Some(State::Uploading), Some(Refusal::RequestTimeout(_))) => {}
            (Some(State::Waiting), Some(Refusal::WaitedTooLong { waited, .. })) => {
                let held = held.unwrap();
                assert_eq!(*waited, self.now.since(held.entered));
                from_estimate(refusal.unwrap(), self.model.estimate(held.pool, held.priority));
            }
            _ => panic!("expired from {expected:?}, but was told {refusal:?}"),
        }
    }

    fn same_turned_away(&mut self, turned: &[Displaced]) {
        let mut numbers: Vec<Number> = turned
            .iter()
            .map(|displaced| self.number(displaced.job).unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, self.model.shut_down());
        for displaced in turned {
            assert!(matches!(displaced.refusal, Refusal::ShuttingDown { .. }));
            in_range(&displaced.refusal);
        }
    }

    fn same_grants(&self, grants: &[Grant], handed: &[Handed]) {
        assert_eq!(grants.len(), handed.len(), "{grants:?} but should be {handed:?}");
        for (grant, handed) in grants.iter().zip(handed) {
            self.same_grant(Some(*grant), Some(*handed));
        }
    }

    /// After all parts were swept, nobody is known who has no debit.
    fn same_debtors(&mut self) {
        let wall = self.model.wall_clock(self.now);
        let callers: Vec<Caller> = callers().collect();
        for caller in &callers {
            let expected = self.model.debits().has_debit(*caller, wall);
            assert_eq!(self.policy.has_debit(caller), expected, "{caller:?}");
        }
        assert_eq!(self.policy.debtors(), self.model.debits().debtors(&callers, wall));
    }

    fn same_grant(&self, grant: Option<Grant>, handed: Option<Handed>) {
        let named = grant.map(|grant| Handed {
            number: self.number(grant.job).expect("a slot goes to a job that was let in"),
            server: grant.server,
            admitted: grant.admitted,
            waited: grant.waited,
            priority: grant.priority,
        });
        assert_eq!(named, handed, "the slot goes to another than it should");
    }

    fn estimate_for(&self, ask: &AdmissionRequest) -> Span {
        self.model
            .estimate(ask.pool, self.model.rules().tier(ask.tier).priority)
    }

    // ---- what is always true

    fn check(&self, before: &Before) {
        self.check_counts();
        self.check_jobs();
        self.check_bounds(before);
        self.check_nothing_idle();
    }

    /// §9.1, and every count that the policy shows, recounted.
    fn check_counts(&self) {
        let stats = self.policy.stats();
        let in_house = self.policy.in_flight();
        assert_eq!(
            stats.arrived,
            stats.ended() + u64::try_from(in_house).unwrap(),
            "§9.1: {stats:?}"
        );
        assert_eq!(stats, self.model.stats());
        let jobs = self.model.jobs();
        assert_eq!(in_house, jobs.len());
        assert_eq!(self.policy.callers(), self.model.callers().len());
        for caller in callers() {
            assert_eq!(self.policy.jobs_of(&caller), self.model.jobs_of(caller), "{caller:?}");
            let seated = |job: &tiergate_policy::Job| matches!(job.state, State::Uploading | State::Waiting);
            let own = |job: &tiergate_policy::Job| job.caller.counted().any(|one| one == caller);
            let waiting = self.policy.jobs().filter(|(_, job)| seated(job) && own(job)).count();
            assert_eq!(self.policy.waiting_of(&caller) as usize, waiting, "{caller:?}");
        }
        for priority in Priority::all() {
            let seated = jobs.iter().filter(|job| job.has_seat() && job.priority == priority);
            let seen = self.policy.waiting()[priority.index()];
            assert_eq!(
                usize::try_from(seen).unwrap(),
                seated.count(),
                "waiting with {priority:?}"
            );
        }
        for pool in self.model.pools() {
            let running: u32 = self
                .model
                .servers(pool)
                .map(|server| self.model.running_on(pool, server))
                .sum();
            assert_eq!(self.policy.running(pool), running, "{pool:?}");
            assert_eq!(self.policy.slots(pool), self.model.slots(pool), "{pool:?}");
            let turn = u8::try_from(self.history.len() % Priority::COUNT).unwrap();
            let priority = Priority::new(turn).unwrap();
            assert_eq!(
                self.policy.estimate(pool, priority),
                self.model.estimate(pool, priority)
            );
        }
    }

    /// The policy has the same jobs in the same states.
    fn check_jobs(&self) {
        assert_eq!(self.policy.jobs().count(), self.model.jobs().len());
        for expected in self.model.jobs() {
            let job = self
                .policy
                .job(self.names[expected.number])
                .expect("it is in the house");
            assert_eq!(
                (job.caller, job.tier, job.priority, job.pool, job.state),
                (
                    expected.caller,
                    expected.tier,
                    expected.priority,
                    expected.pool,
                    expected.state
                )
            );
            assert_eq!(
                (job.entered, job.admitted, job.cost),
                (expected.entered, expected.admitted, expected.cost)
            );
        }
    }

    /// §9.2: as many as there are seats and slots, or, after these became fewer, no more than there were. Who moves had a
    /// slot, and nobody gets a first one before it: so those who move are never more than the slots there were.
    fn check_bounds(&self, before: &Before) {
        let seated = self.policy.waiting().iter().sum::<u32>();
        assert!(
            seated <= self.policy.rules().queue.length || seated <= before.seated,
            "§9.2: {seated} wait"
        );
        for pool in self.model.pools() {
            let had_a_slot = self.policy.running(pool) + self.model.moving(pool);
            let before_it = before
                .had_a_slot
                .iter()
                .find(|(of, _)| *of == pool)
                .map_or(0, |had| had.1);
            assert!(
                self.model.moving(pool) == 0 || had_a_slot <= before_it,
                "§2.7: somebody gets a slot while others move"
            );
            for server in self.model.servers(pool) {
                let running = self.model.running_on(pool, server);
                let was = before
                    .running
                    .iter()
                    .find(|(at, on, _)| (*at, *on) == (pool, server))
                    .map_or(0, |was| was.2);
                assert!(
                    running <= self.model.slots_of(pool, server) || running <= was,
                    "§9.2: {running} run on {server:?}"
                );
            }
        }
    }

    /// §3.7: nobody stands in line for a pool that has a free slot, or moves there.
    fn check_nothing_idle(&self) {
        let asks = |state| matches!(state, State::Waiting | State::Moving { .. });
        for (_, job) in self.policy.jobs().filter(|(_, job)| asks(job.state)) {
            assert!(!self.is_idle(job.pool), "§3.7: a slot is idle while {job:?} waits");
        }
    }

    fn is_idle(&self, pool: UpstreamId) -> bool {
        let free = |server| self.model.running_on(pool, server) < self.model.slots_of(pool, server);
        self.model.servers(pool).any(free)
    }
}

/// What was before a call.
#[derive(Default)]
struct Before {
    seated: u32,
    lowest: Option<Priority>,
    running: Vec<(UpstreamId, ServerId, u32)>,
    /// By pool: jobs that run or move.
    had_a_slot: Vec<(UpstreamId, u32)>,
}

impl Before {
    fn of(both: &SideBySide) -> Self {
        let model = &both.model;
        let running = model.pools().flat_map(|pool| {
            model
                .servers(pool)
                .map(move |server| (pool, server, model.running_on(pool, server)))
        });
        Self {
            seated: model.seated(),
            lowest: model.lowest_seated(),
            running: running.collect(),
            had_a_slot: model
                .pools()
                .map(|pool| (pool, both.policy.running(pool) + model.moving(pool)))
                .collect(),
        }
    }
}

fn no_of(refusal: &Refusal) -> No {
    match *refusal {
        Refusal::TooManyUsers { limit } => No::TooManyUsers { limit },
        Refusal::QuotaDepleted {
            ref name,
            limit,
            used,
            retry_after,
        } => No::QuotaDepleted {
            name: Arc::clone(name),
            limit,
            used,
            retry_after,
        },
        Refusal::ShuttingDown { .. } => No::ShuttingDown,
        Refusal::ConcurrencyExceeded { limit, used } => No::ConcurrencyExceeded { limit, used },
        Refusal::QueueFull { seats, admits_from, .. } => No::QueueFull { seats, admits_from },
        Refusal::WaitTooLong { asked, estimate, .. } => No::WaitTooLong { asked, estimate },
        ref other => panic!("{other:?} is no answer to an arrival"),
    }
}

/// §3.10: 1 to 300 s.
fn in_range(refusal: &Refusal) -> Span {
    let retry_after = refusal.retry_after().expect("a 503 says when to come back");
    assert!(
        (Span::from_secs(1)..=Span::from_secs(300)).contains(&retry_after),
        "§3.10: {retry_after}"
    );
    retry_after
}

/// §3.10: not before the estimate (or 240 s, for an endless one), and at most a quarter and a second after it.
fn from_estimate(refusal: &Refusal, estimate: Span) {
    let retry_after = in_range(refusal);
    let estimate = estimate.min(Span::from_secs(240));
    let latest = Span::from_nanos(estimate.as_nanos() / 4 * 5) + Span::from_secs(1) + Span::from_nanos(5);
    assert!(
        (estimate..=latest).contains(&retry_after),
        "§3.10: {retry_after} for an estimate of {estimate}"
    );
}

/// The file of those rules lists every other account, in some tier.
fn listed(rules: &Rules, account: AccountId) -> Option<TierId> {
    let tier = nth_tier(rules, (account.0 + rules.queue.length) as usize);
    account.0.is_multiple_of(2).then_some(tier)
}

/// Of the tiers in a circle.
fn nth_tier(rules: &Rules, nth: usize) -> TierId {
    rules
        .tiers
        .ids()
        .cycle()
        .nth(nth % rules.tiers.len())
        .expect("there is a tier")
}

fn who(number: u8) -> Caller {
    let user = |of, user| Caller::User {
        of: AccountId(of),
        user: UserId(user),
    };
    match u32::from(number % CALLERS) {
        0 => Caller::Network(NetworkId(0)),
        5 => user(1, 1),
        6 => user(1, 2),
        7 => user(2, 1),
        other => Caller::Account(AccountId(other)),
    }
}

fn callers() -> impl Iterator<Item = Caller> {
    (0..CALLERS).map(who)
}

/// Some numbers for what an account has of its own: a concurrency of 1 to 3 or its tier's, and up to two quotas.
fn own(bits: u8) -> Arc<Own> {
    let quota = |name: &str, limit: u8| (name.into(), u64::from(limit));
    let quotas = [quota("q0", bits >> 2), quota("q1", bits % 16)];
    Arc::new(Own {
        concurrency: Some(u32::from(bits % 4)).filter(|limit| *limit > 0),
        quotas: quotas[..usize::from(bits >> 6) % 3].to_vec(),
        limits: Vec::new(),
    })
}

/// The name of a job in a house so full that no history here ever reaches its place.
fn stranger() -> JobId {
    let elsewhere = rules()
        .queue(0)
        .tier("all", |tier| tier.concurrency(1_000))
        .upstream("all", &[200]);
    let mut policy = Policy::new(Arc::new(elsewhere.build()));
    let ask = request(who(0), TierId(0));
    let last = (0..200).map(|_| policy.enter(&ask, Timestamp::ZERO)).last();
    match last {
        Some(Ok(Admission::Running { grant, .. })) => grant.job,
        other => unreachable!("there are slots enough: {other:?}"),
    }
}
