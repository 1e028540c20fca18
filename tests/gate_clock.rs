//! The gate while the system's wall clock is set forward and back (rules §5.11): every debit counts once, by the date that the
//! correction gives it, and jobs in flight are recorded with that date.
//!
//! Windows are filled from the test's own list of debits. The seed is printed: `TIERGATE_SEED=7` runs that one alone.

#[path = "../crates/policy/tests/support/request.rs"]
mod request;
#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use tiergate::clock::{Clock, ClockControl};
use tiergate::gate::{
    Backfill, Committing, Entered, Gate, Generation, Permit, QueuedJob, Relocated, Tick, UploadingJob,
};
use tiergate::policy::caller::{AccountId, Caller, UserId};
use tiergate::policy::rules::{Rules, TierId, Window, WindowId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::policy::{ClockStep, End, Outcome, Policy, Table};
use tiergate::store::memory::MemoryLedger;
use tiergate::store::{DebitHistory, Debited, Fence, LedgerEntry};
use tokio::runtime::Runtime;

use request::{AdmissionRequest, RequestExt, request};
use rules::{calendar, rolling};

/// 2026-11-01T00:00:00Z.
const START: UnixTime = UnixTime::from_secs(1_793_491_200);
const YEAR: Span = Span::from_secs(365 * 86_400);
const SEEDS: u64 = 60;
const STEPS: u32 = 300;
const LOW: TierId = TierId(0);
const HIGH: TierId = TierId(1);

fn account(number: u32) -> Caller {
    Caller::Account(AccountId(number))
}

fn callers() -> [Caller; 4] {
    let user = Caller::User {
        of: AccountId(9),
        user: UserId(1),
    };
    [account(1), account(2), account(9), user]
}

fn windows() -> Vec<Window> {
    let month = |number: u64| START + Span::from_secs(number * 30 * 86_400);
    vec![
        rolling(600),
        rolling(86_400),
        calendar("month UTC", (0..400).map(month)),
    ]
}

fn rules(queue: u32, slots: &[u32]) -> Arc<Rules> {
    let rules = rules::rules()
        .queue(queue)
        .windows(windows())
        .tier("low", |tier| tier.concurrency(1_000))
        .tier("high", |tier| tier.priority(6).concurrency(1_000))
        .upstream("search", slots);
    Arc::new(rules.build())
}

fn ask(caller: Caller, tier: TierId, cost: u32) -> AdmissionRequest {
    request(caller, tier).cost(cost)
}

#[derive(Clone, Copy, Debug)]
struct Debit {
    caller: Caller,
    at: UnixTime,
    units: u64,
}

/// What was written down before a fence, with the dates that corrections have given it.
struct Listed(Vec<Debit>);

impl DebitHistory for Listed {
    fn recall(
        self,
        windows: &Table<WindowId, Window>,
        fence: Fence,
        each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
    ) -> io::Result<()> {
        fence.wait()?;
        for Debit { caller, at, units } in self.0 {
            for caller in caller.counted() {
                for window in windows.ids() {
                    let debited = Debited {
                        window,
                        caller,
                        at,
                        units,
                    };
                    if each(debited).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// A gate with a clock to set, and a list of all debits.
struct Fixture {
    clock_control: &'static ClockControl,
    clock: Clock,
    ledger: Arc<MemoryLedger>,
    gate: Arc<Gate>,
    running: Vec<(Permit, Debit)>,
    committing: Vec<(Committing, Debit)>,
    /// Whose commit was asked for: what a fence has below it.
    committed: Vec<Debit>,
    /// To be filled, with what was committed by then.
    fillings: Vec<(Backfill, Listed)>,
    runtime: Runtime,
}

impl Fixture {
    fn new(queue: u32, slots: Vec<u32>) -> Self {
        let clock_control: &'static ClockControl = Box::leak(Box::default());
        let clock = Clock::moved_by(clock_control, START);
        let rules = rules(queue, &slots);
        let ledger = Arc::new(MemoryLedger::default());
        let policy = Policy::new(Arc::clone(&rules));
        let gate = Gate::new(policy, Generation::unobserved(rules), clock, Arc::clone(&ledger) as _);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let mut fixture = Self {
            clock_control,
            clock,
            ledger,
            gate,
            running: Vec::new(),
            committing: Vec::new(),
            committed: Vec::new(),
            fillings: Vec::new(),
            runtime: runtime.expect("a runtime"),
        };
        fixture.tick();
        fixture
    }

    /// Whether the clock was followed back.
    fn tick(&mut self) -> bool {
        let Tick { step, filling } = self.gate.tick();
        let ClockStep::Followed { to, .. } = step else {
            assert!(filling.is_none(), "{step:?}");
            return false;
        };
        let in_flight = self.running.iter_mut().map(|(_, debit)| debit);
        let committing = self.committing.iter_mut().map(|(_, debit)| debit);
        for debit in in_flight.chain(committing).chain(&mut self.committed) {
            debit.at = debit.at.min(to);
        }
        let filling = filling.expect("there are windows");
        self.fillings.push((filling, Listed(self.committed.clone())));
        true
    }

    fn fill_all(&mut self) {
        for (filling, past) in self.fillings.drain(..) {
            self.gate.fill(filling, past).expect("a list can be read");
        }
    }

    fn enter(&mut self, caller: Caller, cost: u32) {
        let at = self.clock.wall();
        let entered = self.gate.enter(&self.gate.generation(), &ask(caller, LOW, cost));
        let Ok(Ok(Entered::Running(pass))) = entered else {
            panic!("there are slots for all: {entered:?}")
        };
        let units = cost.into();
        self.running.push((pass, Debit { caller, at, units }));
    }

    fn waits(&self, tier: TierId) -> QueuedJob {
        match self.gate.enter(&self.gate.generation(), &ask(account(1), tier, 1)) {
            Ok(Ok(Entered::Queued(waiting))) => waiting,
            other => panic!("no slot is free: {other:?}"),
        }
    }

    fn uploads(&self) -> UploadingJob {
        let ask = ask(account(1), LOW, 1).uploading();
        match self.gate.enter(&self.gate.generation(), &ask) {
            Ok(Ok(Entered::Uploading(uploading))) => uploading,
            other => panic!("its body arrives later: {other:?}"),
        }
    }

    fn commit(&mut self, which: usize) {
        let (pass, debit) = self.running.swap_remove(which);
        self.committing.push((pass.succeed(200), debit));
        self.committed.push(debit);
    }

    fn finish(&mut self, which: usize) {
        let (committing, _) = self.committing.swap_remove(which);
        self.runtime.block_on(committing).expect("memory never fails");
    }

    fn used(&self, window: u16, caller: Caller) -> u64 {
        let window = std::iter::once(WindowId(window));
        self.gate.account_of(&caller, window).usages[0].used
    }

    /// What the list says that the caller has used. Nobody waits in this clock's seconds, so none pass.
    fn listed(&self, window: &Window, caller: Caller, now: UnixTime) -> u64 {
        let counts = |at: UnixTime| match window {
            Window::Rolling(length) => {
                let width = length.as_millis().div_ceil(1_440).max(1_000);
                at.as_millis() / width >= (now.as_millis().saturating_sub(length.as_millis())) / width
            }
            Window::Calendar(calendar) => at >= calendar.period(now),
        };
        let of = |debit: &&Debit| debit.caller.counted().any(|counted| counted == caller) && counts(debit.at);
        self.committed.iter().filter(of).map(|debit| debit.units).sum()
    }

    fn check(&self, what: &str) {
        for (id, window) in (0..).zip(&windows()) {
            for caller in callers() {
                // The clock goes on meanwhile, by less than a bucket.
                let before = self.listed(window, caller, self.clock.wall());
                let used = self.used(id, caller);
                let after = self.listed(window, caller, self.clock.wall());
                assert!(
                    used == before || used == after,
                    "{what}: {caller:?} has used {used} in {window:?}, and {after} by the list"
                );
            }
        }
    }

    /// The last that was written down.
    fn last(&self) -> (End, UnixTime) {
        match self.ledger.entries().pop() {
            Some(LedgerEntry::Job(record)) => (record.end, record.admitted),
            other => panic!("a job should have been written down: {other:?}"),
        }
    }
}

fn below(die: &mut u64, sides: usize) -> usize {
    *die ^= *die << 13;
    *die ^= *die >> 7;
    *die ^= *die << 17;
    (*die >> 11) as usize % sides
}

fn live(fixture: &mut Fixture, seed: u64) -> u32 {
    let mut die = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut corrections = 0;
    let steps = [30, 3_600, 90_000, 31_536_000, 2_522_880_000, 9_460_800_000].map(Span::from_secs);
    for _ in 0..STEPS {
        match below(&mut die, 16) {
            0..=4 => fixture.enter(callers()[below(&mut die, 4)], 1 + below(&mut die, 3) as u32),
            5..=7 if !fixture.running.is_empty() => fixture.commit(below(&mut die, fixture.running.len())),
            8 | 9 if !fixture.committing.is_empty() => fixture.finish(below(&mut die, fixture.committing.len())),
            10 if !fixture.running.is_empty() => {
                let (pass, _) = fixture.running.swap_remove(below(&mut die, fixture.running.len()));
                pass.settle(Outcome::Failed, 500);
            }
            11 => {
                fixture.clock_control.advance(Span::from_secs(60));
                fixture.tick();
            }
            12 => {
                fixture.clock_control.step_forward(steps[below(&mut die, 6)]);
                fixture.tick();
            }
            13 => {
                // No less than an hour before the start, nor a short one that would be waited out.
                let ahead = fixture.clock.wall().since(START);
                let back = steps[1 + below(&mut die, 5)].min(ahead);
                fixture.clock_control.step_back(back);
                corrections += u32::from(fixture.tick());
            }
            14 => fixture.fill_all(),
            _ => {
                fixture.fill_all();
                while !fixture.committing.is_empty() {
                    fixture.finish(0);
                }
                fixture.check(&format!("seed {seed}"));
            }
        }
    }
    corrections
}

#[test]
fn every_debit_counts_once_whenever_the_clock_is_set() {
    let one = std::env::var("TIERGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(1..1 + SEEDS, |seed: u64| seed..seed + 1);
    println!("seeds {seeds:?}");
    let mut corrections = 0;
    for seed in seeds {
        let mut fixture = Fixture::new(0, vec![1_000]);
        corrections += live(&mut fixture, seed);
        fixture.fill_all();
        while !fixture.committing.is_empty() {
            fixture.finish(0);
        }
        fixture.check(&format!("seed {seed}, at the end"));
        assert!(fixture.gate.recount().is_some_and(|filling| {
            fixture.fillings.push((filling, Listed(fixture.committed.clone())));
            true
        }));
        fixture.fill_all();
        fixture.check(&format!("seed {seed}, counted again"));
    }
    assert!(one.is_some() || corrections >= 300, "only {corrections} corrections");
}

/// What the ledger tells is dated in the future still. It counts as of the correction all the same.
#[test]
fn a_filling_after_a_correction_dates_back_what_it_reads() {
    let mut fixture = Fixture::new(0, vec![1_000]);
    fixture.clock_control.step_forward(YEAR);
    fixture.tick();
    fixture.enter(account(1), 2);
    fixture.commit(0);
    fixture.finish(0);
    fixture.clock_control.step_back(YEAR);
    assert!(fixture.tick());
    let (filling, _) = fixture.fillings.pop().expect("windows are new");
    // It is filled much later: as of now it would count for longer.
    fixture.clock_control.advance(Span::from_secs(590));
    let filled = fixture
        .gate
        .fill(filling, &*fixture.ledger)
        .expect("memory can be read");
    assert_eq!((filled.debits, filled.whole), (3, true));
    assert_eq!([0, 1, 2].map(|window| fixture.used(window, account(1))), [2; 3]);
    fixture.clock_control.advance(Span::from_secs(12));
    assert_eq!([0, 1, 2].map(|window| fixture.used(window, account(1))), [0, 2, 2]);
}

/// A search that was under way at the correction was recorded with a date of the future, which no correction covers: it was
/// written down after it.
#[test]
fn jobs_in_flight_are_recorded_with_the_corrected_date() {
    let mut fixture = Fixture::new(2, vec![1, 0]);
    let ahead = START + YEAR;
    fixture.clock_control.step_forward(YEAR);
    fixture.tick();
    fixture.enter(account(1), 1);
    let [broken_off, slow] = [fixture.uploads(), fixture.uploads()];
    let [low, next] = [fixture.waits(LOW), fixture.waits(LOW)];
    fixture.clock_control.step_back(YEAR);
    assert!(fixture.tick());
    let corrected = |fixture: &Fixture, end: End| {
        let (ended, at) = fixture.last();
        assert_eq!(ended, end);
        assert!(
            (START..START + Span::from_secs(60)).contains(&at),
            "{end:?} is dated {at:?}"
        );
        assert!(at < ahead);
    };

    drop(broken_off);
    corrected(&fixture, End::UploadEnded);
    drop(low);
    corrected(&fixture, End::HungUp);
    let Ok(Entered::Queued(slow)) = slow.arrived() else {
        panic!("a place is free")
    };
    assert!(slow.expire().is_err());
    corrected(&fixture, End::WaitedOut);
    let (mut pass, _) = fixture.running.pop().expect("one runs");
    pass.give_back_slot();
    let committing = pass.succeed(200);
    corrected(&fixture, End::Succeeded);
    fixture.runtime.block_on(committing).expect("memory never fails");
    let pass = fixture.runtime.block_on(next).expect("a slot is free");
    pass.settle(Outcome::Failed, 500);
    corrected(&fixture, End::Failed);
}

#[test]
fn displaced_jobs_are_recorded_with_the_corrected_date() {
    let mut fixture = Fixture::new(2, vec![1]);
    fixture.clock_control.step_forward(YEAR);
    fixture.tick();
    fixture.enter(account(1), 1);
    let [first, second] = [fixture.waits(LOW), fixture.waits(LOW)];
    fixture.clock_control.step_back(YEAR);
    assert!(fixture.tick());
    let high = fixture.waits(HIGH);
    let refused = fixture.runtime.block_on(second);
    assert!(refused.is_err(), "it is displaced");
    let displaced = fixture.last();
    assert!(first.expire().is_err());
    let waited_out = fixture.last();
    fixture.gate.shut_down();
    assert!(fixture.runtime.block_on(high).is_err());
    let shut_down = fixture.last();
    let (pass, _) = fixture.running.pop().expect("one runs");
    let Relocated::Nowhere(pass) = pass.relocate() else {
        panic!("there is one server only")
    };
    drop(pass);
    let ends = [displaced, waited_out, shut_down, fixture.last()];
    let expected = [End::Displaced, End::WaitedOut, End::ShutDown, End::Cancelled];
    assert_eq!(ends.map(|(end, _)| end), expected);
    assert!(ends.iter().all(|(_, at)| *at < START + Span::from_secs(60)), "{ends:?}");
}
