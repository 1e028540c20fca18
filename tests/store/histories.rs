//! Random histories of jobs, refusals, roll-ups, removals, restarts and steps of the clock, against a list of all of them:
//! windows, calendar sums, traffic and service times always match the list.
//!
//! The seed is printed: `TIERGATE_SEED=7` runs that one alone.

use std::ops::ControlFlow;
use std::sync::Arc;

use tiergate::gate::{Gate, Generation};
use tiergate::policy::Policy;
use tiergate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate::policy::rules::{Window, WindowId};
use tiergate::policy::time::{Span, Timestamp, UnixTime};
use tiergate::store::memory::MemoryLedger;
use tiergate::store::statistics::Period;
use tiergate::store::usage::{By, UsageQuery};
use tiergate::store::{Database, DebitHistory, History, Ledger, LedgerEntry, Record, View};

use crate::folder::Folder;
use crate::kit::{self, DAY, Die, HOUR, MONTH, WallClock, calendar, rules, seeds, success, wait};
use crate::statistics::model;

const HISTORIES: u64 = 12;
const STEPS: u64 = 160;

/// Half a day before a month ends.
const START: UnixTime = UnixTime::from_secs(MONTH.as_secs() - 12 * 3_600);
const CALLERS: [Caller; 5] = [
    Caller::Account(AccountId(1)),
    Caller::Account(AccountId(9)),
    Caller::Network(NetworkId(u64::MAX)),
    Caller::User {
        of: AccountId(9),
        user: UserId(1),
    },
    Caller::User {
        of: AccountId(9),
        user: UserId(1 << 63),
    },
];

fn windows() -> Vec<Window> {
    let days: Vec<UnixTime> = (0..90).map(|n| MONTH + DAY.saturating_mul(n)).collect();
    let months: Vec<UnixTime> = [0, 30, 61, 92].map(|n| MONTH + DAY.saturating_mul(n)).into();
    vec![
        Window::Rolling(DAY),
        Window::Rolling(HOUR.saturating_mul(3)),
        calendar("day UTC", days),
        calendar("month UTC", months),
    ]
}

/// A debit in the list.
#[derive(Clone, Copy, Debug)]
struct Debit {
    caller: Caller,
    /// When it counts, as known by now.
    at: UnixTime,
    units: u64,
}

struct ModelledDatabase {
    folder: Folder,
    wall: WallClock,
    /// The real time, while the clock is ahead.
    right: Option<UnixTime>,
    history: History,
    database: Option<Arc<Database>>,
    debits: Vec<Debit>,
    entries: Vec<LedgerEntry>,
}

impl ModelledDatabase {
    fn new(history: History) -> Self {
        let mut modelled = Self {
            folder: Folder::in_memory(),
            wall: WallClock::at(START),
            right: None,
            history,
            database: None,
            debits: Vec::new(),
            entries: Vec::new(),
        };
        modelled.open();
        modelled
    }

    fn open(&mut self) {
        self.database = None;
        let settings = kit::settings(&self.wall);
        let opened = kit::open_with(self.folder.path(), settings, &windows(), self.history);
        self.database = Some(opened.expect("the folder can be used"));
    }

    fn database(&self) -> &Arc<Database> {
        self.database.as_ref().expect("it is open")
    }

    fn work(&mut self, die: &mut Die) {
        let count = 1 + die.below(12);
        let mut commits = Vec::new();
        for _ in 0..count {
            let now = self.wall.now();
            let lasted = Span::from_millis(die.below(3 * 3_600_000));
            let at = UnixTime::from_millis(now.as_millis() - die.below(4_000_000));
            let record = Record {
                caller: CALLERS[die.below(5) as usize],
                cost: 1 + die.below(3) as u32,
                slot_time: lasted,
                ..success(0, at)
            };
            self.debits.push(Debit {
                caller: record.caller,
                at,
                units: record.cost.into(),
            });
            self.entries.push(LedgerEntry::Job(record.clone()));
            commits.push(self.database().commit(record));
        }
        for commit in commits {
            assert_eq!(wait(commit), Ok(()));
        }
        let mut dice = model::Dice::new(die.below(u64::MAX));
        for _ in 0..3 {
            let other = model::entry(&mut dice, self.wall.now());
            if let LedgerEntry::Refused(_) = other {
                self.database().note(other.clone());
                self.entries.push(other);
            }
        }
    }

    /// Steps the clock ahead, or back: then what is dated later counts as of now.
    fn step(&mut self, die: &mut Die) {
        let Some(right) = self.right.take() else {
            self.right = Some(self.wall.now());
            let ahead = [HOUR, DAY, DAY.saturating_mul(40), DAY.saturating_mul(365 * 300)];
            return self.wall.advance(ahead[die.below(4) as usize]);
        };
        self.wall.set(right);
        let (past, fence) = (self.database().corrected_history(right), self.database().fence());
        let filled = past.recall(&windows().into(), fence, &mut |_| ControlFlow::Continue(()));
        filled.expect("it can be written");
        for debit in &mut self.debits {
            debit.at = debit.at.min(right);
        }
    }

    fn remove_old(&self, die: &mut Die) {
        // It goes by no clock that is ahead by more than a day.
        let now = self.right.unwrap_or(self.wall.now()) + DAY.saturating_mul(die.below(2));
        self.database().remove_old(now).expect("it can be written");
    }

    fn listed(&self, window: &Window, caller: Caller, counts: impl Fn(UnixTime) -> bool) -> u64 {
        let now = self.wall.now();
        let counts = |debit: &&Debit| {
            // What is dated later than now counts as of now, whichever of the two is wrong.
            let at = debit.at.min(now);
            let of = debit.caller.counted().any(|counted| counted == caller);
            of && match window {
                Window::Rolling(_) => counts(at),
                Window::Calendar(calendar) => at >= calendar.period(now),
            }
        };
        self.debits.iter().filter(counts).map(|debit| debit.units).sum()
    }

    /// What is read for new windows.
    fn check_past(&self, what: &str) {
        let (told, now) = (kit::told(self.database(), &windows()), self.wall.now());
        for (id, window) in (0..).map(WindowId).zip(windows()) {
            let counts = |at: UnixTime| match &window {
                Window::Rolling(length) => at + *length > now,
                Window::Calendar(calendar) => at >= calendar.period(now),
            };
            for caller in CALLERS {
                let of = told
                    .iter()
                    .filter(|debited| debited.window == id && debited.caller == caller && counts(debited.at.min(now)));
                let told: u64 = of.map(|debited| debited.units).sum();
                assert_eq!(
                    told,
                    self.listed(&window, caller, counts),
                    "{what}: {caller:?} in {window:?}"
                );
            }
        }
    }

    /// What a policy has after a start.
    fn check_start(&mut self, what: &str) {
        self.open();
        let (rules, clock) = (rules(&windows()), tiergate::clock::Clock::start());
        let mut policy = Policy::new(Arc::clone(&rules));
        let start = Timestamp::ZERO;
        policy.follow_clock(self.wall.now(), start, Span::from_secs(300));
        self.database().restore(&mut policy, start).expect("it can be read");
        let nowhere = Arc::new(MemoryLedger::default());
        let gate = Gate::new(policy, Generation::unobserved(rules), clock, nowhere);
        let now = self.wall.now().as_millis();
        for (id, window) in (0..).map(WindowId).zip(windows()) {
            // Rolling windows count by small pieces of time.
            let counts = |at: UnixTime| match &window {
                Window::Rolling(length) => {
                    let width = length.as_millis().div_ceil(1_440).max(1_000);
                    at.as_millis() / width >= now.saturating_sub(length.as_millis()) / width
                }
                Window::Calendar(_) => true,
            };
            for caller in CALLERS {
                let balance = gate.account_of(&caller, std::iter::once(id));
                let listed = self.listed(&window, caller, counts);
                assert_eq!(balance.usages[0].used, listed, "{what}: {caller:?} in {window:?}");
            }
        }
    }

    fn check_statistics(&self, what: &str) {
        self.database().write(|_| Ok(())).expect("it can be written");
        let now = self.wall.now();
        for period in [Period::Hour, Period::Day] {
            for whose in CALLERS.into_iter().map(Some).chain([None]) {
                let told = self.database().traffic(whose, period, now).expect("it can be read");
                let listed = model::traffic(self.entries.iter(), whose, period, now);
                assert!(
                    told == listed,
                    "{what}: {whose:?}, {period:?}: {told:?}, not {listed:?}"
                );
            }
            let told = self.database().speed(period, now).expect("it can be read");
            let exact = model::speed(self.entries.iter(), period, now);
            for (told, exact) in told.iter().zip(&exact) {
                crate::statistics::speed::close_enough(told, exact.as_ref());
            }
        }
    }
}

impl ModelledDatabase {
    /// What commands read from the file themselves: its integrity, and usage.
    fn check_commands(&self, what: &str) {
        self.database().write(|_| Ok(())).expect("it can be written");
        let mut view = View::open(self.folder.path()).expect("it can be read");
        let checked = view.verify(|check| assert!(check.is_ok(), "{what}: {check:?}"));
        checked.expect("it can be read");
        let now = self.wall.now();
        // Here minutes are removed by a clock that goes back; a server's doesn't.
        for since in [DAY, DAY.saturating_mul(14), DAY.saturating_mul(60)] {
            for whose in CALLERS.into_iter().map(Some).chain([None]) {
                let query = UsageQuery {
                    whose,
                    by: By::Account,
                    since,
                    top: 100,
                };
                let report = view.usage(&query, now).expect("it can be read");
                let (jobs, units, refused) = self.used(whose, report.from);
                let told = (report.total.jobs, report.total.units, report.total.refused);
                assert_eq!(told, (jobs, units, refused), "{what}: {whose:?}, {since}: {report:?}");
                let of = |caller: Caller| whose.is_none_or(|whose| caller.counted().any(|counted| counted == whose));
                let sums = self.entries.iter().filter_map(|entry| match entry {
                    LedgerEntry::Job(job) if of(job.caller) && job.ended() >= report.from => Some(job),
                    _ => None,
                });
                let (wait, service) = sums.fold((0, 0), |(wait, service), job| {
                    let succeeded = if job.end == tiergate::policy::End::Succeeded {
                        job.slot_time.as_millis()
                    } else {
                        0
                    };
                    (wait + job.waited.as_millis(), service + succeeded)
                });
                let told = (report.total.wait.as_millis(), report.total.service.as_millis());
                assert_eq!(told, (wait, service), "{what}: {whose:?}, {since}: {report:?}");
            }
        }
    }

    /// Jobs that ended since then, the units that they took, and refusals since then.
    fn used(&self, whose: Option<Caller>, from: UnixTime) -> (u64, u64, u64) {
        let is_whose = |caller: Option<Caller>| match (whose, caller) {
            (None, _) => true,
            (Some(whose), Some(caller)) => caller.counted().any(|counted| counted == whose),
            (Some(_), None) => false,
        };
        let mut used = (0, 0, 0);
        for entry in &self.entries {
            match entry {
                LedgerEntry::Job(job) if is_whose(Some(job.caller)) && job.ended() >= from => {
                    used.0 += 1;
                    used.1 += u64::from(job.debit());
                }
                LedgerEntry::Refused(refused) if is_whose(refused.caller) && refused.minute >= from => {
                    used.2 += u64::from(refused.count);
                }
                _ => {}
            }
        }
        used
    }
}

#[test]
fn windows_and_statistics_match_a_list_of_all_jobs() {
    for seed in seeds(HISTORIES) {
        let mut die = Die::new(seed);
        let history = History {
            keep: DAY.saturating_mul(die.below(3) * 15),
            max: [0, 4 << 30][die.below(2) as usize],
        };
        let mut modelled = ModelledDatabase::new(history);
        for step in 0..STEPS {
            let what = format!("seed {seed}, step {step}");
            match die.below(16) {
                0..=5 => modelled.work(&mut die),
                6..=8 => {
                    let span = Span::from_millis(die.below(20_000_000));
                    modelled.wall.advance(span);
                    modelled.right = modelled.right.map(|right| right + span);
                }
                9 | 10 => modelled.database().roll_up().expect("it can be written"),
                11 => modelled.remove_old(&mut die),
                12 | 13 => modelled.step(&mut die),
                14 => modelled.check_start(&what),
                _ => {
                    modelled.check_statistics(&what);
                    modelled.check_commands(&what);
                }
            }
            modelled.check_past(&what);
        }
        // In the end the clock is right.
        if modelled.right.is_some() {
            modelled.step(&mut die);
        }
        let what = format!("seed {seed}, in the end");
        modelled.check_past(&what);
        modelled.check_start(&what);
        modelled.check_statistics(&what);
        modelled.check_commands(&what);
    }
}

#[test]
fn errors_name_what_sqlite_says() {
    let modelled = ModelledDatabase::new(History {
        keep: DAY,
        max: 4 << 30,
    });
    let read = modelled
        .database()
        .read(|connection| connection.query_row("SELECT 1 FROM nowhere", [], |_| Ok(())));
    let error = read.expect_err("there is no such table").to_string();
    assert!(error.contains("no such table"), "{error}");
}
