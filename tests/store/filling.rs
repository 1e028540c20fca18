//! A window that is new in a reload is filled from what was written down before, each debit once, while searches go on
//! (rules §5.17).
//!
//! Random histories over every store, against a list of all debits: windows come and go at random moments, with jobs in the
//! house, on their way to the disk, and given up. The seed is printed: `TIERGATE_SEED=7` runs that one alone.

use std::io;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tiergate::clock::{Clock, Hands};
use tiergate::gate::{
    Backfill, Backfilled, CLOCK_STEP_MAX_DEFAULT, Committing, Entered, Gate, Generation, Permit, Tick,
};
use tiergate::policy::caller::{AccountId, Caller, Network, NetworkId, UserId};
use tiergate::policy::ids::Ids;
use tiergate::policy::rules::{TierId, UpstreamId, Window, WindowId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::policy::{AdmissionRequest, ClockStep, Outcome, Policy, Table};
use tiergate::store::memory::MemoryLedger;
use tiergate::store::{Database, Debited, Fence, History, JobHistory, Ledger, LedgerSettings, Past};
use tiergate::telemetry::DatabaseMeters;
use tokio::runtime::Runtime;

use crate::folder::Folder;
use crate::kit::{self, Die, HOUR, Held, MONTH, calendar, rules, seeds};

/// When a history begins: half an hour before a day, ten days before a month.
const START: UnixTime = UnixTime::from_secs(MONTH.as_secs() - 10 * 86_400 - 1_800);
const STEPS: u64 = 250;
/// Of a history, so that nothing is removed that a window could want.
const HOURS_MAX: u64 = 20;
const CALLERS: [Caller; 5] = [
    Caller::Account(AccountId(1)),
    Caller::Account(AccountId(9)),
    Caller::Network(NetworkId(5)),
    Caller::User {
        of: AccountId(9),
        user: UserId(1),
    },
    Caller::User {
        of: AccountId(9),
        user: UserId(2),
    },
];

/// All windows that a history may have. The first is always there.
fn all_windows() -> Vec<Window> {
    let day = Span::from_secs(86_400);
    let midnights: Vec<UnixTime> = (0..9)
        .map(|n| START + Span::from_secs(1_800) + day.saturating_mul(n))
        .collect();
    vec![
        Window::Rolling(day),
        Window::Rolling(day.saturating_mul(7)),
        Window::Rolling(HOUR.saturating_mul(3)),
        calendar("month UTC", [UnixTime::from_secs(MONTH.as_secs() - 31 * 86_400), MONTH]),
        calendar("day UTC", midnights),
    ]
}

/// A store that is reopened, and of which somebody recalls the past.
#[derive(Clone)]
enum Store {
    Memory(Arc<MemoryLedger>),
    Folder(PathBuf),
}

/// What a store is while it is open.
enum Opened {
    Memory(Arc<MemoryLedger>),
    Database(Arc<Database>),
}

/// The past of either.
enum Either {
    Memory(Arc<MemoryLedger>),
    Database(JobHistory),
}

impl Past for Either {
    fn recall(
        self,
        windows: &Table<WindowId, Window>,
        fence: Fence,
        each: &mut dyn FnMut(Debited) -> ControlFlow<()>,
    ) -> io::Result<()> {
        match self {
            Self::Memory(ledger) => ledger.recall(windows, fence, each),
            Self::Database(past) => past.recall(windows, fence, each),
        }
    }
}

fn settings(clock: Clock) -> LedgerSettings {
    LedgerSettings {
        retry_after: Span::from_millis(1),
        // Hours pass while commits are under way.
        commit_patience: HOUR.saturating_mul(1_000),
        ..LedgerSettings::new(clock, Arc::new(move || clock.wall()), DatabaseMeters::unobserved())
    }
}

impl Store {
    fn open(&self, windows: &[Window], clock: Clock, policy: &mut Policy) -> Opened {
        match self {
            Self::Memory(ledger) => {
                ledger.restore(policy, clock.now());
                Opened::Memory(Arc::clone(ledger))
            }
            Self::Folder(folder) => {
                let opened = kit::open_with(folder, settings(clock), windows, History::default());
                let database = opened.expect("the folder can be used");
                let restored = database.restore(policy, clock.now());
                restored.expect("the database can be read");
                Opened::Database(database)
            }
        }
    }
}

impl Opened {
    fn ledger(&self) -> Arc<dyn Ledger> {
        match self {
            Self::Memory(ledger) => Arc::clone(ledger) as _,
            Self::Database(database) => Arc::clone(database) as _,
        }
    }

    fn database(&self) -> &Arc<Database> {
        match self {
            Self::Database(database) => database,
            Self::Memory(_) => panic!("it is none"),
        }
    }

    fn reload_windows(&self, windows: &[Window]) -> Either {
        match self {
            Self::Memory(ledger) => Either::Memory(Arc::clone(ledger)),
            Self::Database(database) => {
                database.upkeep().set(windows, History::default());
                Either::Database(database.past())
            }
        }
    }

    /// The writer is held up, if there is one.
    fn hold(&self) -> Option<Held> {
        match self {
            Self::Memory(_) => None,
            Self::Database(database) => Some(Held::up(database)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Debit {
    caller: Caller,
    at: UnixTime,
    units: u64,
}

/// A house with jobs in it, and a list of all that was debited.
struct House {
    store: Store,
    clock: Clock,
    hands: &'static Hands,
    windows: Vec<Window>,
    ids: Ids,
    gate: Arc<Gate>,
    opened: Opened,
    running: Vec<(Permit, Debit)>,
    committing: Vec<(Committing, Debit)>,
    fillings: Vec<JoinHandle<io::Result<Backfilled>>>,
    debits: Vec<Debit>,
    runtime: Runtime,
}

fn gate(store: &Store, windows: &[Window], clock: Clock) -> (Arc<Gate>, Opened) {
    let rules = rules(windows);
    let mut policy = Policy::new(Arc::clone(&rules));
    policy.follow_clock(clock.wall(), clock.now(), CLOCK_STEP_MAX_DEFAULT);
    let opened = store.open(windows, clock, &mut policy);
    let gate = Gate::new(policy, Generation::unobserved(rules), clock, opened.ledger());
    (gate, opened)
}

/// As a process has given them out that began with those windows.
fn ids_of(windows: &[Window]) -> Ids {
    let mut ids = Ids::default();
    ids.assign(&rules(windows)).expect("few names");
    ids
}

impl House {
    fn new(store: Store, windows: &[Window]) -> Self {
        let hands: &'static Hands = Box::leak(Box::default());
        let clock = Clock::moved_by(hands, START);
        let (gate, opened) = gate(&store, windows, clock);
        Self {
            store,
            clock,
            hands,
            windows: windows.to_vec(),
            ids: ids_of(windows),
            gate,
            opened,
            running: Vec::new(),
            committing: Vec::new(),
            fillings: Vec::new(),
            debits: Vec::new(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime"),
        }
    }

    fn advance(&self, span: Span) {
        self.hands.advance(span);
        let Tick { step, filling } = self.gate.tick();
        assert!(
            matches!(step, ClockStep::Forward(_)),
            "nobody sets this clock: {step:?}"
        );
        assert!(filling.is_none());
    }

    fn enter(&mut self, caller: Caller, cost: u32) {
        let at = self.clock.wall();
        let ask = AdmissionRequest {
            caller,
            from: Network::V4(Ipv4Addr::LOCALHOST),
            tier: TierId(0),
            own: None,
            delegate: None,
            cost,
            pool: UpstreamId(0),
            ready: true,
            max_wait: None,
            prefer_wait: None,
        };
        // A disk that fails lets nobody in.
        let entered = self.gate.enter(&self.gate.generation(), &ask);
        if let Ok(entered) = entered.expect("nobody reloads") {
            let Entered::Running(pass) = entered else {
                panic!("there are slots for all")
            };
            let units = cost.into();
            self.running.push((pass, Debit { caller, at, units }));
        }
    }

    fn commit(&mut self, which: usize) {
        let (pass, debit) = self.running.swap_remove(which);
        self.committing.push((pass.succeed(200), debit));
    }

    fn finish(&mut self, which: usize) {
        let (committing, debit) = self.committing.swap_remove(which);
        self.runtime.block_on(committing).expect("the disk is well");
        self.debits.push(debit);
    }

    fn give_up(&mut self, which: usize) {
        let (committing, debit) = self.committing.swap_remove(which);
        if committing.give_up().is_ok() {
            self.debits.push(debit);
        }
    }

    /// Other windows from now on; those that are new are filled meanwhile, by a thread of their own.
    fn reload(&mut self, windows: &[Window]) {
        self.windows = windows.to_vec();
        let past = self.opened.reload_windows(windows);
        if let Some(filling) = self.change_to(windows) {
            self.fill(filling, past);
        }
    }

    /// The gate has those windows from now on; those that are new are to be filled.
    fn change_to(&mut self, windows: &[Window]) -> Option<Backfill> {
        let rules = self.ids.assign(&rules(windows)).expect("few names");
        self.gate.reload(Generation::unobserved(Arc::new(rules)), || {}).filling
    }

    /// The windows that the gate has.
    fn present(&self) -> Table<WindowId, Window> {
        self.gate.generation().rules.windows.clone()
    }

    fn fill(&mut self, filling: Backfill, past: Either) {
        let gate = Arc::clone(&self.gate);
        self.fillings.push(std::thread::spawn(move || gate.fill(filling, past)));
    }

    fn end_all(&mut self) {
        while !self.committing.is_empty() {
            self.finish(0);
        }
        for (pass, _) in self.running.drain(..) {
            pass.settle(Outcome::Failed, 500);
        }
    }

    fn fill_all(&mut self) {
        for filling in self.fillings.drain(..) {
            filling.join().expect("no panic").expect("the disk can be read");
        }
    }

    /// What the list says that a caller has used in a window by then.
    fn listed(&self, window: &Window, caller: Caller, now: UnixTime) -> u64 {
        let counts = |at: UnixTime| match window {
            Window::Rolling(length) => {
                let length_ms = length.as_millis();
                let width = length_ms.div_ceil(1_440).max(1_000);
                at.as_millis() / width >= (now.as_millis().saturating_sub(length_ms)) / width
            }
            Window::Calendar(calendar) => at >= calendar.period(now),
        };
        let of = |debit: &&Debit| debit.caller.counted().any(|counted| counted == caller) && counts(debit.at);
        self.debits.iter().filter(of).map(|debit| debit.units).sum()
    }

    /// Every window that there is holds exactly what the list has of it.
    fn check(&self, what: &str) {
        for (id, window) in self.present().entries() {
            for caller in CALLERS {
                let before = self.listed(window, caller, self.clock.wall());
                let balance = self.gate.account_of(&caller, std::iter::once(id));
                let after = self.listed(window, caller, self.clock.wall());
                let used = balance.usages[0].used;
                assert!(
                    used == before || used == after,
                    "{what}: {caller:?} has used {used} in {window:?}, and {after} by the list"
                );
            }
        }
    }

    /// The process ends and another begins.
    fn restart(&mut self) {
        let emptied = (Arc::new(MemoryLedger::default()), rules(&self.windows));
        let nobody = Gate::new(
            Policy::new(Arc::clone(&emptied.1)),
            Generation::unobserved(emptied.1),
            self.clock,
            Arc::clone(&emptied.0) as _,
        );
        // The old ones first: they have the folder.
        self.gate = nobody;
        self.opened = Opened::Memory(emptied.0);
        (self.gate, self.opened) = gate(&self.store, &self.windows, self.clock);
        self.ids = ids_of(&self.windows);
    }
}

/// A random history: nobody but its seed decides what happens in it, save how fast the fillings go.
fn live(house: &mut House, die: &mut Die) {
    let any = |die: &mut Die, count: usize| (count > 0).then(|| die.below(count as u64) as usize);
    let (all, mut hours) = (all_windows(), 0);
    let mut held: Option<Held> = None;
    for _ in 0..STEPS {
        match die.below(17) {
            0..=5 => {
                let caller = CALLERS[die.below(CALLERS.len() as u64) as usize];
                house.enter(caller, 1 + die.below(3) as u32);
            }
            6..=8 => any(die, house.running.len())
                .into_iter()
                .for_each(|which| house.commit(which)),
            9 | 10 => {
                held = None;
                any(die, house.committing.len())
                    .into_iter()
                    .for_each(|which| house.finish(which));
            }
            11 => any(die, house.committing.len())
                .into_iter()
                .for_each(|which| house.give_up(which)),
            12 => {
                if let Some(which) = any(die, house.running.len()) {
                    house.running.swap_remove(which).0.settle(Outcome::Failed, 500);
                }
            }
            13 if hours < 2 * HOURS_MAX => {
                hours += 1;
                house.advance(Span::from_secs(1_800));
            }
            14 => {
                // The writer is busy with one thing at a time.
                drop(held.take());
                held = house.opened.hold();
            }
            15 if held.is_none() => {
                if let Opened::Database(database) = &house.opened {
                    database.roll_up().expect("the database can be written");
                }
            }
            _ => {
                let windows: Vec<Window> = all.iter().skip(1).filter(|_| die.below(2) == 0).cloned().collect();
                let windows = [&all[..1], &windows].concat();
                house.reload(&windows);
            }
        }
    }
}

fn whole_life(house: &mut House, seed: u64) {
    let mut die = Die::new(seed);
    live(house, &mut die);
    house.end_all();
    // What is there is filled; what isn't comes now.
    house.fill_all();
    house.check(&format!("seed {seed}, after the history"));
    house.reload(&all_windows());
    house.fill_all();
    house.check(&format!("seed {seed}, with all windows"));
    house.restart();
    house.check(&format!("seed {seed}, after a restart"));
}

#[test]
fn over_memory_a_new_window_holds_every_debit_once() {
    for seed in seeds(60) {
        let mut house = House::new(Store::Memory(Arc::default()), &all_windows()[..1]);
        whole_life(&mut house, seed);
    }
}

#[test]
fn over_the_database_a_new_window_holds_every_debit_once() {
    for seed in seeds(30) {
        let folder = Folder::in_memory();
        let mut house = House::new(Store::Folder(folder.path().to_owned()), &all_windows()[..1]);
        whole_life(&mut house, seed);
        let killed = kit::as_killed(folder.path());
        house.store = Store::Folder(killed.path().to_owned());
        house.restart();
        house.check(&format!("seed {seed}, after SIGKILL"));
        drop(house);
    }
}

/// A house over a database, with a rolling window of that length.
fn house_in(folder: &Folder, length: Span) -> House {
    House::new(Store::Folder(folder.path().to_owned()), &[Window::Rolling(length)])
}

impl House {
    /// So many successes of one unit, each an hour after the one before.
    fn work(&mut self, hours: usize) {
        for _ in 0..hours {
            self.enter(CALLERS[0], 1);
            self.commit(0);
            self.finish(0);
            self.advance(HOUR);
        }
    }

    fn used(&self, window: usize) -> u64 {
        let id = self.present().ids().nth(window).expect("it is there");
        let balance = self.gate.account_of(&CALLERS[0], std::iter::once(id));
        balance.usages[0].used
    }

    /// Rolls up, and removes what is old.
    fn tidy(&self) {
        let tidied = self.opened.database().remove_old(self.clock.wall());
        tidied.expect("the database can be written");
    }
}

/// A job that was on its way to the disk while the window was made: it is counted once, whether its record came first or its
/// end.
#[test]
fn a_committing_job_counts_once_an_abandoned_one_never() {
    let folder = Folder::in_memory();
    let mut house = house_in(&folder, HOUR);
    for _ in 0..5 {
        house.enter(CALLERS[0], 1);
    }
    house.commit(0);
    house.finish(0);
    let held = Held::up(house.opened.database());
    house.commit(0);
    house.commit(0);
    house.commit(0);
    house.give_up(0);
    house.reload(&[Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24))]);
    house.give_up(0);
    drop(held);
    house.commit(0);
    house.fill_all();
    assert_eq!(
        (house.used(0), house.used(1)),
        (1, 2),
        "the one in the house is read back already"
    );
    house.end_all();
    assert_eq!(
        (house.used(0), house.used(1)),
        (3, 3),
        "and another came after the window"
    );
    house.restart();
    assert_eq!((house.used(0), house.used(1)), (3, 3));
}

/// Sums of a calendar know no fence: what ended after it counted by itself and with the sums, if it was added up before they
/// were read.
#[test]
fn what_is_added_up_after_the_fence_is_not_read_back() {
    let folder = Folder::in_memory();
    let mut house = house_in(&folder, HOUR);
    let month = all_windows().remove(3);
    let both = [Window::Rolling(HOUR), month];
    house.enter(CALLERS[0], 1);
    house.commit(0);
    house.finish(0);
    let past = house.opened.reload_windows(&both);
    let filling = house.change_to(&both).expect("one is new");
    house.enter(CALLERS[0], 2);
    house.commit(0);
    house.finish(0);
    house.opened.database().roll_up().expect("it can be written");
    let filled = house.gate.fill(filling, past).expect("it can be read");
    assert!(filled.whole);
    assert_eq!((house.used(0), house.used(1)), (3, 3));
}

#[test]
fn a_longer_window_is_filled_as_far_back_as_jobs_are_kept() {
    let folder = Folder::in_memory();
    let (short, long) = (Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24 * 7)));
    let history = History {
        keep: Span::ZERO,
        ..History::default()
    };
    let mut house = house_in(&folder, HOUR);
    house
        .opened
        .database()
        .upkeep()
        .set(std::slice::from_ref(&short), history);
    house.work(72);
    house.tidy();
    let past = house.opened.database().past();
    let both = [short, long];
    house.opened.database().upkeep().set(&both, history);
    let filling = house.change_to(&both).expect("one is new");
    house.fill(filling, Either::Database(past));
    house.windows = both.to_vec();
    house.fill_all();
    let filled = house.used(1);
    assert!(
        (1..72).contains(&filled),
        "what was older than the short one needed is gone: {filled}"
    );
    house.work(48);
    house.tidy();
    assert_eq!(house.used(1), filled + 48);
    house.restart();
    assert_eq!(house.used(1), filled + 48, "nothing that the long one needs has gone");
}

/// Sums of a month outlive the jobs that they were made of, also where the month came while the server ran.
#[test]
fn a_new_calendar_is_summed_up_from_the_oldest_job_on() {
    let folder = Folder::in_memory();
    let (hour, month) = (Window::Rolling(HOUR), all_windows().remove(3));
    let keeps_nothing = History {
        keep: Span::ZERO,
        ..History::default()
    };
    let mut house = house_in(&folder, HOUR.saturating_mul(8));
    house.work(5);
    house.reload(&[hour.clone(), month.clone()]);
    house.fill_all();
    assert_eq!(house.used(1), 5);
    house.work(80);
    assert_eq!(house.used(1), 85);
    house
        .opened
        .database()
        .upkeep()
        .set(&[hour.clone(), month.clone()], keeps_nothing);
    house.tidy();
    assert!(kit::count(house.opened.database(), "SELECT count(*) FROM job") < 85);
    house.restart();
    assert_eq!(house.used(1), 85, "though some jobs are gone");
    // It leaves and comes back before old rows are removed without it: its sums are there still.
    house.reload(std::slice::from_ref(&hour));
    house.reload(&[hour, month]);
    house.fill_all();
    assert_eq!(house.used(1), 85);
    house.work(2);
    house.restart();
    assert_eq!(house.used(1), 87);
}

/// What reads back for a window that has gone tells nothing to the one of the same length that has come since.
#[test]
fn a_window_that_returns_while_backfilled_counts_once() {
    let (day, week) = (all_windows().remove(0), all_windows().remove(1));
    let mut house = House::new(Store::Memory(Arc::default()), std::slice::from_ref(&day));
    house.work(3);
    let both = [day.clone(), week];
    let late = house.change_to(&both).expect("one is new");
    assert!(house.change_to(&[day]).is_none(), "one has gone");
    house.reload(&both);
    house.fill_all();
    let past = house.opened.reload_windows(&both);
    let filled = house.gate.fill(late, past).expect("memory can be read");
    assert_eq!((filled.debits, filled.whole), (0, false));
    assert_eq!(house.used(1), 3);
}

#[test]
fn a_filling_ends_with_the_server() {
    let folder = Folder::in_memory();
    let mut house = house_in(&folder, HOUR);
    house.work(1);
    let windows = [Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(24))];
    let past = house.opened.reload_windows(&windows);
    let filling = house.change_to(&windows).expect("one is new");
    house.gate.shut_down();
    let filled = house.gate.fill(filling, past).expect("the database can be read");
    assert_eq!((filled.debits, filled.whole), (0, false));
    // Closed, it reaches no fence any more; whoever waits is told.
    let windows = [Window::Rolling(HOUR), Window::Rolling(HOUR.saturating_mul(48))];
    let past = house.opened.reload_windows(&windows);
    house.opened.database().close();
    let filling = house.change_to(&windows).expect("one is new");
    assert!(house.gate.fill(filling, past).is_err());
}
