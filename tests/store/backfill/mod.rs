//! A window that a reload adds is backfilled from the database, each debit once, while searches go on
//! (rules §5.5).

mod cases;
mod random;

use std::io;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tiergate::clock::{Clock, ClockControl};
use tiergate::gate::{
    Backfill, Backfilled, CLOCK_STEP_MAX_DEFAULT, Committing, Entered, Gate, Generation, Permit, Tick,
};
use tiergate::policy::caller::{AccountId, Caller, Network, NetworkId, UserId};
use tiergate::policy::ids::Ids;
use tiergate::policy::rules::{TierId, UpstreamId, Window, WindowId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::policy::{AdmissionRequest, ClockStep, Outcome, Policy, RequestBody, Table, WaitLimits};
use tiergate::store::memory::MemoryLedger;
use tiergate::store::{Database, DebitHistory, Debited, Fence, History, JobHistory, Ledger, LedgerSettings};
use tiergate::telemetry::DatabaseMeters;
use tokio::runtime::Runtime;

use crate::kit::{self, HOUR, Held, MONTH, calendar, rules};

/// When a history begins: half an hour before a day, ten days before a month.
const START: UnixTime = UnixTime::from_secs(MONTH.as_secs() - 10 * 86_400 - 1_800);
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

/// A store that can be reopened.
#[derive(Clone)]
enum Store {
    Memory(Arc<MemoryLedger>),
    Folder(PathBuf),
}

/// A store while it is open.
enum Opened {
    Memory(Arc<MemoryLedger>),
    Database(Arc<Database>),
}

/// The job history of either.
enum Either {
    Memory(Arc<MemoryLedger>),
    Database(JobHistory),
}

impl DebitHistory for Either {
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
                Either::Database(database.debit_history())
            }
        }
    }

    /// Blocks the writer, if there is one.
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

/// A gate with running jobs, and a list of all debits.
struct ModelledGate {
    store: Store,
    clock: Clock,
    clock_control: &'static ClockControl,
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

/// As assigned by a process that started with those windows.
fn ids_of(windows: &[Window]) -> Ids {
    let mut ids = Ids::default();
    ids.assign(&rules(windows)).expect("few names");
    ids
}

impl ModelledGate {
    fn new(store: Store, windows: &[Window]) -> Self {
        let clock_control: &'static ClockControl = Box::leak(Box::default());
        let clock = Clock::moved_by(clock_control, START);
        let (gate, opened) = gate(&store, windows, clock);
        Self {
            store,
            clock,
            clock_control,
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
        self.clock_control.advance(span);
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
            body: RequestBody::Complete,
            waits: WaitLimits::default(),
        };
        // A failing disk refuses them.
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

    /// Changes the windows; new ones are backfilled meanwhile, by a thread of their own.
    fn reload(&mut self, windows: &[Window]) {
        self.windows = windows.to_vec();
        let past = self.opened.reload_windows(windows);
        if let Some(filling) = self.change_to(windows) {
            self.fill(filling, past);
        }
    }

    /// Changes the gate's windows; the new ones are to be backfilled.
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

    /// What a caller has used in a window by then, according to the list.
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

    /// Every window matches the list.
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
        // The old ones are dropped first: they hold the folder.
        self.gate = nobody;
        self.opened = Opened::Memory(emptied.0);
        (self.gate, self.opened) = gate(&self.store, &self.windows, self.clock);
        self.ids = ids_of(&self.windows);
    }
}
